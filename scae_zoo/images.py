"""Photographs from and to files: any mode Pillow reads becomes RGB, and a picture is written whole or not at all."""

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageDraw, ImageFile, ImageFont, ImageOps
from PIL.TiffImagePlugin import BITSPERSAMPLE, SAMPLEFORMAT

from .places import written_whole

MAXSAMPLEVALUE = 281  # of TIFF
FIRST_BYTES = {'JPEG': rb'\xff\xd8\xff', 'PNG': rb'\x89PNG\r\n\x1a\n', 'WEBP': rb'RIFF....WEBP'}
LARGEST = 2 ** 24  # pixels that an image is enlarged to
WHITES = tuple(2 ** bits - 1 for bits in (8, 10, 12, 14, 16))
# VOC's colours of the class indices, whose bits they spread over the three channels; 255, not counted, is light
_BITS = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder='little')
CLASS_COLOURS = np.stack([np.packbits(_BITS[:, c::3], axis=1)[:, 0] for c in range(3)], 1)


class ImageError(ValueError):
    """A file cannot be read as an image, or a picture cannot be written; one line says which and why."""


def open_rgb(path: str | Path | BinaryIO) -> np.ndarray:
    """The image in a file, or in an open one, as H x W x 3 uint8 RGB, upright; the first frame, transparency on white.

    8 bits a channel stay as they are; more are scaled to 8. White is then the largest value of the fewest bits, of 8,
    10, 12, 14 and 16, that hold all values of the image, and what its file says of them (a TIFF's BitsPerSample and
    MaxSampleValue, 16 bits for PGM and JPEG 2000, which Pillow scales); or the greatest value, where it has more than
    16 bits. So a dark 16-bit image is not lightened by more than its unused bits. Where there are negative values, the
    least one is black. Floating-point values are taken as 0-1 or, where they exceed 16, as 0-255 where they fit; else
    they are scaled by their greatest. NaN is black.

    Raises:
        ImageError: The file is missing, no image, truncated, or too large to be decoded safely.
    """
    with faults_named(path):
        return to_rgb(open_picture(path))


def open_picture(path: str | Path | BinaryIO) -> Image.Image:
    """The first frame of the image in a file, or in an open one, upright, in its own mode, but with 8 bits a channel,
    made as ``open_rgb`` has it. ``info['deep']``: it had more; ``info['orientation']``: how it is stored, by EXIF."""
    with _opened(path) as file:
        with _identified(file) as image:
            tags, rawmode, known = getattr(image, 'tag_v2', {}), _rawmode(image), _known_maximum(image)
            picture = _upright(image)
        is_signed = tags.get(SAMPLEFORMAT, (1,))[0] == 2
        picture.info['deep'] = _is_deep(picture) or ';16' in rawmode
        if _is_deep(picture):
            numbers = np.asarray(picture)
            numbers = numbers.view(np.uint32) if tags and picture.mode == 'I' and not is_signed else numbers
            return _with_pixels(picture, _to_eight_bits(numbers, known))
        if is_signed and picture.mode == 'L' and (numbers := np.asarray(picture).view(np.int8)).min() < 0:
            return _with_pixels(picture, _to_eight_bits(numbers))
        # Pillow gives the high bytes of colours with 16 bits: nothing but black, where the file has 12
        if re.fullmatch('RGB[AX]?;16[BLN]', rawmode) and np.asarray(picture)[..., :3].max() < 64:
            with _identified(file) as image:
                assert isinstance(image, ImageFile.ImageFile)
                image.tile = [tile._replace(args=_other_byte(tile.args)) for tile in image.tile]
                low = np.asarray(_upright(image))
            numbers = np.asarray(picture).astype(np.uint16) * 256 + low
            bands = [_to_eight_bits(part) for part in (numbers[..., :3], numbers[..., 3:])]
            return _with_pixels(picture, np.concatenate(bands, axis=2))
        if rawmode.startswith('LA;16') or picture.mode == 'La':  # Pillow makes the one RGBA, and the other nothing else
            return picture.convert('LA')
        return picture


def _opened(path: str | Path | BinaryIO) -> AbstractContextManager[BinaryIO]:
    # never by its name: Pillow would map an uncompressed TIFF into memory, and turn it wrongly
    return open(path, 'rb') if isinstance(path, (str, Path)) else nullcontext(path)


def _identified(file: BinaryIO) -> Image.Image:
    """What ``Image.open`` gives. That lets each of Pillow's formats in turn begin to read, a sixth of the time that a
    small WebP takes: so the most common ones are told by their first bytes."""
    formats = None
    if getattr(file, 'seekable', lambda: False)():
        file.seek(0)
        start = file.read(12)
        formats = next(([name] for name, pattern in FIRST_BYTES.items() if re.match(pattern, start, re.DOTALL)), None)
    return Image.open(file, formats=formats)


def _upright(image: Image.Image) -> Image.Image:
    image.load()
    turned = ImageOps.exif_transpose(image)
    turned.info['orientation'] = orientation(image)
    return turned


def orientation(image: Image.Image) -> int:
    """How an image is stored, in EXIF's numbers: 1 is upright, from 5 on its sides change places."""
    found = image.getexif().get(ExifTags.Base.Orientation)
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _with_pixels(picture: Image.Image, pixels: np.ndarray) -> Image.Image:
    """These pixels, with what else is known of a picture."""
    other = Image.fromarray(pixels)
    other.info = {key: value for key, value in picture.info.items() if key != 'transparency'}
    return other


def _rawmode(image: Image.Image) -> str:
    """How the channels of an image that is not decoded yet lie in its file, in Pillow's terms."""
    args = image.tile[0].args if isinstance(image, ImageFile.ImageFile) and image.tile else ''
    return str(args if isinstance(args, str) else args[0] if args else '')


