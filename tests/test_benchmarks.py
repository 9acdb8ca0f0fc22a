"""The benchmarks run from end to end on next to nothing; what they measure is not looked at here."""

import contextlib
import io
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from PIL import Image

from scae_zoo.experiments import sample_images
from scae_zoo.models.architectures import ARCHITECTURES

from .support.processes import ROOT, call, code, script
from .support.recipe_runs import narrow_networks

BENCHMARKS = ROOT / 'benchmarks'


@pytest.fixture(autouse=True)
def _small_convolutions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import engine
    monkeypatch.setattr(engine, 'PEAK_BATCH', 1)


def run(name: str, *options: str) -> 'subprocess.CompletedProcess[str]':
    return call(script, BENCHMARKS / f'{name}.py', *options)


def printed(name: str, *options: str) -> list[str]:
    """The lines that a benchmark prints."""
    result = run(name, *options)
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def cells_of(lines: list[str]) -> list[list[str]]:
    """The rows of the table among a benchmark's lines."""
    start = next(i for i, line in enumerate(lines) if line.startswith('| ---'))
    cells = (line.strip('| ').split(' | ') for line in lines[start + 1:])
    return [row for row in cells if len(row) > 1]


@narrow_networks()
def test_throughput() -> None:
    rows = cells_of(printed('throughput', '--device', 'cpu', '--networks', 'scae_springenberg9', 'scae_allconv15',
                            '--batch-size', '4', '--steps', '1', '--repeats', '1'))
    assert [row[:5] for row in rows] == [
        [network, task, '29', 'no', 'no'] for network in ('scae_springenberg9', 'scae_allconv15')
        for task in ('pre-training', 'fine-tuning')]
    import engine
    for network, task, crop, *_, share, speed, teraflops, _ in rows:
        flops = engine.flops_per_image(task, network, int(crop))
        assert float(teraflops) == pytest.approx(float(speed) * flops / 1e12, abs=6e-4)  # which is printed to 1e-3
        assert float(speed) > 0
        assert 0 < float(share.rstrip('%')) <= 100


def test_large_images(tmp_path: Path) -> None:
    """A script by itself, since it starts others."""
    result = subprocess.run(
        [sys.executable, BENCHMARKS / 'large_images.py', '--network', 'scae_springenberg9', '--megapixels', '0.02',
         '--json', tmp_path / 'figures.json'], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    [row] = cells_of(result.stdout.splitlines())
    assert row[0] == '0.02'
    [figures] = json.loads((tmp_path / 'figures.json').read_text())
    assert figures['width'] * figures['height'] == pytest.approx(20_000, rel=0.02)
    assert figures['share'] > 0
    assert figures['difference'] < 0.05  # bfloat16, where the processor has it


@narrow_networks()
def test_peers() -> None:
    rows = cells_of(printed('peers', '--networks', 'scae_allconv15', '--batch-size', '1', '--repeats', '1'))
    assert rows[0][:5] == ['scae_allconv15', 'as it is', 'float32', '32', '1.00']
    assert [row[:2] for row in rows[:4]] == [
        [network, way] for network in ('scae_allconv15', 'resnet18') for way in ('as it is', 'folded')]


@narrow_networks()
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


def test_load_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Here what a process would do is done in this one, and takes as long as we say."""
    now = 0.

    def start(command: list[str], **_: object) -> 'subprocess.CompletedProcess[str]':
        nonlocal now
        with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()) as output:
            code(command[-1])
        now += 3 if 'scae_zoo' in command[-1] or 'list' in command[-1] else 4
        return subprocess.CompletedProcess(command, 0, output.getvalue())

    monkeypatch.setattr(subprocess, 'run', start)
    monkeypatch.setattr(time, 'perf_counter', lambda: now)
    lines = printed('load_time', '--repeats', '1', '--json', str(tmp_path / 'figures.json'))
    split = lines.index('')
    assert cells_of(lines[:split]) == [
        ['import timm, scae_zoo', '0.75', 'import timm', '3.00', '4.00'],
        ['scae_springenberg9', '0.75', 'resnet18', '3.00', '4.00'],
        ['scae --help', '1.00', 'import torch', '4.00', '4.00'],
        ['scae list', '0.75', 'import torch', '3.00', '4.00'],
        *([f'scae {command} --help', '1.00', 'import timm', '4.00', '4.00']
          for command in ('predict', 'reconstruct', 'embed'))]
    loaded = cells_of(lines[split:])
    assert [(row[0].partition('(')[0], row[2]) for row in loaded] == [
        ('timm.create_model', '59'), ('create_autoencoder', '118')]
    figures = json.loads((tmp_path / 'figures.json').read_text())
    assert figures['ratios']['scae list'] == 0.75
    assert [f'{network["ratio"]:.2f}' for network in figures['memory'].values()] == [row[1] for row in loaded]


def test_data_loading(tmp_path: Path) -> None:
    sample_images.write_classes(tmp_path / 'data', 40, 8, ('a', 'b'))
    lines = printed('data_loading', '--data-dir', str(tmp_path / 'data'), '--images', '12', '--size', '32',
                    '--crop', '24', '--batch-size', '4', '--workers', '1', '--passes', '2', '--repeats', '1',
                    '--json', str(tmp_path / 'figures.json'))
    rows = cells_of(lines)
    assert [row[0] for row in rows] == ["timm's loader", 'cache', '--stream']
    assert rows[0][1] == '1.00'
    assert all(float(cell) > 0 for row in rows for cell in row[1:])
    figures = json.loads((tmp_path / 'figures.json').read_text())
    assert [f'{loader["ratio"]:.2f}' for loader in figures.values()] == [row[1] for row in rows]
    assert all(len(loader['seconds'][0]) == 2 for loader in figures.values())


def test_bfloat16(tmp_path: Path) -> None:
    sample_images.write_classes(tmp_path / 'data', 40, 2, ('a', 'b'))
    [row] = cells_of(printed('bfloat16', '--data-dir', str(tmp_path / 'data'), '--images', '2', '--size', '32',
                             '--networks', 'scae_springenberg9', '--json', str(tmp_path / 'figures.json')))
    assert row[:2] == ['scae_springenberg9', 'gaussian:25.5']
    figures = json.loads((tmp_path / 'figures.json').read_text())['scae_springenberg9']
    assert figures['bfloat16'] == pytest.approx(figures['float32'], abs=0.5)
    assert 40 < figures['between'] < 80  # another result, and nearly the same


def test_growth(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What a process would measure is measured in this one; those that train write how fast they were."""
    def start(command: list[str], **_: object) -> 'subprocess.CompletedProcess[str]':
        if command[1].endswith('growth_points.py'):
            with mock.patch.dict(ARCHITECTURES):
                return call(script, Path(command[1]), *command[2:])
        out = Path(command[command.index('--out') + 1])
        out.mkdir()
        rates = (1, 30 if out.name == '1x2' else 15)
        (out / 'log.jsonl').write_text(''.join(f'{{"images_per_second": {rate}}}\n' for rate in rates))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, 'run', start)
    monkeypatch.setenv('SCAE_ZOO_CACHE', str(tmp_path))
    found, picture = tmp_path / 'growth.json', tmp_path / 'growth.png'
    found.write_text('{}')
    lines = printed('growth', '--network', 'scae_springenberg9/16', '--sides', '17', '34', '--batches', '2', '4',
                    '--images', '20', '40', '--batch-size', '4', '--json', str(found), '--plot', str(picture))
    results = json.loads(found.read_text())
    assert list(results) == ['sides, scae_springenberg9/16', 'batches, scae_springenberg9/16', 'images', 'cache',
                             'processes, scae_springenberg9/16']
    assert [[point['size'] for point in result.get('points', [])] for result in results.values()] == [
        [17, 34], [2, 4], [20, 40], [20, 40], []]
    assert all(point['seconds'] > 0 for result in results.values() for point in result.get('points', []))
    assert [line for line in lines if ' process' in line and line.startswith('|')] == [
        '| 1 process of 1 thread | 0.50 | >= 0.5 | 15.0 |', '| 1 process of 2 threads | 1.00 | 1 | 30.0 |',
        '| 2 processes of 1 thread | 0.50 | <= 1 | 15.0 |']
    assert Image.open(picture).width > 2000

    lines = printed('growth', 'cache', '--images', '10', '20', '--most-seconds', '0', '--json', str(found))
    assert 'left out, as it would take too long: 20' in lines
    kept = json.loads(found.read_text())
    assert len(kept['cache'].pop('points')) == 1
    assert {**kept, 'cache': 0} == {**results, 'cache': 0}


