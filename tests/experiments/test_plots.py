"""Pictures that differ where what they show does."""

from pathlib import Path

import numpy as np
from PIL import Image

from scae_zoo.experiments.plots import Curve, plot_curves


def drawn(folder: Path, curves: list[Curve]) -> np.ndarray:
    plot_curves({'a': curves, 'b': [[(1, 0.), (9, 100.)]]}, 'passes', 'accuracy', folder / 'curves.png')
    return np.asarray(Image.open(folder / 'curves.png').convert('RGB'))


def test_curves(tmp_path: Path) -> None:
    """The mean of the seeds, and thinner each of them."""
    low: Curve = [(1, 20.), (9, 40.)]
    high: Curve = [(1, 40.), (9, 60.)]
    middle: Curve = [(1, 30.), (9, 50.)]
    none, one, both = (drawn(tmp_path, curves) for curves in ([], [middle], [low, high]))
    assert (none != one).any()
    painted, more = ((none != picture).any(2) for picture in (one, both))
    assert more.sum() > painted.sum()
    assert (more | ~painted).all()  # the same mean
