"""What ``on_pass`` is told, and what it ends."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from scae_zoo.data.sources import load_images
from scae_zoo.methods.pretraining import Pretraining, pretrain
from scae_zoo.methods.runs import RunOptions
from scae_zoo.training.distributed import World


def log_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / 'log.jsonl').read_text().splitlines()]


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
