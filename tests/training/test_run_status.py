"""What the folder of a run keeps of how it ended, when the terminal's words are lost."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from scae_zoo.cli import main
from scae_zoo.training.run_folder import RunFolder

from ..support.random_kills import write_images
from .test_run_folder import full_disk


def status(folder: Path, rank: str = '') -> dict[str, Any]:
    return json.loads((folder / f'status{rank}.json').read_text())


def ends_by(number: int, folder: Path) -> int:
    """Hold a run's folder in a process that gets this signal; returns its exit status, negative where it was killed."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            for each in (signal.SIGTERM, signal.SIGHUP):  # the tests may run under nohup
                signal.signal(each, signal.SIG_DFL)
            with RunFolder(folder, {}).held() as run, run.status_kept():
                os.kill(os.getpid(), number)
        except KeyboardInterrupt:
            code = 130
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def pretrain(folder: Path, *options: str) -> int:
    return main(['pretrain', str(folder / 'images'), '-o', str(folder / 'run'), '--size', '17', '--crop', '17',
                 '--batch-size', '8', '--epochs', '1', '--device', 'cpu', *options])


def test_the_last_error_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also where it was printed to a terminal that is gone; a run that goes on and ends says so in its place."""
    write_images(tmp_path / 'images')
    assert pretrain(tmp_path, '--opt', 'sgd', '--lr', '1e30') == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    kept = status(tmp_path / 'run')
    assert kept['state'] == 'failed'
    assert 'the loss is not finite from step' in kept['error']
    assert kept['error'].removeprefix('TrainingError: ') == said.removeprefix('scae: error: ')
    assert any('_check_finite' in line for line in kept['traceback'])
    assert kept['since'] <= kept['until']
    finite = [option.replace('1e30', '1e-3') for option in ('--opt', 'sgd', '--lr', '1e30')]
    run = json.loads((tmp_path / 'run' / 'run.json').read_text())
    (tmp_path / 'run' / 'run.json').write_text(json.dumps({**run, 'lr': 1e-3}))
    assert pretrain(tmp_path, *finite) == 0
    kept = status(tmp_path / 'run')
    assert (kept['state'], 'error' in kept) == ('ended', False)


def test_a_run_that_ended(tmp_path: Path) -> None:
    write_images(tmp_path / 'images')
    assert pretrain(tmp_path) == 0
    kept = status(tmp_path / 'run')
    assert (kept['state'], kept['process'], 'error' in kept) == ('ended', os.getpid(), False)
    # killed between its checkpoint and this note
    (tmp_path / 'run' / 'status.json').write_text(json.dumps({**kept, 'state': 'training'}))
    assert pretrain(tmp_path) == 0
    assert status(tmp_path / 'run')['state'] == 'ended'


def test_killed_without_a_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As the kernel does where memory is short: the next process says it, once."""
    assert ends_by(signal.SIGKILL, tmp_path) == -signal.SIGKILL
    assert status(tmp_path)['state'] == 'training'
    capsys.readouterr()
    for said in (1, 0):
        with RunFolder(tmp_path, {}).held() as run, run.status_kept():
            assert capsys.readouterr().err.count('ended without a word') == said
    assert status(tmp_path)['state'] == 'ended'


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGHUP])
def test_ended_by_a_signal(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As batch systems end a job, and terminals what runs in them: as by Ctrl-C."""
    monkeypatch.delenv('WORLD_SIZE', raising=False)
    assert ends_by(number, tmp_path) == 130
    kept = status(tmp_path)
    assert (kept['state'], 'error' in kept) == ('stopped', False)


def test_signals_that_are_ignored_stay_so(tmp_path: Path) -> None:
    """nohup ignores the end of the terminal."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with RunFolder(tmp_path, {}).held() as run, run.status_kept():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert status(tmp_path)['state'] == 'ended'


def test_other_processes_keep_theirs_if_they_fail(tmp_path: Path) -> None:
    run = RunFolder(tmp_path, {})
    with run.status_kept(1):
        assert status(tmp_path, '-1')['state'] == 'training'
    assert not (tmp_path / 'status-1.json').exists()
    with pytest.raises(ZeroDivisionError), run.status_kept(1):
        raise ZeroDivisionError('of mine')
    assert status(tmp_path, '-1')['error'] == 'ZeroDivisionError: of mine'


@pytest.mark.parametrize('content', [b'', b'[]', b'{"state": "training"}', b'\xff'])
def test_damaged_status(content: bytes, tmp_path: Path) -> None:
    """It is no reason not to train."""
    (tmp_path / 'status.json').write_bytes(content)
    with RunFolder(tmp_path, {}).held() as run, run.status_kept():
        pass
    assert status(tmp_path)['state'] == 'ended'


def test_full_disk(tmp_path: Path) -> None:
    """What failed is said, not that it could not be kept."""
    with RunFolder(tmp_path, {}).held() as run:
        kept = run.status_kept()
        kept.__enter__()
        with full_disk(0):
            assert not kept.__exit__(ZeroDivisionError, ZeroDivisionError('of mine'), None)
    assert status(tmp_path)['state'] == 'training'  # the file from before is whole
