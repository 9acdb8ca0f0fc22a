"""The pictures in a run's folder: its curve, and what its network makes of a few images."""

import sys
import textwrap
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from ..data.image_set import ImageSet
from ..data.masks import IGNORED
from ..data.sources import Pairs, few
from ..evaluation.denoising import psnr, reconstructions
from ..images import CLASS_COLOURS, ImageError, save_png
from ..inference.batching import central_crop
from ..inference.strips import reconstruct
from ..models.autoencoder import Scae
from ..models.segmenter import ScaeSegmenter
from ..pixels import normalize

if TYPE_CHECKING:  # else in the functions that draw: it is slow to import, and complains where there is no home folder
    from matplotlib.figure import Figure

CURVE, EXAMPLES = 'curve.png', 'examples.png'
DPI = 120
TEXT = 7  # the size of letters, in points
LINE, LETTER, GAP = 15, 7, 12  # the height of a line, the width of a letter, and gaps, in pixels
LONGEST = 24  # letters in a line of a title


def draw(path: Path, picture: Callable[[], 'Figure']) -> None:
    """Draw a picture of a run that has ended. The run's result is safe by then: whatever fails is said in one line."""
    try:
        with warnings.catch_warnings():  # of letters that the font does not have
            warnings.simplefilter('ignore')
            save_figure(picture(), path)
    except Exception as error:
        known = isinstance(error, ImageError | ImportError)
        reason = f'{error}' if known else f'{type(error).__name__}: {error}'
        print(f'no {path.name}: {" ".join(reason.split())}', file=sys.stderr)


def save_figure(figure: 'Figure', path: Path) -> None:
    """Write a figure as a PNG, whole or not at all."""
    buffer = BytesIO()
    figure.savefig(buffer, format='png', dpi=DPI)
    save_png(Image.open(buffer).convert('RGB'), path)


