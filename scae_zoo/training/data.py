"""Small image sets as one uint8 tensor on the device, cropped and flipped there in batches."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image

EXTENSIONS = frozenset({'.png', '.jpg', '.jpeg', '.webp', '.bmp', '.ppm', '.tif', '.tiff'})


def load_folder(folder: str | Path) -> torch.Tensor:
    """Every image below ``folder``, in the order of the sorted paths, as N x 3 x H x W uint8 RGB.

    Raises:
        ValueError: There is no image, one cannot be read, or they differ in size; the message names the file.
    """
    folder = Path(folder)
    paths = sorted(p for p in folder.rglob('*') if p.suffix.lower() in EXTENSIONS)
    if not paths:
        raise ValueError(f'{folder}: no image in this folder or below it')

    def read(path: Path) -> np.ndarray:
        try:
            with Image.open(path) as image:
                return np.asarray(image.convert('RGB'))
        except (OSError, SyntaxError, Image.DecompressionBombError) as error:
            raise ValueError(f'{path}: cannot be read as an image ({error}); remove or replace it') from error

    with ThreadPoolExecutor() as pool:
        first = read(paths[0])
        images = np.empty((len(paths), *first.shape), np.uint8)
        for i, (path, pixels) in enumerate(zip(paths, pool.map(read, paths), strict=True)):
            if pixels.shape != first.shape:
                raise ValueError(
                    f'{path}: {pixels.shape[1]}x{pixels.shape[0]} pixels, but {paths[0].name} has '
                    f'{first.shape[1]}x{first.shape[0]}; all images of this set must have one size')
            images[i] = pixels
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()


def random_crop_flip(
        images: torch.Tensor,
        size: int,
        flip: bool = True,
        generator: torch.Generator | None = None,
) -> torch.Tensor:
    """A random ``size`` x ``size`` crop of each image of an N x C x H x W batch, mirrored half of the time."""
    n, channels, height, width = images.shape
    device = images.device
    top = torch.randint(height - size + 1, (n, 1), device=device, generator=generator)
    left = torch.randint(width - size + 1, (n, 1), device=device, generator=generator)
    rows = top + torch.arange(size, device=device)
    cols = left + torch.arange(size, device=device)
    if flip:
        mirrored = torch.rand(n, 1, device=device, generator=generator) < 0.5
        cols = torch.where(mirrored, cols.flip(1), cols)
    # gathered as N x size x size x C, so that the result lies in channels_last memory
    batch = torch.arange(n, device=device)[:, None, None]
    return images.permute(0, 2, 3, 1)[batch, rows[:, :, None], cols[:, None, :]].permute(0, 3, 1, 2)


def normalize(images: torch.Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    """uint8 pixels to float32: zero-centred and divided by the channels' standard deviation, both in 0-1 units."""
    scale = torch.tensor(std, device=images.device).view(-1, 1, 1) * 255
    shift = torch.tensor(mean, device=images.device).view(-1, 1, 1) * 255
    return (images.float() - shift) / scale


def denormalize(x: torch.Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    """The inverse of ``normalize``, as float32 pixels in 0-255 units, clipped to that range."""
    scale = torch.tensor(std, device=x.device).view(-1, 1, 1) * 255
    shift = torch.tensor(mean, device=x.device).view(-1, 1, 1) * 255
    return (x.float() * scale + shift).clamp(0, 255)
