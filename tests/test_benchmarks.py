"""The benchmarks run from end to end on next to nothing; what they measure is not looked at here."""

import subprocess
import sys
from pathlib import Path

import pytest

from scae_zoo.training import sample_images

BENCHMARKS = Path(__file__).parents[1] / 'benchmarks'


def printed(script: str, *options: str) -> list[str]:
    """The lines that a benchmark prints."""
    command = [sys.executable, str(BENCHMARKS / f'{script}.py'), *options]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def cells_of(lines: list[str]) -> list[list[str]]:
    """The rows of the table among a benchmark's lines."""
    start = next(i for i, line in enumerate(lines) if line.startswith('| ---'))
    cells = (line.strip('| ').split(' | ') for line in lines[start + 1:])
    return [row for row in cells if len(row) > 1]


def test_throughput() -> None:
    rows = cells_of(printed('throughput', '--device', 'cpu', '--networks', 'scae_springenberg9', 'scae_allconv15',
                            '--batch-size', '4', '--steps', '1', '--repeats', '1'))
    assert [row[:4] for row in rows] == [
        [network, task, '29', 'no'] for network in ('scae_springenberg9', 'scae_allconv15')
        for task in ('pre-training', 'fine-tuning')]
    assert all(float(row[4]) > 0 and float(row[5]) > 0 for row in rows)


def test_pretrain_throughput() -> None:
    lines = printed('pretrain_throughput', '--device', 'cpu', '--batch-size', '4', '--steps', '2', '--repeats', '1',
                    '--workers', '1')
    assert [line[:20].strip() for line in lines if 'TFLOP/s' in line] == [
        'plain float32 loop', 'ours', 'convolution']


def test_time_to_accuracy(tmp_path: Path) -> None:
    sample_images.write_classes(tmp_path / 'data', 32, 8, ('a', 'b'))
    lines = printed('time_to_accuracy', '--device', 'cpu', '--data-dir', str(tmp_path / 'data'), '--budget', 'smoke',
                    '--passes', '1', '2', '--seeds', '0', '1', '--from', 'scae_springenberg9.dae_cifar10')
    assert [line.split(':')[0] for line in lines[:4]] == [
        f'{passes} passes, seed {seed}' for passes in (1, 2) for seed in (0, 1)]
    assert [line.split(':')[0] for line in lines[-3:]] == ['94 %', '95 %', '96 %']
    rows = cells_of(lines)
    assert [(row[0], row[-1]) for row in rows] == [('1', '2'), ('2', '2')]
    assert all(0 <= float(row[column].split()[0]) <= 100 for row in rows for column in (2, 3))


def test_load_time() -> None:
    *networks, ratio = (line.split() for line in printed('load_time', '--repeats', '1'))
    assert [line[0] for line in networks] == ['scae_springenberg9', 'resnet18']
    ours, theirs = (float(line[1]) for line in networks)
    assert float(ratio[1]) == pytest.approx(ours / theirs, abs=0.1)  # of times to 0.01 s


@pytest.mark.parametrize(('options', 'fault'), [
    (['throughput', '--device', 'nothing'], '--device nothing: cannot be used'),
    (['pretrain_throughput', '--steps', '0'], "'0' is not a whole number from 1 up"),
    (['time_to_accuracy', '--data-dir', '.', '--data', 'nowhere'], 'nowhere'),
])
def test_bad_input_is_one_line(options: list[str], fault: str) -> None:
    result = subprocess.run([sys.executable, str(BENCHMARKS / f'{options[0]}.py'), *options[1:]],
                            capture_output=True, text=True)
    assert result.returncode != 0
    assert fault in result.stderr.splitlines()[-1]
    assert 'Traceback' not in result.stderr