def curve(log: Sequence[Mapping[str, Any]], figures: Sequence[Mapping[str, Any]]) -> 'Figure':
    """The loss over the passes, and beside it what was measured on validation images, where there are some.

    Args:
        log: The rows of ``log.jsonl``.
        figures: What was measured in the end, as ``model_card`` has it; the first one is named.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    curves = {label: points for key, label in (('loss', 'training loss'), ('validation', 'on validation images (%)'))
              if (points := [(row['epoch'], row[key]) for row in log if key in row])}
    figure = Figure(figsize=(6.4 * len(curves), 4), layout='constrained')
    for axes, (label, points) in zip(figure.subplots(1, len(curves), squeeze=False)[0], curves.items(), strict=True):
        axes.plot(*zip(*points, strict=True), marker='o', markersize=3)
        axes.set_xlabel('passes')
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
    if figures:
        figure.suptitle(f'{figures[0]["name"]}: {figures[0]["value"]}', fontsize=9)
    return figure


class Panel(NamedTuple):
    """A picture, H x W x 3 uint8, and the lines above it."""

    pixels: np.ndarray
    title: str


def panels(
        groups: Sequence[Sequence[Panel]],
        across: int,
        heading: str,
        legend: Mapping[str, np.ndarray] | None = None,
) -> 'Figure':
    """Groups of pictures, each in a row, pixel by pixel.

    Args:
        groups: As many pictures in each.
        across: Groups beside each other.
        heading: The line above all.
        legend: Colours, uint8 RGB, by what they mean; below all.
    """
    from matplotlib.figure import Figure

    every = [panel for group in groups for panel in group]
    letters = max(len(line) for panel in every for line in panel.title.splitlines())
    wide = max(min(letters, LONGEST) * LETTER, *(panel.pixels.shape[1] for panel in every))
    titles = [[part for line in panel.title.splitlines() for part in textwrap.wrap(line, wide // LETTER)]
              for panel in every]
    above = max(map(len, titles)) * LINE + 4
    height, width = max(len(panel.pixels) for panel in every) + above + GAP, len(groups[0]) * (wide + GAP // 2) + GAP
    across = min(across, len(groups))
    top, total = LINE + 2 * GAP, max(across * width, len(heading) * LETTER) + GAP
    bottom = top + -(-len(groups) // across) * height
    legend = legend or {}
    column = max(map(len, legend), default=0) * LETTER + 3 * LINE
    columns = max(1, (total - GAP) // column)
    whole = bottom + -(-len(legend) // columns) * (LINE + 4) + GAP
    figure = Figure(figsize=(total / DPI, whole / DPI))

    def write(x: float, y: float, text: str, **how: Any) -> None:
        figure.text(x / total, 1 - y / whole, text.encode(errors='backslashreplace').decode(), fontsize=TEXT,
                    parse_math=False, **how)

    def paste(x: float, y: float, pixels: np.ndarray) -> None:
        figure.figimage(pixels, round(x), round(whole - y - len(pixels)), origin='upper')

    write(GAP, GAP, heading, va='top')
    for i, (panel, lines) in enumerate(zip(every, titles, strict=True)):
        group, place = divmod(i, len(groups[0]))
        x = GAP + group % across * width + place * (wide + GAP // 2)
        y = top + group // across * height + above
        write(x + wide / 2, y - 4, '\n'.join(lines), ha='center', va='bottom')
        paste(x + (wide - panel.pixels.shape[1]) / 2, y, panel.pixels)
    for i, (name, colour) in enumerate(legend.items()):
        x, y = GAP + i % columns * column, bottom + i // columns * (LINE + 4)
        paste(x, y, np.tile(colour, (LINE, LINE, 1)))
        write(x + LINE + 6, y + LINE / 2, name, va='center')
    return figure


def _fitted(pixels: np.ndarray, side: int, resampling: Image.Resampling = Image.Resampling.BICUBIC) -> np.ndarray:
    """Pixels made a whole number of times larger, or smaller, so that no side is longer than ``side``."""
    height, width = pixels.shape[:2]
    longest = max(height, width)
    if longest <= side:
        return pixels.repeat(side // longest, 0).repeat(side // longest, 1)
    size = max(1, round(width * side / longest)), max(1, round(height * side / longest))
    return np.asarray(Image.fromarray(pixels).resize(size, resampling))


def _sized(pixels: np.ndarray, like: np.ndarray, resampling: Image.Resampling) -> np.ndarray:
    """Pixels made as high and wide as other ones, where they are not."""
    height, width = like.shape[:2]
    return pixels if pixels.shape[:2] == (height, width) else np.asarray(
        Image.fromarray(pixels).resize((width, height), resampling))


def _pixels(image: torch.Tensor) -> np.ndarray:
    """C x H x W in 0-255 pixel units to H x W x C uint8."""
    return image.round().byte().permute(1, 2, 0).cpu().numpy()


@torch.inference_mode()
def restored(
        model: Scae,
        images: torch.Tensor,
        corrupt: Callable[..., torch.Tensor],
        heading: str,
        number: int = 8,
        side: int = 108,
) -> 'Figure':
    """What an auto-encoder makes of corrupted images: corrupted | reconstruction | original.

    Args:
        model: The auto-encoder.
        images: N x C x H x W uint8, of which some are taken, spread over all of them.
        corrupt: What it has learned to undo.
        heading: The line above.
        number: How many images.
        side: Of the pictures, in pixels.
    """
    cfg = model.encoder.pretrained_cfg
    some = images[torch.arange(min(number, len(images))) * len(images) // min(number, len(images))]
    groups = []
    for batch in reconstructions(model, some, corrupt, cfg['mean'], cfg['std'], 0, None):
        clean, *both = batch
        before, after = (psnr(x, clean).tolist() for x in both)
        for i, image in enumerate(clean):
            titles = f'corrupted\n{before[i]:.1f} dB', f'reconstruction\n{after[i]:.1f} dB', 'original'
            groups.append([Panel(_fitted(_pixels(x), side), title)
                           for x, title in zip((both[0][i], both[1][i], image.float()), titles, strict=True)])
    return panels(groups, 2, heading)


def mistakes(test: ImageSet, scores: torch.Tensor, crop: int, number: int = 12, side: int = 128) -> 'Figure':
    """The surest mistakes of a classifier, or what it is least sure of, where it makes none.

    Args:
        test: The images, with one label each, or with many.
        scores: Logits, N x K.
        crop: Side of the central crops that are shown.
        number: How many labels of images.
        side: Of the pictures, in pixels.
    """
    assert test.targets is not None
    if test.multi_label:
        shares, truth = scores.sigmoid(), test.targets == 1
        named, counted = shares > 0.5, test.targets >= 0
        sure = torch.where(named, shares, 1 - shares)
    else:
        (sure, named), truth = scores.softmax(1).max(1), test.targets
        counted = torch.ones_like(truth, dtype=torch.bool)
    wrong = counted & (named != truth)
    faults, total = int(wrong.sum()), int(counted.sum())
    what = 'labels' if test.multi_label else 'test images'
    heading = f'{faults} of {total} {what} are wrong; the surest mistakes' if faults else (
        f'all {total} {what} are right; the least sure ones')
    places = (wrong if faults else counted).nonzero()
    order = sure[tuple(places.T)].argsort(descending=faults > 0, stable=True)[:number]
    groups = []
    for place in map(tuple, places[order].tolist()):
        if test.multi_label:
            there = 'is there' if truth[place] else 'is not there'
            title = f'{test.classes[place[1]]} {there},\ngiven {100 * shares[place]:.0f}\N{NO-BREAK SPACE}%'
        else:
            taken = f'{test.classes[named[place]]}, {100 * sure[place]:.0f}\N{NO-BREAK SPACE}%'
            title = f'is {test.classes[truth[place]]},\ntaken for {taken}' if faults else taken
        image, = central_crop(test.images[place[0]][None], crop)
        groups.append([Panel(_fitted(_pixels(image.float()), side), title)])
    return panels(groups, 4, heading)


@torch.inference_mode()
def segmentations(model: ScaeSegmenter, pairs: Pairs, number: int = 8, side: int = 160) -> 'Figure':
    """Images, their masks, and what a segmenter makes of them: image | truth | prediction.

    Args:
        model: The segmenter, whose configuration may name the classes.
        pairs: Images with masks, of which some are taken, spread over all of them.
        number: How many.
        side: Of the pictures, in pixels.
    """
    cfg = model.encoder.pretrained_cfg
    device = next(model.parameters()).device
    groups, seen = [], set[int]()
    for image, mask in replace(pairs, source=few(pairs.source, number)):
        x = normalize(image[None].to(device), cfg['mean'], cfg['std'])
        prediction = reconstruct(model, x).argmax(1)[0].byte().cpu()
        truth = _fitted(mask.numpy(), side, Image.Resampling.NEAREST)
        group = [Panel(_sized(_fitted(_pixels(image.float()), side), truth, Image.Resampling.BICUBIC), 'image')]
        whole = _sized(prediction.numpy(), mask.numpy(), Image.Resampling.NEAREST)  # of a scaled image
        for title, classes in (('truth', truth), ('prediction', _fitted(whole, side, Image.Resampling.NEAREST))):
            seen.update(np.unique(classes).tolist())
            group.append(Panel(CLASS_COLOURS[classes], title))
        groups.append(group)
    names = {**dict(enumerate(cfg.get('label_names') or map(str, range(model.num_classes)))), IGNORED: 'not counted'}
    return panels(groups, 2, f'{len(groups)} of {len(pairs)} test images', {
        names[index]: CLASS_COLOURS[index] for index in sorted(seen)})
