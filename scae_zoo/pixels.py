"""Between pixels of 0 to 255 and the normalised units that the networks see."""

import torch

from .corruption import per_channel


def normalize(images: torch.Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    """uint8 pixels to float32: zero-centred and divided by the channels' standard deviation, both in 0-1 units."""
    pixels = images.float()
    shift, scale = (per_channel(values, pixels) * 255 for values in (mean, std))
    return (pixels - shift) / scale


def denormalize(x: torch.Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    """The inverse of ``normalize``, as float32 pixels in 0-255 units, clipped to that range."""
    x = x.float()
    shift, scale = (per_channel(values, x) * 255 for values in (mean, std))
    return (x * scale + shift).clamp(0, 255)
