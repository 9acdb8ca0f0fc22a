"""Images from anywhere, to one set of them; knows nothing of training."""
