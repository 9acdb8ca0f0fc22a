"""Masks: a class index a pixel, from grey or palette images."""

from pathlib import Path

import numpy as np

from ..images import ImageError, faults_named, open_upright


def open_mask(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """A mask's class indices, H x W uint8 (255: not counted), from a palette or grey image of the image's shape.

    Raises:
        ImageError: It cannot be read, has colours, or another size than its image.
    """
    with faults_named(path):
        image = open_upright(path)
        if image.mode not in ('L', 'P', '1'):
            raise ImageError(f'{path}: is a {image.mode} image; a mask has one class index a pixel (grey or palette)')
        mask = np.array(image)
    if mask.shape != tuple(shape):
        raise ImageError(
            f'{path}: has {mask.shape[1]}x{mask.shape[0]} pixels, its image {shape[1]}x{shape[0]}; they must agree')
    return mask.astype(np.uint8)
