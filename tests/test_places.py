"""Paths with ``~``, no home folder, files that others may read, and streams that are closed or full."""

import argparse
import io
import os
import pwd
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from scae_zoo import create_autoencoder
from scae_zoo.checkpoints.writing import write
from scae_zoo.cli import app, exporting, listing, main, measuring, pictures, training
from scae_zoo.data.cache_folder import cache_folder
from scae_zoo.data.sources import load_images
from scae_zoo.experiments.experiment import experiment
from scae_zoo.factory import find_checkpoint
from scae_zoo.methods.runs import RunOptions
from scae_zoo.places import PathError, expand
from scae_zoo.training.distributed import World

from .support.checkpoint_folders import ARCHITECTURE, NOTES
from .support.networks import SHIPPED
from .support.pictures import save
from .support.training_commands import SMALL, run

COMMANDS = [
    'info ~/x',
    'reconstruct ~/a.png ~/b.png --model=~/x --output=~/out',
    'demo -o ~/out',
    'export ~/x --out=~/model.onnx',
    'app --model=~/x --features ~/features.npz',
    'pretrain ~/data --out=~/out --test=~/test --root=~/root',
    'finetune ~/data --from=~/x -o ~/out --test ~/test --root ~/root',
    'segment ~/data --from=~/x -o ~/out --test ~/test --root ~/root',
    'evaluate ~/x --data=~/data --root=~/root',
    'probe ~/x ~/y --data=~/data --test=~/test --root=~/root --out=~/out',
]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / 'home').mkdir()
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))
    monkeypatch.chdir(tmp_path)
    return tmp_path / 'home'


@pytest.fixture
def _no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a user id that a container was started with, and that the system does not know."""
    def unknown(uid: int) -> None:
        raise KeyError(uid)

    for variable in ('HOME', 'SCAE_ZOO_CACHE', 'XDG_CACHE_HOME'):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(pwd, 'getpwuid', unknown)


@pytest.fixture
def _umask() -> Iterator[None]:
    """Of a group that works together."""
    before = os.umask(0o002)
    yield
    os.umask(before)


@pytest.mark.parametrize('line', COMMANDS)
def test_home_in_every_path(home: Path, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """bash leaves ~ after = alone."""
    given: list[argparse.Namespace] = []
    command, *words = line.split()
    for module in (app, exporting, listing, measuring, pictures, training):
        if hasattr(module, f'{command}_command'):
            monkeypatch.setattr(module, f'{command}_command', lambda args: given.append(args) or 0)
    assert main([command, *words]) == 0
    values = [value for key, value in vars(given[0]).items() if key not in ('argv', 'run')]
    paths = [str(each) for value in values for each in (value if isinstance(value, list) else [value])]
    assert not [path for path in paths if '~' in path]
    assert sorted(path for path in paths if path.startswith(str(home))) == sorted(
        word[word.index('~'):].replace('~', str(home)) for word in words if '~' in word)


def test_home_in_python(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = create_autoencoder(ARCHITECTURE)
    write(f'~/{SHIPPED}', model.encoder, model.decoder, **NOTES)
    assert (home / SHIPPED).is_dir()
    assert find_checkpoint(f'~/{SHIPPED}').name == SHIPPED
    create_autoencoder(ARCHITECTURE, weights=f'~/{SHIPPED}')
    save(home / 'images' / '0.png', 3)
    monkeypatch.setenv('SCAE_ZOO_CACHE', '~/cache')
    assert len(load_images('~/images', size=None)) == 1
    assert (home / 'cache').is_dir()
    assert RunOptions(Path('~/run'), World(0, 1, None)).out == home / 'run'
    monkeypatch.delenv('SCAE_ZOO_CACHE')
    monkeypatch.setenv('XDG_CACHE_HOME', '~/other')
    assert cache_folder() == home / 'other' / 'scae_zoo'
    assert not Path('~').exists()


def test_home_in_recipes(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / 'data').mkdir()
    monkeypatch.setattr(sys, 'argv', ['some_recipe.py', '--data-dir=~/data', '--out=~/out', '--device', 'cpu'])
    with experiment('', 'torch/cifar10') as e:
        assert e.args.data_dir == home / 'data'
        assert e.out == home / 'out'


def test_user_that_is_not_there(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match='2'):
        run('info', '~nobody-of-that-name/x')
    assert 'NAME: ~nobody-of-that-name/x: there is no user nobody-of-that-name; give' in capsys.readouterr().err
    Path('~draft.png').touch()
    assert expand('~draft.png') == '~draft.png'  # a file's name, as *.png may give it


@pytest.mark.usefixtures('_no_home')
def test_no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One line that names the way out, and that way."""
    monkeypatch.chdir(tmp_path)
    save(Path('images') / '0.png', 3)
    assert run('pretrain', 'images', *SMALL, '-o', 'out') == 2
    printed = capsys.readouterr().err
    assert 'there is no home folder ($HOME is not set)); give a folder in $SCAE_ZOO_CACHE\n' in printed
    assert printed.count('\n') == 1
    with pytest.raises(PathError, match=r'~/x: there is no home folder \(\$HOME is not set\); give the whole path'):
        expand('~/x')
    monkeypatch.setenv('SCAE_ZOO_CACHE', 'cache')
    assert len(load_images('images', size=None)) == 1
    assert not Path('~').exists()


