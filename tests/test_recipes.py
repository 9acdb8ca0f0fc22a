"""The recipes run from end to end on a few images, and a killed run ends as one that was never killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scae_zoo import checkpoints, create_autoencoder

CHECKOUT = Path(__file__).parents[1]
NAME = 'scae_springenberg9.dae_cifar10'


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for split in ('train', 'test'):
        for i in range(64):
            folder = tmp_path / 'data' / split / str(i % 2)
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 255, (32, 32, 3), np.uint8)).save(folder / f'{i:02}.png')
    return tmp_path / 'data'


def start(data: Path, out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, 'recipes/cifar10_autoencoder.py', '--budget', 'smoke', '--device', 'cpu',
               '--data-dir', str(data), '--out', str(out)]
    return subprocess.Popen(
        command, cwd=CHECKOUT, env={**os.environ, 'PYTHONPATH': str(CHECKOUT)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_killed_run_ends_as_one_that_was_not(data: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / 'whole', tmp_path / 'killed'
    for out in (whole, killed):
        process = start(data, out)
        if out == killed:
            assert process.stdout is not None
            assert '"epoch": 1' in process.stdout.readline()
            process.send_signal(signal.SIGKILL)
            process.communicate()
            assert not (killed / NAME).exists()
            process = start(data, out)
        printed, errors = process.communicate()
        assert process.returncode == 0, errors
    assert '"epoch": 1' not in printed  # the first epoch was not done again
    for file in ('model.safetensors', 'decoder.safetensors'):
        assert (whole / NAME / file).read_bytes() == (killed / NAME / file).read_bytes()
    checkpoint = checkpoints.open_folder(whole / NAME)
    assert checkpoint.kind == 'autoencoder'
    assert checkpoint.metrics['denoising_psnr']['images'] == 64
    assert checkpoint.recipe in checkpoint.read('README.md').decode()
    create_autoencoder(checkpoint.architecture, weights=str(whole / NAME))


def test_unreadable_data_is_named(data: Path, tmp_path: Path) -> None:
    broken = data / 'train' / '0' / '00.png'
    broken.write_bytes(b'broken')
    process = start(data, tmp_path / 'out')
    _, errors = process.communicate()
    assert process.returncode == 1
    assert str(broken) in errors
    assert 'Traceback' not in errors
