"""What the training loop says of its passes, and what the optimiser is told."""

import contextlib
import io
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from scae_zoo.factory import create_encoder
from scae_zoo.training import loop
from scae_zoo.training.run_folder import STATE

from .test_training_loop import Stopped, train


def answer_nothing(model: torch.nn.Module) -> None:
    """A classifier that answers 0 whatever it sees has a cross-entropy of log 2."""
    torch.nn.init.zeros_(model.head.fc.weight)


@pytest.mark.parametrize('accumulate', [1, 2])
def test_the_logged_loss_is_the_mean_of_each_pass(
        tmp_path: Path, capsys: pytest.CaptureFixture[str], accumulate: int) -> None:
    _, log = train(tmp_path, lr=1e-30, sched='constant', epochs=3, accumulate=accumulate, change=answer_nothing)
    assert [row['loss'] for row in log] == pytest.approx([math.log(2)] * 3)
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition('  images')[0] for line in lines] == [
        f'epoch {i}  loss 0.6931  lr 1e-30' for i in (1, 2, 3)]


@pytest.mark.parametrize(('seconds', 'speed'), [(0.5, 8.), (1.9, 2.11), (0.0399, 100), (0.03, 133)])
def test_times_are_those_of_the_training(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, speed: float) -> None:
    """Two steps of four images a pass; the time between two parts of a run is not counted, nor is what is lost."""
    now = 100.

    def pass_time(*_: object) -> None:
        nonlocal now
        now += seconds

    def timed(model: torch.nn.Module) -> None:
        model.blocks[0].register_forward_hook(pass_time)

    monkeypatch.setattr(loop, 'time', SimpleNamespace(monotonic=lambda: now))
    for stop_at in (4, 2):
        with pytest.raises(Stopped):  # saved after the first step, then after the third one
            train(tmp_path, change=timed, stop_at=stop_at, epochs=3)
        now += 1000
    _, log = train(tmp_path, change=timed, epochs=3)
    assert [row['images_per_second'] for row in log] == [speed, speed, speed]
    assert [row['seconds'] for row in log] == pytest.approx([2 * seconds, 4 * seconds, 6 * seconds], abs=0.05)


def test_saved_when_the_time_has_passed_since_the_last_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, saved = 100., []

    def pass_time(*_: object) -> None:
        nonlocal now
        now += 1

    save = loop.RunFolder.save_state
    monkeypatch.setattr(loop, 'time', SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(loop.RunFolder, 'save_state', lambda self, tensors, record: (
        saved.append(record['step']), save(self, tensors, record)))
    train(tmp_path, images=20, save_seconds=2, change=lambda model: model.blocks[0].register_forward_hook(pass_time))
    assert saved == [2, 4, 6, 8, 10]


def test_another_than_the_main_process_neither_writes_nor_prints(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(tmp_path, rank=1, on_epoch=lambda *_: pytest.fail('measured'))
    assert capsys.readouterr().out == ''
    assert not (tmp_path / STATE).exists()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_how_far_a_pass_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From where it goes on, and only as long as it lasts; other processes show nothing."""
    def shown(rank: int = 0, stop_at: int | None = None) -> str:
        monkeypatch.setattr(sys, 'stderr', terminal := Terminal())
        with contextlib.nullcontext() if stop_at is None else pytest.raises(Stopped):
            train(tmp_path / str(rank), rank=rank, stop_at=stop_at)
        return terminal.getvalue()

    assert shown(stop_at=2).startswith('\repoch 1/2:   0%|          | 0.00/8.00 [00:00<?, ? images/s]\r')
    text = shown()
    assert text.startswith('\repoch 1/2:  50%|#####     | 4.00/8.00 [')
    assert '\repoch 2/2:   0%|          | 0.00/8.00 [' in text
    assert text.rpartition('images/s]')[2].strip(' \r') == ''
    assert '\n' not in text
    assert shown(rank=1) == ''


def test_what_is_measured_after_a_pass_joins_its_row(tmp_path: Path) -> None:
    _, log = train(tmp_path, on_epoch=lambda row, model: {'twice': 2 * row['epoch']})
    assert [(row['epoch'], row['twice']) for row in log] == [(1, 2), (2, 4)]


def moved(before: list[torch.Tensor], model: torch.nn.Module) -> list[torch.Tensor]:
    return [after.detach() - old for old, after in zip(before, model.parameters(), strict=True)]


def start() -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [p.detach().clone() for p in create_encoder('scae_springenberg9', None, num_classes=2).parameters()]


def test_the_gradient_is_clipped(tmp_path: Path) -> None:
    """To the norm that all weights have together."""
    model, _ = train(tmp_path, images=4, epochs=1, opt='momentum', lr=1., clip_grad=1e-3)
    norm = torch.nn.utils.get_total_norm(moved(start(), model))
    assert norm == pytest.approx(1e-3, rel=1e-3)


def test_weights_decay_but_not_biases_and_norms(tmp_path: Path) -> None:
    """By the learning rate times the decay, of what there was."""
    before = start()
    model, _ = train(tmp_path, images=4, epochs=1, opt='adamw', lr=1e-30, sched='constant', weight_decay=1e29)
    for old, change in zip(before, moved(before, model), strict=True):
        torch.testing.assert_close(change, old * (-0.1 if old.ndim > 1 else 0.), rtol=1e-4, atol=1e-9)


def test_dropout_is_drawn_anew(tmp_path: Path) -> None:
    """For each step, seed and process."""
    def drawn(name: str, **options: int) -> list[float]:
        numbers: list[float] = []
        train(tmp_path / name, images=4, change=lambda model: model.register_forward_pre_hook(
            lambda *_: numbers.append(torch.rand(()).item())), **{'epochs': 1, **options})
        return numbers

    assert len({*drawn('steps', epochs=2), *drawn('rank', rank=1), *drawn('seed', seed=1)}) == 4
