"""The code of ``docs/python.md``, and what ``on_pass`` is told."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from scae_zoo.data.sources import load_images
from scae_zoo.methods.pretraining import Pretraining, pretrain
from scae_zoo.methods.runs import RunOptions
from scae_zoo.training.distributed import World

from .support.processes import ROOT


def log_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / 'log.jsonl').read_text().splitlines()]


def test_the_page_runs(
        data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name, folder in (('photos', 'classes'), ('labelled', 'classes'), ('masked', 'masks')):
        (tmp_path / name).symlink_to(data / folder)
    monkeypatch.chdir(tmp_path)
    code, = re.findall(r'```python\n(.*?)```', (ROOT / 'docs' / 'python.md').read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    assert names['model'].num_classes == 3
    printed = [line for line in capsys.readouterr().out.splitlines() if line.startswith('pass ')]
    assert printed == [
        f'pass {row["epoch"]}: loss {row["loss"]:.4f} after {row["seconds"]:.0f} s'
        for run in ('photos', 'classifier', 'segmenter') for row in log_of(tmp_path / 'runs' / run)]
    assert len(printed) == 6


def test_what_on_pass_raises_ends_the_run_which_goes_on(data: Path, tmp_path: Path) -> None:
    images = load_images(str(data / 'classes'), 'train', size=32, labels=False)
    rows: list[dict[str, Any]] = []

    def stopping(row: dict[str, Any]) -> None:
        rows.append(row)
        if row['epoch'] == 2:
            raise InterruptedError('enough')

    def start(on_pass) -> None:
        pretrain('scae_springenberg9.dae_x', images, Pretraining(epochs=3, batch_size=24), RunOptions(
            tmp_path / 'run', World(0, 1, torch.device('cpu')), save_seconds=0, on_pass=on_pass))

    with pytest.raises(InterruptedError, match='enough'):
        start(stopping)
    start(rows.append)
    assert [row['epoch'] for row in rows] == [1, 2, 3]
    assert rows == log_of(tmp_path / 'run')
