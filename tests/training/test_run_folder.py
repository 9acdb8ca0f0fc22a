"""The folder of a run: whose it is, what it refuses, and what a fault leaves in it."""

import json
import resource
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scae_zoo.cli import main
from scae_zoo.errors import TrainingError
from scae_zoo.training.run_folder import RunFolder

from ..support.random_kills import write_images
from .test_training_loop import assert_identical, train

NAME = 'scae_springenberg9.test'


@pytest.fixture
def images(tmp_path: Path) -> Path:
    write_images(tmp_path / 'images')
    return tmp_path / 'images'


def pretrain(images: Path, out: Path, *options: str) -> int:
    return main(['pretrain', str(images), '-o', str(out), '--tag', 'test', '--size', '20', '--crop', '17', '--epochs',
                 '1', '--batch-size', '8', *options])


@contextmanager
def full_disk(room: int = 100_000) -> Iterator[None]:
    """The kernel refuses to write more than ``room`` bytes into a file, as a full disk does."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def error_of(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that was printed to stderr, but for a progress bar and what was found."""
    line, = [line for line in capsys.readouterr().err.splitlines()
             if not line.lstrip('\r').startswith(('decoding', 'found '))]
    return line


def times(out: Path) -> dict[Path, int]:
    """When each file was written last."""
    return {path: path.stat().st_mtime_ns for path in out.rglob('*') if path.is_file() and path.name != '.lock'}


def test_full_disk(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with full_disk():
        assert pretrain(images, tmp_path / 'run') == 2
    error = error_of(capsys)
    assert error.startswith('scae: error: ')
    assert 'state.safetensors: cannot be written' in error
    assert 'File too large' in error
    assert {path.name for path in (tmp_path / 'run').iterdir()} == {
        '.lock', 'run.json', 'environments.json', 'log.jsonl', 'status.json'}
    assert pretrain(images, tmp_path / 'run') == 0
    assert pretrain(images, tmp_path / 'whole') == 0
    a, b = ({path.name: path.read_bytes() for path in (tmp_path / run / NAME).glob('*.safetensors')}
            for run in ('run', 'whole'))
    assert a == b


def test_disk_that_fills_up(tmp_path: Path) -> None:
    """The last state stays, and with room the same command comes to the same end."""
    def fill(row: dict, _: object) -> dict:
        if row['epoch'] == 2:
            disk.__enter__()
        return {}

    disk = full_disk()
    with pytest.raises(TrainingError, match='cannot be written .*; the last state is kept; make room') as caught:
        train(tmp_path / 'run', on_epoch=fill)
    disk.__exit__(None, None, None)
    assert '\n' not in str(caught.value)
    assert not list((tmp_path / 'run').glob('.*.partial'))
    assert RunFolder(tmp_path / 'run', {}).load_state()[1]['step'] == 3  # of 4, saved within the second epoch
    assert_identical(train(tmp_path / 'run')[0], train(tmp_path / 'whole')[0])


def test_finished_run_trains_nothing(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And what a kill just before its end may have left is removed."""
    out = tmp_path / 'run'
    assert pretrain(images, out) == 0
    assert 'epoch 1' in capsys.readouterr().out
    before = times(out)
    assert {path.name for path in out.iterdir()} == {
        '.lock', 'run.json', 'environments.json', 'log.jsonl', 'status.json', 'curve.png', NAME}
    (out / 'state.safetensors').write_text('of no more use')
    (out / f'.{NAME}.half' / 'new').mkdir(parents=True)
    assert pretrain(images, out) == 0
    printed = capsys.readouterr().out
    assert str(out / NAME) in printed
    assert 'epoch' not in printed
    assert times(out) == before
    assert not (out / f'.{NAME}.half').exists()


def test_another_configuration(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pretrain(images, tmp_path / 'run') == 0
    capsys.readouterr()
    assert pretrain(images, tmp_path / 'run', '--lr', '0.5', '--no-flip') == 2
    error = error_of(capsys)
    assert 'belongs to another configuration' in error
    assert 'lr 0.003 there and 0.5 here, flip True there and False here' in error
    (images / 'a' / '0.png').unlink()
    assert pretrain(images, tmp_path / 'run') == 2
    assert 'images 24 there and 23 here' in error_of(capsys)


def test_two_at_once(tmp_path: Path) -> None:
    with (
            RunFolder(tmp_path, {'lr': 1}).held(),
            pytest.raises(TrainingError, match='another process trains here'),
            RunFolder(tmp_path, {'lr': 1}).held()):
        pass
    with RunFolder(tmp_path, {'lr': 1}).held():
        pass


@pytest.mark.parametrize('damage', [
    lambda data: data[:len(data) // 2],
    lambda data: b'',
    lambda data: b'no safetensors' * 100,
    lambda data: data[:-1000] + bytes([data[-1000] ^ 1]) + data[-999:],
    lambda data: data.replace(b'__metadata__', b'__metadatum_'),
])
def test_damaged_state(tmp_path: Path, damage) -> None:
    train(tmp_path, images=4, epochs=1)
    state = tmp_path / 'state.safetensors'
    state.write_bytes(damage(state.read_bytes()))
    with pytest.raises(TrainingError, match=r'state.safetensors: cannot be read .*; remove it to start') as caught:
        train(tmp_path, images=4, epochs=1)
    assert '\n' not in str(caught.value)
    state.unlink()
    train(tmp_path, images=4, epochs=1)


@pytest.mark.parametrize('content', [b'{"lr": ', b'null', b'[1]', b'\xff\xfe', b''])
def test_damaged_configuration(tmp_path: Path, content: bytes) -> None:
    (tmp_path / 'run.json').write_bytes(content)
    with pytest.raises(TrainingError, match=r'run.json: cannot be read'), RunFolder(tmp_path, {}).held():
        pass


def test_state_of_unknown_configuration(tmp_path: Path) -> None:
    train(tmp_path, images=4, epochs=1)
    (tmp_path / 'run.json').unlink()
    with pytest.raises(TrainingError, match='holds a state.safetensors but no run.json'):
        train(tmp_path, images=4, epochs=1)


def test_checkpoint_of_unknown_configuration(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is not taken for what this run would make."""
    assert pretrain(images, tmp_path / 'run') == 0
    (tmp_path / 'run' / 'run.json').unlink()
    before = times(tmp_path / 'run')
    capsys.readouterr()
    assert pretrain(images, tmp_path / 'run') == 2
    assert 'but no run.json; give another --out' in error_of(capsys)
    assert times(tmp_path / 'run') == before


def test_folder_is_a_file(tmp_path: Path) -> None:
    (tmp_path / 'file').touch()
    with pytest.raises(TrainingError, match='file: cannot be written'), RunFolder(tmp_path / 'file', {}).held():
        pass


def test_log_is_that_of_the_state(tmp_path: Path) -> None:
    _, history = train(tmp_path)
    rows = [json.loads(line) for line in (tmp_path / 'log.jsonl').read_text().splitlines()]
    assert rows == history
    assert [row['epoch'] for row in rows] == [1, 2]


def test_who_waits_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def wait() -> None:
        with RunFolder(tmp_path, {}).held(wait=True):
            pass

    second = threading.Thread(target=wait)
    printed = ''
    with RunFolder(tmp_path, {}).held():
        second.start()
        deadline = time.monotonic() + 60
        while 'waiting for it to end' not in printed and time.monotonic() < deadline:
            printed += capsys.readouterr().err
            time.sleep(0.01)
        assert second.is_alive()
    second.join(60)
    assert not second.is_alive()
    assert f'{tmp_path}: another process trains here; waiting for it to end' in printed