def _other_byte(args: Any) -> Any:
    """A tile's arguments that make Pillow take the other byte of each 16-bit value."""
    if not isinstance(args, str):
        return (_other_byte(args[0]), *args[1:])
    order = {'N': 'L' if sys.byteorder == 'little' else 'B'}.get(args[-1], args[-1])
    return args[:-1] + {'L': 'B', 'B': 'L'}[order]


def _known_maximum(image: Image.Image) -> int:
    """The greatest value that the pixels of a file are known to be able to have; 0 where nothing is."""
    if image.format in ('PPM', 'JPEG2000'):
        return 65535 if image.mode.startswith('I') else 0
    tags = getattr(image, 'tag_v2', {})
    if not tags:
        return 0
    bits, values = (
        [int(n) for n in np.ravel(tags.get(tag, 0)) if isinstance(n, (int, np.integer))]
        for tag in (BITSPERSAMPLE, MAXSAMPLEVALUE))
    return max(0, *values, *(2 ** n - 1 for n in bits if 8 < n < 16))


@contextmanager
def opened(path: str | Path | BinaryIO) -> Iterator[Image.Image]:
    """The image in a file, or in an open one, before it is decoded."""
    with _opened(path) as file, _identified(file) as image:
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
    if _is_deep(image):
        return np.repeat(_to_eight_bits(np.asarray(image))[:, :, None], 3, axis=2)
    if is_transparent(image):
        image = image.convert('RGBA')
        image = Image.alpha_composite(Image.new('RGBA', image.size, 'white'), image)
    return np.array(image if image.mode == 'RGB' else image.convert('RGB'))


def is_transparent(image: Image.Image) -> bool:
    """Whether an image has an alpha channel, or a colour that stands for none."""
    return image.mode in ('LA', 'La', 'PA', 'RGBA', 'RGBa') or 'transparency' in image.info


def _is_deep(image: Image.Image) -> bool:
    return image.mode.startswith('I') or image.mode == 'F'


def _to_eight_bits(numbers: np.ndarray, known: float = 0) -> np.ndarray:
    """Integers or floating-point numbers as uint8; see ``open_rgb``. Pillow's own conversion clips them at 255.

    Args:
        numbers: Of any shape.
        known: A value that they are known to be able to have, for integers.
    """
    values = numbers.astype(np.float64)
    finite = np.isfinite(values)
    black = values.min(initial=0, where=finite)
    top = values.max(initial=0, where=finite) - black
    if np.issubdtype(numbers.dtype, np.floating):
        white = 1. if top <= 1 else 255. if 16 < top <= 255 else top
    else:
        top = max(top, known - black)
        white = next((value for value in WHITES if top <= value), top)
    values = np.nan_to_num(values - black, posinf=white, neginf=0)
    return np.clip(np.rint(values * (255 / white)), 0, 255).astype(np.uint8)


def opaque(picture: Image.Image) -> Image.Image:
    """A picture's colours alone, where some are transparent also those that are not seen."""
    return picture.convert('RGBA').convert('RGB') if is_transparent(picture) else picture


def like(picture: Image.Image, pixels: np.ndarray) -> Image.Image:
    """New pixels, H x W x 3 uint8, for a picture of ``open_picture``: grey where it is grey, with its alpha channel;
    ``info`` has its colour profile and its resolution, as ``save_png`` takes them."""
    result = Image.fromarray(pixels).convert('L' if _is_grey(picture) else 'RGB')
    if is_transparent(picture):
        result.putalpha(picture.convert('RGBA').getchannel('A'))
    profile, dpi = (picture.info.get(key) for key in ('icc_profile', 'dpi'))
    result.info.clear()
    if profile and profile[16:20] in (b'RGB ', b'GRAY'):  # those of CMYK and Lab are of no use to RGB
        result.info['icc_profile'] = profile
    if dpi and all(0 < each < 1e6 for each in dpi):
        result.info['dpi'] = tuple(map(float, dpi))
    return result


def _is_grey(picture: Image.Image) -> bool:
    if picture.mode in ('P', 'PA'):
        colours = np.asarray(picture.convert('RGB'))
        return bool((colours == colours[..., :1]).all())
    return picture.mode in ('1', 'L', 'LA')


def scale_factor(width: int, height: int, shorter: int) -> float:
    """What an image is scaled by for its shorter side to have so many pixels; less, where a thin one would become
    huge."""
    return min(shorter / min(width, height), max(1., (LARGEST / (width * height)) ** 0.5))


def scaled_to(pixels: np.ndarray, shorter: int) -> np.ndarray:
    """An image, H x W x 3 uint8, whose shorter side is made so many pixels."""
    factor = scale_factor(pixels.shape[1], pixels.shape[0], shorter)
    height, width = (max(1, round(side * factor)) for side in pixels.shape[:2])
    return np.array(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))


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
        shown = Image.fromarray(panel)
        if zoom > 1:
            shown = shown.resize((width, height), Image.Resampling.NEAREST)
        picture.paste(shown, (left + (column - width) // 2, bar))
    return picture


def save_png(picture: Image.Image, path: Path, scratch: Path | None = None, **options: Any) -> None:
    """Write a PNG by Pillow's options; on any failure nothing is left of it and an older file of the same name stays.
    ``scratch`` as ``written_whole`` has it.

    Raises:
        ImageError: The folder cannot be written or the disk is full.
    """
    try:
        with written_whole(path, scratch) as file:
            picture.save(file, 'PNG', **options)
    except OSError as error:
        raise ImageError(
            f'{path}: cannot be written ({error.strerror or error}); make room, or give another folder') from None
