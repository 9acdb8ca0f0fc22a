"""A checkpoint is written whole or not at all, and what was there stays until it is."""

import resource
from pathlib import Path

import pytest

from scae_zoo import CheckpointError, create_autoencoder
from scae_zoo.checkpoints import finding
from scae_zoo.checkpoints.writing import write

from ..support.checkpoint_folders import ARCHITECTURE, NOTES, write_autoencoder
from ..support.networks import SHIPPED
from ..support.processes import Process, code


def test_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    folder = tmp_path / SHIPPED
    model = write_autoencoder(folder)
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # the kernel refuses to let a file grow beyond this, as a full disk does
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
    try:
        with pytest.raises(CheckpointError, match='cannot be written'):
            write(folder, model.encoder, model.decoder, **NOTES)
        with pytest.raises(CheckpointError, match='cannot be written'):
            write(tmp_path / 'new' / SHIPPED, model.encoder, model.decoder, **NOTES)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    assert sorted(p.name for p in tmp_path.rglob('*') if p.is_dir()) == ['new', SHIPPED]
    assert not list((tmp_path / 'new').iterdir())


def test_killed_while_writing_leaves_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"""
import os, signal
from scae_zoo import create_autoencoder
from scae_zoo.checkpoints import writing
model = create_autoencoder({ARCHITECTURE!r})
writing.yaml.safe_dump = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)
writing.write({str(tmp_path / SHIPPED)!r}, model.encoder, model.decoder, recipe={{}}, metrics={{}}, card='')
"""
    assert Process(tmp_path.with_suffix('.log'), code, text).wait().returncode == -9
    assert not (tmp_path / SHIPPED).exists()
    assert list(tmp_path.iterdir()), 'the process was killed before it began to write'
    packaged = finding.names()
    monkeypatch.setenv('SCAE_ZOO_CHECKPOINTS', str(tmp_path))
    assert finding.names() == packaged


@pytest.mark.parametrize('stop', ['new', SHIPPED])
def test_stopped_in_the_middle_of_taking_its_place(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: str) -> None:
    model = write_autoencoder(tmp_path / SHIPPED)
    before = {p.name: p.read_bytes() for p in (tmp_path / SHIPPED).iterdir()}
    rename = Path.rename

    def stopped(path: Path, target: Path) -> Path:
        if path.name == 'new' == stop:
            raise KeyboardInterrupt
        moved = rename(path, target)
        if path.name == stop:
            raise KeyboardInterrupt
        return moved

    monkeypatch.setattr(Path, 'rename', stopped)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / SHIPPED, model.encoder, model.decoder, **{**NOTES, 'card': '# another\n'})
    assert {p.name: p.read_bytes() for p in (tmp_path / SHIPPED).iterdir()} == before
    assert list(tmp_path.iterdir()) == [tmp_path / SHIPPED]


def test_unwritable_place(tmp_path: Path) -> None:
    (tmp_path / 'file').write_text('')
    model = create_autoencoder(ARCHITECTURE)
    with pytest.raises(CheckpointError, match='cannot be written'):
        write(tmp_path / 'file' / SHIPPED, model.encoder, model.decoder, **NOTES)
