"""Photographs from and to files: any mode Pillow reads becomes RGB, and a picture is written whole or not at all."""

import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps


class ImageError(ValueError):
    """A file cannot be read as an image, or a picture cannot be written; one line says which and why."""


def open_rgb(path: str | Path | BinaryIO) -> np.ndarray:
    """The image in a file, or in an open one, as H x W x 3 uint8 RGB, upright; the first frame, transparency on white.

    16 bits are scaled to 8. Floating-point pixels are taken as 0-1 or 0-255, and those of 32 bits as 0-255 or 0-65535,
    where they fit; else they are scaled by the image's maximum.

    Raises:
        ImageError: The file is missing, no image, truncated, or too large to be decoded safely.
    """
    with faults_named(path):
        return to_rgb(open_upright(path))


def open_upright(path: str | Path | BinaryIO) -> Image.Image:
    """The first frame of the image in a file, or in an open one, as it is stored but turned as its EXIF says."""
    with opened(path) as image:
        image.load()
        return ImageOps.exif_transpose(image)


@contextmanager
def opened(path: str | Path | BinaryIO) -> Iterator[Image.Image]:
    """The image in a file, or in an open one, before it is decoded."""
    # never by its name: Pillow would map an uncompressed TIFF into memory, and turn it wrongly
    with (open(path, 'rb') if isinstance(path, (str, Path)) else nullcontext(path)) as file, Image.open(file) as image:
        yield image


@contextmanager
def faults_named(path: str | Path | BinaryIO) -> Iterator[None]:
    """Turn whatever Pillow runs into with a file into an ImageError that says which and why."""
    try:
        yield
    except ImageError:
        raise
    except Image.DecompressionBombError:
        raise ImageError(f'{path}: has too many pixels to be decoded safely; scale it down first') from None
    except Image.UnidentifiedImageError:
        raise ImageError(f'{path}: is no image that can be read (PNG, JPEG, WebP, TIFF, BMP, ...)') from None
    except OSError as error:
        raise ImageError(f'{path}: cannot be read ({error.strerror or error})') from None
    except MemoryError:
        raise
    except Exception as error:  # whatever else Pillow's decoders and its reader of EXIF run into
        raise ImageError(f'{path}: is a damaged image ({error})') from None


def to_rgb(image: Image.Image) -> np.ndarray:
    """An image that is decoded already, as ``open_rgb`` gives it."""
    if image.mode.startswith('I') or image.mode == 'F':
        return np.repeat(_to_eight_bits(image)[:, :, None], 3, axis=2)
    if 'A' in image.mode or 'a' in image.mode or 'transparency' in image.info:
        image = image.convert('RGBA')
        image = Image.alpha_composite(Image.new('RGBA', image.size, 'white'), image)
    return np.array(image.convert('RGB'))


def _to_eight_bits(image: Image.Image) -> np.ndarray:
    # Pillow's own conversion to RGB clips these modes at 255
    pixels = np.asarray(image, dtype=np.float64)
    top = pixels.max(initial=0, where=np.isfinite(pixels))
    ranges = (1, 255) if image.mode == 'F' else (65535,) if image.mode.startswith('I;16') else (255, 65535)
    white = next((value for value in ranges if top <= value), top)
    return np.clip(np.rint(np.nan_to_num(pixels) * (255 / white)), 0, 255).astype(np.uint8)


def side_by_side(panels: Sequence[np.ndarray], titles: Sequence[str]) -> Image.Image:
    """Equally large H x W x 3 uint8 images in a row, each with its title above; tiny ones are enlarged to be seen."""
    height, width, _ = panels[0].shape
    zoom = max(1, 192 // max(height, width))
    height, width = height * zoom, width * zoom
    points = max(12, min(28, width // 18))
    font = ImageFont.load_default(size=points)
    column = max(width, *(int(font.getlength(title)) + 8 for title in titles))
    gap, bar = 8, int(points * 1.8)
    picture = Image.new('RGB', (len(panels) * (column + gap) - gap, height + bar), 'white')
    draw = ImageDraw.Draw(picture)
    for i, (panel, title) in enumerate(zip(panels, titles, strict=True)):
        left = i * (column + gap)
        draw.text((left + column / 2, bar / 2), title, fill='black', font=font, anchor='mm')
        enlarged = Image.fromarray(panel).resize((width, height), Image.Resampling.NEAREST)
        picture.paste(enlarged, (left + (column - width) // 2, bar))
    return picture


def save_png(picture: Image.Image, path: Path) -> None:
    """Write a PNG; on any failure nothing is left of it and an older file of the same name stays.

    Raises:
        ImageError: The folder cannot be written or the disk is full.
    """
    partial = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f'.{uuid.uuid4().hex}.partial')
        with partial.open('xb') as file:  # not by tempfile, whose files nobody else may read
            picture.save(file, 'PNG')
        os.replace(partial, path)
        partial = None
    except OSError as error:
        raise ImageError(
            f'{path}: cannot be written ({error.strerror or error}); make room, or give another folder') from None
    finally:
        if partial is not None:
            partial.unlink(missing_ok=True)