def test_exponents() -> None:
    from growth import exponent, upper_half
    from growth_points import Curve
    curve = Curve('seconds', 'time', 2)
    points: list[dict[str, Any]] = [{'size': size, 'seconds': 3 * size ** 2} for size in (8, 16, 32, 64)]
    assert exponent(points, curve) == pytest.approx(2)
    points[0]['seconds'] = 1e6  # the lower half is not looked at
    assert exponent(points, curve) == pytest.approx(2)
    assert upper_half([*points, {'size': 128}], curve) == [(32, 3072), (64, 12288)]
    assert exponent(points[:1], curve) is None


@pytest.mark.parametrize(('options', 'fault'), [
    (['growth', 'speed'], 'speed is none of sides, batches, images, cache, processes'),
    (['growth', '--sides', '0'], "'0' is not a whole number from 1 up"),
    (['throughput', '--device', 'nothing'], '--device nothing: cannot be used'),
    (['throughput', '--device', 'cpu', '--capture'], '--capture: CUDA graphs are for one process with a GPU'),
    (['pretrain_throughput', '--steps', '0'], "'0' is not a whole number from 1 up"),
    (['time_to_accuracy', '--data-dir', '.', '--data', 'nowhere'], 'nowhere'),
])
def test_bad_input_is_one_line(options: list[str], fault: str) -> None:
    result = run(*options)
    assert result.returncode != 0
    assert fault in result.stderr.splitlines()[-1]


def test_as_a_script() -> None:
    result = subprocess.run([sys.executable, str(BENCHMARKS / 'throughput.py'), '--device', 'nothing'],
                            capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.startswith('throughput: error: --device nothing: cannot be used')
    assert result.stderr.count('\n') == 1


@narrow_networks()
def test_winograd(tmp_path: Path) -> None:
    file = tmp_path / 'figures.json'
    rows = cells_of(printed('winograd', '--layers', '128x4', '--networks', 'scae_springenberg9', '--batch-size', '64',
                            '--repeats', '1', '--json', str(file)))
    assert [row[0] for row in rows] == [
        '128 channels', 'scae_springenberg9, pre-training', 'scae_springenberg9, fine-tuning']
    figures = json.loads(file.read_text())
    assert 0 < figures[0]['difference'] < 1e-3
    assert figures[1]['difference'] == 0  # it is too narrow
    assert all(row[key] > 0 for row in figures for key in ('forward', 'with backward'))
