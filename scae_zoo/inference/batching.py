"""How many images go through a network together, and what of each: in batches, as central crops."""

from collections.abc import Sequence

import torch

MIN_SIZE = 17  # pixels; smaller images are padded
BATCH_SIZE, BATCH_PIXELS = 250, 2 ** 21  # at most, of images that go through a network at a time


def batches_of(images: torch.Tensor, crop: int | None = None, batch_size: int | None = None) -> Sequence[torch.Tensor]:
    """N x C x H x W images in parts of ``batch_size``, or of as many as leave room for a network's features of them
    (or of their crops)."""
    pixels = images.shape[2] * images.shape[3] if crop is None else crop ** 2
    return images.split(batch_size or max(1, min(BATCH_SIZE, BATCH_PIXELS // pixels)))


def check_fits(images: torch.Tensor, crop: int) -> None:
    """Refuse images that are smaller than a crop."""
    if crop > min(images.shape[-2:]):
        raise ValueError(f'images of {images.shape[-2]}x{images.shape[-1]} have no crop of {crop} pixels; '
                         'give a larger --size or a smaller --crop')


def central_crop(images: torch.Tensor, size: int) -> torch.Tensor:
    """The middle ``size`` x ``size`` pixels of N x C x H x W images; a ValueError where they are smaller."""
    check_fits(images, size)
    top, left = ((side - size) // 2 for side in images.shape[-2:])
    return images[..., top:top + size, left:left + size]
