"""Training in several processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from scae_zoo.cli import main

from .random_kills import ROOT, write_images

# nothing random but the order of the images, which all processes share: what else is drawn depends on the process
OPTIONS = (
    '--tag test --size 20 --crop 20 --no-flip --corruption gaussian:0 --batch-size 8 --epochs 4 --opt adam --lr 1e-4 '
    '--warmup 0.5 --ema 0.9')


def torchrun(*args: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    return subprocess.run(
        [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', '2', '-m', 'scae_zoo',
         *args], env=environment, capture_output=True, text=True)


def losses(out: Path) -> list[float]:
    return [json.loads(line)['loss'] for line in (out / 'log.jsonl').read_text().splitlines()]


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    """The same loss curve and norms' statistics to 1 %; norms of each process's own images are 2 to 8 % off."""
    write_images(tmp_path / 'images')
    args = ['pretrain', str(tmp_path / 'images'), *OPTIONS.split(), '-o']
    result = torchrun(*args, str(tmp_path / 'two'))
    assert result.returncode == 0, result.stderr
    assert result.stdout.count('checkpoint  ') == result.stdout.count('epoch 1 ') == 1  # the main process alone
    assert main([*args, str(tmp_path / 'one')]) == 0
    curves = losses(tmp_path / 'two'), losses(tmp_path / 'one')
    assert curves[0] == pytest.approx(curves[1], rel=0.01)
    assert curves[1][-1] < curves[1][0] / 2
    two, one = (load_file(tmp_path / run / 'scae_springenberg9.test' / 'model.safetensors') for run in ('two', 'one'))
    for key in one:
        if 'running_var' in key:
            assert (two[key] - one[key]).norm() < 0.01 * one[key].norm()
