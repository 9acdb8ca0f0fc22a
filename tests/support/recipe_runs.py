"""How the tests run the recipes: on a few images, and with the recipes' own networks a 16th as wide."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from filelock import FileLock

from scae_zoo.models.architectures import ARCHITECTURES

from .processes import ROOT, call, script

RECIPES = ROOT / 'recipes'
WHOLE = 'cifar10_all_labels'
# layers, kernels and strides are the networks' own: with fewer channels all goes the same way, in a tenth of the time
NARROW = {name: tuple(spec._replace(channels=spec.channels // 16) for spec in convs)
          for name, convs in ARCHITECTURES.items()}


class Smoke(NamedTuple):
    """A run of a recipe that several tests look at: its folder, which they copy to change it, and what it printed."""

    out: Path
    printed: str


@contextmanager
def narrow_networks() -> Iterator[None]:
    with mock.patch.dict(ARCHITECTURES, NARROW):
        yield


def networks(name: str) -> AbstractContextManager[None]:
    """Narrow ones, but for the recipe that starts from the zoo's own auto-encoder."""
    return nullcontext() if name == WHOLE else narrow_networks()


def options(out: Path) -> list[str]:
    return ['--budget', 'smoke', '--device', 'cpu', '--out', str(out)]


def recipe(name: str, out: Path, *others: str) -> None:
    with networks(name):
        script(RECIPES / f'{name}.py', *options(out), *others)


def run(name: str, out: Path, *others: str) -> 'subprocess.CompletedProcess[str]':
    """A recipe in this process."""
    return call(recipe, name, out, *others)


def smoke(name: str, folder: Path) -> Smoke:
    """All of a recipe, by the first of the test processes that asks for it. The one with whole networks is started as
    its user starts it."""
    out, printed = folder / name / 'out', folder / name / 'printed'
    with FileLock(folder / f'{name}.lock'):
        if not printed.is_file():
            result = run(name, out) if name != WHOLE else subprocess.run(
                [sys.executable, str(RECIPES / f'{name}.py'), *options(out)], capture_output=True, text=True)
            assert result.returncode == 0, result.stderr
            printed.write_text(result.stdout)
    return Smoke(out, printed.read_text())
