"""Where checkpoints are found, verified and read; knows no network."""
