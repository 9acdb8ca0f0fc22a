"""Between pixels of 0 to 255 and the normalised units that the networks see."""

import torch

from .corruption import per_channel


def normalize(images: torch.Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    """uint8 pixels to float32: zero-centred and divided by the channels' standard deviation, both in 0-1 units."""
    pixels = images.to(torch.float32, copy=True)
    shift, scale = (per_channel(values, pixels) * 255 for values in (mean, std))
    rows = pixels.movedim(-3, -1)
    if pixels.is_contiguous() or not rows.is_contiguous():
        return pixels.sub_(shift).div_(scale)
    # in channels_last memory a whole row at a time: a value a channel would be two to four times slower on CPUs
    row = rows.view(-1, rows.shape[-2] * rows.shape[-1])
    shift, scale = (values.flatten().repeat(rows.shape[-2]) for values in (shift, scale))
    row.sub_(shift).div_(scale)
    return pixels


def denormalize(x: torch.Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    """The inverse of ``normalize``, as float32 pixels in 0-255 units, clipped to that range."""
    x = x.to(torch.float32, copy=True)  # which is changed in place: of large photographs copies are gigabytes
    shift, scale = (per_channel(values, x) * 255 for values in (mean, std))
    return x.mul_(scale).add_(shift).clamp_(0, 255)
