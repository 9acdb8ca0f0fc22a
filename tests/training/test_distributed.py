"""Training in several processes."""

import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from filelock import FileLock
from safetensors.torch import load_file

from scae_zoo.cli import main
from scae_zoo.errors import TrainingError
from scae_zoo.experiments import sample_images
from scae_zoo.training.distributed import world

from ..support.processes import ROOT, Process, scae
from ..support.random_kills import write_images
from ..support.recipe_runs import recipe

# nothing random but the order of the images, which all processes share: what else is drawn depends on the process.
# Steps are small, or the network would soon make as much of what float32 rounds as of what it is asked here
OPTIONS = (
    '--device cpu --tag test --size 20 --crop 20 --no-flip --corruption gaussian:0 --batch-size 8 --epochs 4 '
    '--opt sgd --lr 1e-3 --warmup 0.5 --ema 0.9')


def torchrun(*args: str) -> subprocess.CompletedProcess:
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', '2', '-m', 'scae_zoo']
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    return subprocess.run([*command, *args], env=environment, capture_output=True, text=True)


def start(logs: Path, function: Callable[..., Any], *args: Any) -> list[Process]:
    """Two processes, as torchrun starts them."""
    meeting = {'WORLD_SIZE': '2', 'LOCAL_WORLD_SIZE': '2', 'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': free_port()}
    return [Process(logs / str(rank), function, *args, **meeting, RANK=str(rank), LOCAL_RANK=str(rank))
            for rank in range(2)]


def free_port() -> str:
    """One below those that the system gives out by itself, so that no other process takes it meanwhile."""
    while True:
        port = random.SystemRandom().randrange(10_000, 30_000)
        with socket.socket() as trial:
            if trial.connect_ex(('127.0.0.1', port)) != 0:
                return str(port)


def losses(out: Path) -> list[float]:
    return [json.loads(line)['loss'] for line in (out / 'log.jsonl').read_text().splitlines()]


@pytest.mark.usefixtures('_float32')
def test_two_processes_train_as_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same loss curve and norms' statistics up to float32's rounding, 5e-5 here; norms of each process's own images
    are 3e-3 off, and those with an unbiased variance 3e-4."""
    write_images(tmp_path / 'images')
    args = ['pretrain', str(tmp_path / 'images'), *OPTIONS.split(), '-o']
    result = torchrun(*args, str(tmp_path / 'two'))
    assert result.returncode == 0, result.stderr
    assert result.stdout.count('checkpoint  ') == result.stdout.count('epoch 1 ') == 1  # the main process alone
    recipe = yaml.safe_load((tmp_path / 'two' / 'scae_springenberg9.test' / 'recipe.yaml').read_text())
    assert recipe['command'].startswith('torchrun --nproc-per-node 2 -m scae_zoo pretrain ')
    assert recipe['processes'] == 2  # each draws its own crops
    assert main([*args, str(tmp_path / 'two')]) == 2
    assert 'processes 2 there and None here' in capsys.readouterr().err
    assert main([*args, str(tmp_path / 'one')]) == 0
    curves = losses(tmp_path / 'two'), losses(tmp_path / 'one')
    assert curves[0] == pytest.approx(curves[1], rel=2e-4)
    assert curves[1][-1] < curves[1][0] * 0.7
    two, one = (load_file(tmp_path / run / 'scae_springenberg9.test' / 'model.safetensors') for run in ('two', 'one'))
    for key in one:
        if 'running_var' in key:
            assert (two[key] - one[key]).norm() < 2e-4 * one[key].norm()


@pytest.mark.usefixtures('_float32')
def test_probes_in_two_processes_train_as_one(tmp_path: Path) -> None:
    """Their norms are others than the encoder's."""
    sample_images.write_classes(tmp_path / 'images', 20, 24, ('a', 'b', 'c'))
    options = '--device cpu --size 20 --crop 20 --batch-size 8 --epochs 2 --width 4 --lr 1e-3'
    args = ['probe', 'scae_springenberg9.dae_cifar10', '--data', str(tmp_path / 'images'), *options.split(), '-o']
    for process in start(tmp_path / 'logs', scae, *args, str(tmp_path / 'two')):
        ended = process.wait()
        assert ended.returncode == 0, ended.stderr
    assert main([*args, str(tmp_path / 'one')]) == 0
    run = 'scae_springenberg9.dae_cifar10'
    assert losses(tmp_path / 'two' / run) == pytest.approx(losses(tmp_path / 'one' / run), rel=1e-4)


def test_machines_that_do_not_share_the_folder(tmp_path: Path) -> None:
    """As where two of them have a disk each: all stop before the training, not the others after it; also where either
    has been the first one before."""
    write_images(tmp_path / 'images')
    for disks in ('ab', 'ba'):
        meeting = {'WORLD_SIZE': '2', 'LOCAL_WORLD_SIZE': '1', 'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': free_port()}
        processes = [
            Process(tmp_path / disks / disk, scae, 'pretrain', str(tmp_path / 'images'), *OPTIONS.split(), '-o',
                    str(tmp_path / disk), **meeting, RANK=str(rank)) for rank, disk in enumerate(disks)]
        for process in processes:
            ended = process.wait()
            assert ended.returncode == 2, ended.stderr
            assert 'is not the same folder on all machines; give an --out that they share' in ended.stderr
            assert 'epoch' not in ended.stdout


def test_one_gpu_for_several_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('LOCAL_WORLD_SIZE', '2')
    with pytest.raises(ValueError, match='cuda:1: is one GPU, and there are several processes'), world('cuda:1'):
        pass


def test_a_gpu_without_memory() -> None:
    """What PyTorch then says goes on for many lines of figures; it is raised here as it would be."""
    with pytest.raises(TrainingError, match='Tried to allocate 2.00 GiB. Free some and run'), world('cpu'):
        raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity')


def test_all_see_the_end_of_the_run_that_they_waited_for(tmp_path: Path) -> None:
    """The main process alone waits for another recipe that trains in the same folder."""
    training = recipe, 'cifar10_4k_labels', tmp_path / 'out', '--rows', 'no-pre-training'
    for process in start(tmp_path / 'first', *training):
        ended = process.wait()
        assert ended.returncode == 0, ended.stderr
    run, = tmp_path.glob('out/*-seed0')
    made, = run.glob('scae*')
    made.rename(tmp_path / 'made')
    with FileLock(run / '.lock'):
        processes = start(tmp_path / 'second', *training)
        waits, log = processes[0], processes[0].errors
        end = time.monotonic() + 120
        while not log.is_file() or 'another process trains here; waiting' not in log.read_text():
            assert waits.returncode is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.1)
        time.sleep(2)  # the other process waits too, for the first one
        assert [process.returncode for process in processes] == [None, None]
        (tmp_path / 'made').rename(made)
    first, second = (process.wait() for process in processes)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert '| no pre-training | ' in first.stdout
    assert 'epoch 1' not in first.stdout + second.stdout
