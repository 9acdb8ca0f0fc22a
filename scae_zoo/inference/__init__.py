"""How a trained network answers: photographs of any size in, classes, masks, features or reconstructions out."""
