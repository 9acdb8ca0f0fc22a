"""Small pictures of one grey value each, and what of them comes back."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from scae_zoo.training.data import ImageSet
from scae_zoo.training.sources import load_images


def picture(value: int, size: tuple[int, int] = (8, 6)) -> Image.Image:
    """One colour, width x height."""
    return Image.new('RGB', size, (value, 2 * value, 255 - value))


def save(path: Path, value: int, size: tuple[int, int] = (8, 6)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(value, size).save(path)
    return path


def save_mask(path: Path, value: int, size: tuple[int, int] = (8, 6)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('L', size, value).save(path)


def values(images: ImageSet) -> list[int]:
    """The first channel of each picture."""
    assert images.images.dtype == torch.uint8
    return images.images[:, 0, 0, 0].tolist()


def labels(images: ImageSet) -> list:
    assert images.targets is not None
    return images.targets.tolist()


def refused(folder: Path | str, fault: str, **options) -> None:
    """Loading ends with one line that says what is wrong."""
    with pytest.raises(ValueError, match=fault) as caught:
        load_images(str(folder), **{'size': None, **options})
    assert '\n' not in str(caught.value)
