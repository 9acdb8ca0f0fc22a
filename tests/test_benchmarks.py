"""The benchmarks run from end to end on next to nothing; what they measure is not looked at here."""

import subprocess
import sys
from pathlib import Path

import pytest

from scae_zoo.training import sample_images

BENCHMARKS = Path(__file__).parents[1] / 'benchmarks'


def printed(script: str, *options: str) -> list[str]:
    """The lines that a benchmark prints."""
    command = [sys.executable, str(BENCHMARKS / f'{script}.py'), '--device', 'cpu', *options]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def table(script: str, *options: str) -> list[list[str]]:
    """The cells of the rows that a benchmark prints."""
    lines = printed(script, *options)
    start = next(i for i, line in enumerate(lines) if line.startswith('| ---'))
    cells = (line.strip('| ').split(' | ') for line in lines[start + 1:])
    return [row for row in cells if len(row) > 1]


def test_throughput() -> None:
    rows = table('throughput', '--networks', 'scae_springenberg9', 'scae_allconv15', '--batch-size', '4',
                 '--steps', '1', '--repeats', '1')
    assert [row[:4] for row in rows] == [
        [network, task, '29', 'no'] for network in ('scae_springenberg9', 'scae_allconv15')
        for task in ('pre-training', 'fine-tuning')]
    assert all(float(row[4]) > 0 and float(row[5]) > 0 for row in rows)


def test_pretrain_throughput() -> None:
    lines = printed('pretrain_throughput', '--batch-size', '4', '--steps', '2', '--repeats', '1', '--workers', '1')
    assert [line[:20].strip() for line in lines if 'TFLOP/s' in line] == [
        'plain float32 loop', 'ours', 'bf16 convolution']


def test_time_to_accuracy(tmp_path: Path) -> None:
    sample_images.write_classes(tmp_path / 'data', 32, 8, ('a', 'b'))
    rows = table('time_to_accuracy', '--data-dir', str(tmp_path / 'data'), '--budget', 'smoke', '--passes', '1', '2',
                 '--seeds', '0', '1', '--from', 'scae_springenberg9.dae_cifar10')
    assert [(row[0], row[-1]) for row in rows] == [('1', '2'), ('2', '2')]
    assert all(float(row[1].split()[0]) >= 0 for row in rows)


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
