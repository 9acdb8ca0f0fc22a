"""Training in several processes."""

import json
import os
import random
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from filelock import FileLock
from safetensors.torch import load_file

from scae_zoo.cli import main
from scae_zoo.training import sample_images
from scae_zoo.training.distributed import world
from scae_zoo.training.run_folder import TrainingError

from .processes import ROOT
from .random_kills import write_images

# nothing random but the order of the images, which all processes share: what else is drawn depends on the process
OPTIONS = (
    '--device cpu --tag test --size 20 --crop 20 --no-flip --corruption gaussian:0 --batch-size 8 --epochs 4 '
    '--opt adam --lr 1e-4 --warmup 0.5 --ema 0.9')


TORCHRUN = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', '2']
ENVIRONMENT = {'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}


def torchrun(*args: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [*TORCHRUN, '-m', 'scae_zoo', *args], env={**os.environ, **ENVIRONMENT}, capture_output=True, text=True)


def free_port() -> str:
    """One below those that the system gives out by itself, so that no other process takes it meanwhile."""
    while True:
        port = random.SystemRandom().randrange(10_000, 30_000)
        with socket.socket() as trial:
            if trial.connect_ex(('127.0.0.1', port)) != 0:
                return str(port)


def losses(out: Path) -> list[float]:
    return [json.loads(line)['loss'] for line in (out / 'log.jsonl').read_text().splitlines()]


def test_two_processes_train_as_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same loss curve and norms' statistics to 1 %; norms of each process's own images are 2 to 8 % off."""
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
    assert curves[0] == pytest.approx(curves[1], rel=0.01)
    assert curves[1][-1] < curves[1][0] / 2
    two, one = (load_file(tmp_path / run / 'scae_springenberg9.test' / 'model.safetensors') for run in ('two', 'one'))
    for key in one:
        if 'running_var' in key:
            assert (two[key] - one[key]).norm() < 0.01 * one[key].norm()


def test_probes_in_two_processes_train_as_one(tmp_path: Path) -> None:
    """Their norms are others than the encoder's."""
    sample_images.write_classes(tmp_path / 'images', 20, 24, ('a', 'b', 'c'))
    args = ['probe', 'scae_springenberg9.dae_cifar10', '--data', str(tmp_path / 'images'), '-o']
    options = '--device cpu --size 20 --crop 20 --batch-size 8 --epochs 2 --width 4 --lr 1e-3'
    result = torchrun(*args, str(tmp_path / 'two'), *options.split())
    assert result.returncode == 0, result.stderr
    assert main([*args, str(tmp_path / 'one'), *options.split()]) == 0
    run = 'scae_springenberg9.dae_cifar10'
    assert losses(tmp_path / 'two' / run) == pytest.approx(losses(tmp_path / 'one' / run), rel=0.003)


def test_machines_that_do_not_share_the_folder(tmp_path: Path) -> None:
    """As where two of them have a disk each: all stop before the training, not the others after it; also where either
    has been the first one before."""
    write_images(tmp_path / 'images')
    command = [sys.executable, '-m', 'scae_zoo', 'pretrain', str(tmp_path / 'images'), *OPTIONS.split(), '-o']
    for disks in ('ab', 'ba'):
        meeting = {'WORLD_SIZE': '2', 'LOCAL_WORLD_SIZE': '1', 'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': free_port()}
        processes = [subprocess.Popen(
            [*command, str(tmp_path / disk)], env={**os.environ, **ENVIRONMENT, **meeting, 'RANK': str(rank)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for rank, disk in enumerate(disks)]
        try:
            for process in processes:
                output, errors = process.communicate(timeout=120)
                assert process.returncode == 2, errors
                assert 'is not the same folder on all machines; give an --out that they share' in errors
                assert 'epoch' not in output
        finally:
            for process in processes:
                process.kill()


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
    command = [str(ROOT / 'recipes' / 'cifar10_4k_labels.py'), '--budget', 'smoke', '--device', 'cpu', '--rows',
               'no-pre-training', '--out', str(tmp_path / 'out')]
    environment = {**os.environ, **ENVIRONMENT}
    first = subprocess.run([*TORCHRUN, *command], env=environment, capture_output=True, text=True)
    assert first.returncode == 0, first.stderr
    run, = tmp_path.glob('out/*-seed0')
    made, = run.glob('scae*')
    made.rename(tmp_path / 'made')
    log = tmp_path / 'stderr'
    with log.open('w') as stderr, FileLock(run / '.lock'):
        second = subprocess.Popen(
            [*TORCHRUN, *command], env=environment, stdout=subprocess.PIPE, stderr=stderr, text=True)
        try:
            end = time.monotonic() + 120
            while 'another process trains here; waiting' not in log.read_text():
                assert second.poll() is None, log.read_text()
                assert time.monotonic() < end, log.read_text()
                time.sleep(0.1)
            time.sleep(2)  # the other process waits too, for the first one
            assert second.poll() is None, log.read_text()
            (tmp_path / 'made').rename(made)
        except BaseException:
            second.kill()
            raise
    try:
        output, _ = second.communicate(timeout=120)
    finally:
        second.kill()
    assert second.returncode == 0, log.read_text()
    assert '| no pre-training | ' in output
    assert 'epoch 1' not in output
