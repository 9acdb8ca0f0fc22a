"""What a user asks for, each from images to a checkpoint."""