@pytest.mark.usefixtures('_umask')
def test_others_may_read_what_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as the umask lets them: temporary files and folders are the user's alone."""
    model = create_autoencoder(ARCHITECTURE)
    write(tmp_path / 'made' / SHIPPED, model.encoder, model.decoder, **NOTES)
    monkeypatch.setenv('SCAE_ZOO_CACHE', str(tmp_path / 'made' / 'cache'))
    load_images(str(save(tmp_path / 'images' / '0.png', 3, (20, 20)).parent), size=None)
    assert run('reconstruct', tmp_path / 'images' / '0.png', '-o', tmp_path / 'made' / 'pictures') == 0
    made = [path for path in (tmp_path / 'made').rglob('*') if path.suffix != '.lock']
    assert {path.stat().st_mode & 0o777 for path in made if path.is_dir()} == {0o775}
    assert {path.stat().st_mode & 0o777 for path in made if path.is_file()} == {0o664}
    assert {path.name for path in made} >= {'images', 'model.safetensors', '0_gaussian-25.png'}


def test_closed_streams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a service, or after ``>&-``: Python has None in their place."""
    Image.new('RGB', (20, 20)).save(tmp_path / '0.png')
    for name in ('stdout', 'stderr'):
        monkeypatch.setattr(sys, name, None)
    assert run('list') == 0
    assert run('reconstruct', tmp_path / '0.png', '-o', tmp_path / 'out') == 0
    assert run('info', tmp_path) == 2
    save(tmp_path / 'images' / '0.png', 3, (40, 40))
    assert run('pretrain', tmp_path / 'images', *SMALL, '-o', tmp_path / 'run') == 0
    assert sys.stdout is sys.stderr is None


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='there is no file that is always full')
@pytest.mark.parametrize('buffered', [True, False])
def test_full_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
                     buffered: bool) -> None:
    """Training goes on, and what could not be printed is said at the end, once."""
    save(tmp_path / 'images' / '0.png', 3, (40, 40))
    with open('/dev/full', 'wb', buffering=4096 if buffered else 0) as file, monkeypatch.context() as patch:
        patch.setattr(sys, 'stdout', io.TextIOWrapper(file, write_through=not buffered))
        assert run('pretrain', tmp_path / 'images', *SMALL, '-o', tmp_path / 'run') == 2
    assert capsys.readouterr().err.splitlines()[-1:] == [
        'scae: error: what is printed cannot be written (No space left on device); make room, or print elsewhere']
    assert find_checkpoint(str(tmp_path / 'run')).kind == 'autoencoder'


def test_own_checkpoints_that_cannot_be_found(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
                                              ) -> None:
    monkeypatch.setenv('SCAE_ZOO_CHECKPOINTS', '~nobody-of-that-name/x')
    assert run('list') == 0
    assert '$SCAE_ZOO_CHECKPOINTS: ~nobody-of-that-name/x is no folder' in capsys.readouterr().err
