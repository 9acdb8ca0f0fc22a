"""The encoders, as timm models."""
