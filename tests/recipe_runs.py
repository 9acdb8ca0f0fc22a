"""How the tests run the recipes: on a few images, and with the recipes' own networks a 16th as wide."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from unittest import mock

from scae_zoo.models.scae import ARCHITECTURES

from .processes import ROOT, call, script

# layers, kernels and strides are the networks' own: with fewer channels all goes the same way, in a tenth of the time
NARROW = {name: tuple(spec._replace(channels=spec.channels // 16) for spec in convs)
          for name, convs in ARCHITECTURES.items()}


@contextmanager
def narrow_networks() -> Iterator[None]:
    with mock.patch.dict(ARCHITECTURES, NARROW):
        yield


def options(out: Path) -> list[str]:
    return ['--budget', 'smoke', '--device', 'cpu', '--out', str(out)]


def recipe(name: str, out: Path, *others: str) -> None:
    """The script of a recipe. That which starts from the zoo's auto-encoder has its width."""
    with nullcontext() if name == 'cifar10_all_labels' else narrow_networks():
        script(ROOT / 'recipes' / f'{name}.py', *options(out), *others)


def run(name: str, out: Path, *others: str) -> 'subprocess.CompletedProcess[str]':
    return call(recipe, name, out, *others)
