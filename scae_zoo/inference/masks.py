"""Which class a segmenter finds at each pixel: masks as PNGs with a palette, and pictures to look at."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from ..images import CLASS_COLOURS, ImageError, open_rgb, save_png, scale_factor, scaled_to
from ..models.segmenter import ScaeSegmenter
from .asking import Answers, Result, ask
from .network import Network
from .outputs import Outputs
from .photographs import Found, Photograph, size_of
from .unfinished import Unfinished

LEGEND = 5  # classes at most, of those that cover most of the picture
SPECK = 0.005  # of the picture: a class that covers less is not named
OPACITY = 0.55  # of the classes' colours over the photograph


def segment_photographs(
        network: Network[ScaeSegmenter],
        found: Found,
        names: Sequence[str],
        outputs: Outputs,
        unfinished: Unfinished,
        size: int | None = None,
        overlay: bool = False,
) -> Result:
    """Write the mask of each photograph, of its own size: the class indices, shown in VOC's colours.

    Args:
        network: The segmenter.
        found: The photographs.
        names: The classes' names.
        outputs: Where the pictures go.
        unfinished: As ``ask`` has it.
        size: What the shorter side is scaled to, in pixels, before the network sees it; None: it stays.
        overlay: Write the photograph under the classes' colours with a legend as well.
    """
    def seen_pixels(photograph: Photograph) -> int:
        width, height = size_of(photograph)
        scale = scale_factor(width, height, size) if size and width and height else 1.
        return round(width * height * max(1., scale ** 2))

    def read(photograph: Photograph) -> tuple[np.ndarray, np.ndarray]:
        pixels = open_rgb(photograph.path)
        return pixels, pixels if size is None else scaled_to(pixels, size)

    def answer(photographs: list[Photograph], images: list[tuple[np.ndarray, np.ndarray]]) -> Answers:
        masks = masks_of(network, [seen for _, seen in images])
        notes, faults = [], []
        for photograph, (pixels, _), mask in zip(photographs, images, masks, strict=True):
            note, fault = _write(photograph, pixels, mask, names, outputs, unfinished.folder, overlay)
            notes.append(note)
            faults.append(fault)
        return Answers({}, notes, faults, [path for each in photographs for path in outputs.all_of(each)])

    return ask(found, read, answer, unfinished, seen_pixels)


def masks_of(network: Network[ScaeSegmenter], images: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The class of each pixel, H x W uint8, of images of any size, H x W x 3 uint8."""
    return [mask[0].numpy() for mask in network.of_images(
        lambda logits: logits.argmax(1, keepdim=True).byte(),
        [torch.from_numpy(pixels).permute(2, 0, 1) for pixels in images])]


def _write(
        photograph: Photograph,
        pixels: np.ndarray,
        mask: np.ndarray,
        names: Sequence[str],
        outputs: Outputs,
        scratch: Path,
        overlay: bool,
) -> tuple[str, str]:
    """Write a photograph's pictures; returns what to say of it, and what went wrong."""
    height, width = pixels.shape[:2]
    picture = Image.fromarray(mask)
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.NEAREST)
    indices = np.asarray(picture)
    picture.putpalette(CLASS_COLOURS.tobytes())  # makes it 'P': the pixels stay the indices
    path = outputs.of(photograph, '')
    try:
        save_png(picture, path, scratch)
        if overlay:
            save_png(overlaid(pixels, indices, names), outputs.of(photograph, 'overlay'), scratch)
    except ImageError as error:
        return '', str(error)
    shares = np.bincount(indices.ravel(), minlength=len(names)) / indices.size
    most = [f'{names[i]} {shares[i]:.1%}' for i in shares.argsort()[::-1][:3] if shares[i] >= SPECK]
    return f'{photograph.path}: {", ".join(most)} -> {path}', ''


def overlaid(pixels: np.ndarray, mask: np.ndarray, names: Sequence[str]) -> Image.Image:
    """A photograph under the colours of its classes, but for class 0, which is mostly what is behind; below it a legend
    of those that cover most."""
    blended = pixels.copy()
    there = mask > 0
    blended[there] = (pixels[there] * (1 - OPACITY) + CLASS_COLOURS[mask[there]] * OPACITY).astype(np.uint8)
    counts = np.bincount(mask.ravel(), minlength=len(names))
    shown = [int(i) for i in counts.argsort()[::-1] if i and counts[i] >= SPECK * mask.size][:LEGEND] or [0]
    height, width = mask.shape
    points = max(12, min(48, width // 24))
    font = ImageFont.load_default(size=points)
    line = int(points * 1.6)
    entries = [f'{names[i]}  {counts[i] / mask.size:.1%}' for i in shown]
    wide = max(width, *(line + int(font.getlength(entry)) + points for entry in entries))
    picture = Image.new('RGB', (wide, height + line * len(shown) + points // 2), 'white')
    picture.paste(Image.fromarray(blended))
    draw = ImageDraw.Draw(picture)
    for row, (i, entry) in enumerate(zip(shown, entries, strict=True)):
        top = height + points // 4 + row * line
        draw.rectangle((points // 2, top + line // 5, points // 2 + points, top + line // 5 + points),
                       fill=tuple(CLASS_COLOURS[i].tolist()), outline='black')
        draw.text((2 * points, top + line / 2), entry, fill='black', font=font, anchor='lm')
    return picture
