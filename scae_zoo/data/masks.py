"""Masks: a class index a pixel, from grey values, a palette, or colours that a table gives to classes."""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import torch
from PIL import ExifTags, Image, ImageFile, ImageOps

from ..console import is_main_process
from ..images import ImageError, faults_named, open_picture, opened, orientation, to_rgb

IGNORED = 255  # the class of a pixel that is not counted
LOSSY = frozenset({'JPEG', 'MPO', 'WEBP', 'AVIF', 'JPEG2000'})  # or may be, which Pillow does not say
LOSSY_TIFF = frozenset({'jpeg', 'tiff_jpeg', 'webp'})
MAX_CLASSES = 255
SHOWN = 12  # values in a message
COLOUR_TABLE = 'NAME RED GREEN BLUE, such as "road 128 64 128"'
MAPPING = '--mask-values says which value of a pixel is which class'


@dataclass(frozen=True)
class MaskCodes:
    """What the pixels of masks hold where it is not the number of their class.

    Args:
        values: The k-th stands for class k; a colour is 0xRRGGBB.
        ignored: What stands for pixels that are not counted.
        colours: Whether they are colours.
    """

    values: tuple[int, ...]
    ignored: tuple[int, ...] = (IGNORED,)
    colours: bool = False

    def classes(self, pixels: np.ndarray, path: Path) -> np.ndarray:
        """The classes, H x W uint8, of H x W values.

        Raises:
            ValueError: One of the values is none of these.
        """
        codes = np.array([*self.values, *self.ignored])
        order = codes.argsort()
        of_code = np.array([*range(len(self.values)), *(IGNORED for _ in self.ignored)], np.uint8)[order]
        codes = codes[order]
        at = np.searchsorted(codes, pixels).clip(max=len(codes) - 1)
        if (strange := pixels[codes[at] != pixels]).size:
            values, counts = np.unique(strange, return_counts=True)
            what = f'the colour {" ".join(map(str, rgb(values[0])))}' if self.colours else f'the value {values[0]}'
            where = 'the table classes.txt' if self.colours else f'--mask-values {joined(self.values)}'
            more = f'; {len(values)} such {"colours" if self.colours else "values"}' if len(values) > 1 else ''
            raise ValueError(f'{path}: has {what} ({counts[0]} pixels), which is not in {where}{more}')
        return of_code[at]


def joined(values: Sequence[int]) -> str:
    """``0,170``, as ``--mask-values`` takes it."""
    return ','.join(map(str, values))


def rgb(colour: int) -> tuple[int, int, int]:
    """0xRRGGBB to its three numbers."""
    return int(colour) >> 16, int(colour) >> 8 & 255, int(colour) & 255


class Decoded(NamedTuple):
    """An image with its mask, where it has one.

    Args:
        pixels: H x W x 3 uint8 RGB, upright.
        mask: Class indices, H x W uint8; 255 is not counted.
        values: Those in the mask, each once, in order; they stay when it is scaled and cropped.
        unsure: Whether it is unknown which way up the mask was drawn.
    """

    pixels: np.ndarray
    mask: np.ndarray | None = None
    values: tuple[int, ...] = ()
    unsure: bool = False


def open_pair(image: str | Path | BinaryIO, mask: Path, codes: MaskCodes | None = None) -> Decoded:
    """An image with its mask.

    A mask with an EXIF orientation of its own is turned by it. One without, of an image that has one, was drawn on the
    upright image or on the stored pixels: its size tells which, but for squares and for images that are mirrored or
    upside down; it is then taken as drawn on the upright image.

    Args:
        image: The image's file.
        mask: The mask's file.
        codes: What the mask's pixels hold, where it is not the number of their class.

    Raises:
        ImageError: A file cannot be read, or their sizes differ.
        ValueError: The mask's pixels are no class indices.
    """
    with faults_named(image):
        picture = open_picture(image)
        pixels, upright, turn = to_rgb(picture), picture.size, picture.info['orientation']
    stored = upright[::-1] if turn >= 5 else upright
    with faults_named(mask), opened(mask) as picture:
        scale, kind = _scale(picture), picture.format or ''
        picture.load()
        lossy = kind in LOSSY or picture.info.get('compression') in LOSSY_TIFF
        own = orientation(picture)
        if own == 1 and picture.size == stored != upright:
            picture.getexif()[ExifTags.Base.Orientation] = turn
        drawn = ImageOps.exif_transpose(picture)
    if lossy:
        raise ValueError(f'{mask}: is a {kind} image, whose compression can change the values of pixels; a mask must '
                         'be exact: make it as PNG')
    if drawn.size != upright:
        raise ImageError(f'{mask}: has {drawn.width}x{drawn.height} pixels, its image {upright[0]}x{upright[1]}; '
                         'they must agree')
    classes = _classes(drawn, mask, scale, codes)
    return Decoded(pixels, classes, tuple(values_of(torch.from_numpy(classes)[None])),
                   turn != 1 and own == 1 and stored == upright)


def _classes(image: Image.Image, path: Path, scale: float, codes: MaskCodes | None) -> np.ndarray:
    """The class indices of a mask, H x W uint8."""
    values = _colours(image, path) if codes and codes.colours else _values(image, path, scale)
    if codes:
        return codes.classes(values, path)
    if (strange := values[(values < 0) | (values > IGNORED)]).size:
        raise ValueError(f'{path}: has the value {strange[0]}; a mask has class indices up to {MAX_CLASSES - 1}, and '
                         f'{IGNORED} for what is not counted; {MAPPING}')
    return values.astype(np.uint8)


