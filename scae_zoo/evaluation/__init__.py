"""How good a trained network is."""
