"""A few small images cut from photographs that matplotlib and scikit-learn ship, to try a recipe from end to end."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.cbook import get_sample_data
from PIL import Image
from sklearn.datasets import load_sample_images

from ..images import open_rgb


def _photographs() -> list[np.ndarray]:
    return [open_rgb(get_sample_data('grace_hopper.jpg', asfileobj=False)), *load_sample_images().images]


def cuttings(number: int, side: int, seed: int) -> list[tuple[int, Image.Image]]:
    """Square pieces of the photographs in turn, scaled to ``side``, each with its photograph's number."""
    photographs = _photographs()
    rng = np.random.default_rng(seed)
    pieces = []
    for i in range(number):
        which = i % len(photographs)
        height, width, _ = photographs[which].shape
        length = min(height, width) // 3
        top, left = rng.integers(height - length), rng.integers(width - length)
        piece = Image.fromarray(photographs[which][top:top + length, left:left + length])
        pieces.append((which, piece.resize((side, side), Image.Resampling.BICUBIC)))
    return pieces


def write_classes(folder: Path, side: int, number: int, classes: Sequence[str]) -> None:
    """``train`` and ``test`` with a sub-folder a class; the classes take the photographs in turn."""
    for seed, split in enumerate(('train', 'test')):
        for i, (_, piece) in enumerate(cuttings(number, side, seed)):
            path = folder / split / classes[i % len(classes)] / f'{i:03}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            piece.save(path)


def write_multi_label(folder: Path, side: int, number: int, classes: Sequence[str]) -> None:
    """``train`` and ``test`` with a ``labels.csv``: each class is in every third image."""
    for seed, split in enumerate(('train', 'test')):
        (folder / split).mkdir(parents=True, exist_ok=True)
        with (folder / split / 'labels.csv').open('w', newline='') as file:
            table = csv.writer(file)
            table.writerow(['image', *classes])
            for i, (which, piece) in enumerate(cuttings(number, side, seed)):
                piece.save(folder / split / f'{i:03}.png')
                table.writerow([f'{i:03}.png', *(int((which + k) % 3 == 0) for k in range(len(classes)))])


def write_masks(folder: Path, side: int, number: int, classes: Sequence[str]) -> None:
    """``train`` and ``test`` with ``images/`` and ``masks/``; a pixel's class is how bright it is."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'classes.txt').write_text('\n'.join(classes) + '\n')
    for seed, split in enumerate(('train', 'test')):
        for kind in ('images', 'masks'):
            (folder / split / kind).mkdir(parents=True, exist_ok=True)
        for i, (_, piece) in enumerate(cuttings(number, side, seed)):
            piece.save(folder / split / 'images' / f'{i:03}.png')
            bright = np.asarray(piece.convert('L')).astype(int) * len(classes) // 256
            Image.fromarray(bright.astype(np.uint8)).save(folder / split / 'masks' / f'{i:03}.png')