def _scale(image: Image.Image) -> float:
    """What undoes the scaling of grey values when Pillow loads an image: it makes fewer bits 8, and 0 to the largest
    value that a PGM file states 0 to 255. To be asked before that: Pillow then forgets it."""
    for tile in image.tile if isinstance(image, ImageFile.ImageFile) else ():
        raw, *more = (tile.args,) if isinstance(tile.args, str) else tile.args or ('',)
        if bits := re.fullmatch(r'L;([24])I?R?', str(raw)):
            return (2 ** int(bits[1]) - 1) / 255
        if tile.codec_name in ('ppm', 'ppm_plain') and more:
            return more[0] / (65535 if image.mode == 'I' else 255)
    return 1.


def _values(image: Image.Image, path: Path, scale: float) -> np.ndarray:
    """What each pixel of a grey or palette image holds."""
    image = _opaque(image, path)
    if image.mode not in ('L', 'P', '1', 'F') and not image.mode.startswith('I'):
        raise ValueError(f'{path}: is a {image.mode} image; a mask has one class index a pixel (grey or palette), or '
                         'colours that a classes.txt beside images/ and masks/ gives to classes, a row for each: '
                         f'{COLOUR_TABLE}')
    pixels = np.array(image)
    if pixels.dtype in (np.uint8, np.bool_) and scale == 1:
        return pixels.astype(np.uint8)
    whole = np.rint(pixels * scale)
    if image.mode == 'F' and (strange := pixels[~np.isfinite(pixels) | (whole != pixels)]).size:
        raise ValueError(f'{path}: has the value {strange[0]:g}; class indices are whole numbers')
    return whole.astype(np.int64)


def _colours(image: Image.Image, path: Path) -> np.ndarray:
    """The colour of each pixel, 0xRRGGBB."""
    image = _opaque(image, path)
    if image.mode not in ('RGB', 'L', 'P', '1'):
        raise ValueError(f'{path}: is a {image.mode} image; classes.txt gives colours to the classes, so a mask must '
                         'be an RGB, grey or palette image')
    red, green, blue = np.moveaxis(np.array(image.convert('RGB'), np.int32), 2, 0)
    return red << 16 | green << 8 | blue


def _opaque(image: Image.Image, path: Path) -> Image.Image:
    """The image without an alpha channel that says nothing."""
    if image.mode not in ('RGBA', 'LA'):
        return image
    if image.getchannel('A').getextrema()[0] != 255:
        raise ValueError(f'{path}: is partly transparent; a mask has one class a pixel: save it without alpha channel')
    return image.convert(image.mode[:-1])


@cache
def say_unsure(what: str, number: int) -> None:
    """Say once of a set that it is unknown which way up some of its masks were drawn."""
    if number and is_main_process():
        print(f'{what}: {number} images have an EXIF orientation that their masks do not have, and sizes that do not '
              'tell which way up the masks were drawn; they are taken as drawn on the upright images', file=sys.stderr)


def values_of(masks: torch.Tensor) -> list[int]:
    """The values in N x H x W uint8 masks, each once, in order."""
    seen = torch.zeros(256, dtype=torch.bool)
    for part in masks.split(256):
        seen |= torch.bincount(part.flatten(), minlength=256) > 0
    return seen.nonzero().flatten().tolist()


def require_class_indices(seen: Sequence[int], classes: Sequence[str], what: str) -> int:
    """How many classes masks have to learn from.

    Args:
        seen: The values in them, in order.
        classes: The classes' names, where they have some.
        what: What the masks are called.

    Raises:
        ValueError: The values are not class indices: not 0, 1, 2, ... without a gap where the classes have no names,
            more than there are names, or 0 alone.
    """
    counted = [value for value in seen if value != IGNORED]
    there = counted[-1] + 1 if counted else 1
    if there < 2:
        ways = '--mask-values 0,255 makes 255 class 1' if IGNORED in seen and counted and len(classes) in (0, 2) else (
            'give each pixel the number of its class: 0, 1, 2, ...')
        raise ValueError(f'{what}: the masks have no class but 0 ({IGNORED} stands for pixels that are not counted); '
                         f'{ways}')
    if classes and there > len(classes):
        raise ValueError(f'{what}: a mask has class {there - 1}, but there are only {len(classes)} classes: 0 '
                         f'({classes[0]}) to {len(classes) - 1} ({classes[-1]}); {MAPPING}')
    if not classes and counted != list(range(there)):
        shown = ', '.join(map(str, counted[:SHOWN])) + f', ... ({len(counted)} values)' * (len(counted) > SHOWN)
        values = joined(counted) if len(counted) <= SHOWN else 'VALUE,VALUE,...'
        raise ValueError(
            f'{what}: the values in the masks are {shown} ({IGNORED}, not counted, apart), not 0, 1, 2, ... without a '
            f'gap; give --mask-values {values} (the first value is class 0, the next one class 1, ...), or a '
            f'classes.txt beside images/ and masks/ that names the classes 0 to {there - 1}, one a line')
    return there
