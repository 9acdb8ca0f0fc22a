"""The pictures that a run leaves in its folder, and that nothing else depends on them."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from scae_zoo.checkpoints.folder import open_folder
from scae_zoo.data.image_set import ImageSet
from scae_zoo.images import CLASS_COLOURS
from scae_zoo.methods import runs
from scae_zoo.methods.pictures import Panel, curve, mistakes, panels, save_figure

from ..support.training_commands import SMALL, run


def drawn(path: Path) -> np.ndarray:
    """A picture's pixels; it is small enough to be sent by mail."""
    assert path.stat().st_size < 500_000
    return np.asarray(Image.open(path))


def column(picture: np.ndarray, panel: np.ndarray) -> int:
    """Where a panel begins in a picture, in pixels from the left."""
    height, width, _ = panel.shape
    for y in range(len(picture) - height + 1):
        x, rest = divmod(picture[y].tobytes().find(panel[0].tobytes()), 3)
        if not rest and (picture[y:y + height, x:x + width] == panel).all():
            return x
    raise AssertionError('the panel is not there')


def enlarged(path: Path, times: int) -> np.ndarray:
    return np.asarray(Image.open(path)).repeat(times, 0).repeat(times, 1)


def test_pretraining(pretrained: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The curve, and test images beside what they were made of."""
    assert drawn(pretrained / 'curve.png').std() > 0
    picture = drawn(pretrained / 'examples.png')
    original = enlarged(sorted((data / 'classes' / 'test' / 'cat').iterdir())[0], 3)
    assert column(picture, original) > picture.shape[1] / 4  # corrupted | reconstruction | original
    assert run('pretrain', data / 'classes', *SMALL, '-o', pretrained) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [
        f'pictures    {pretrained}/curve.png, {pretrained}/examples.png',
        f'next: scae finetune LABELLED_IMAGES --from {pretrained}']


def test_segmentation(data: Path, pretrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """image | truth | prediction"""
    assert run('segment', data / 'masks', '--from', pretrained, *SMALL, '-o', tmp_path / 'run') == 0
    picture = drawn(tmp_path / 'run' / 'examples.png')
    image, truth = (enlarged(data / 'masks' / 'test' / kind / '000.png', 5) for kind in ('images', 'masks'))
    assert column(picture, image) < column(picture, CLASS_COLOURS[truth])
    assert capsys.readouterr().out.splitlines()[-1] == (
        f'next: scae predict PHOTOS --model {tmp_path / "run"} -o masks/')


def test_fine_tuning(data: Path, pretrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Mistakes on the test images; without these there are no examples, which is said."""
    for name in ('classes', 'many', 'classes/train'):
        out = tmp_path / name
        assert run('finetune', data / name, '--from', pretrained, *SMALL, '-o', out) == 0
        *_, before, last, hint = capsys.readouterr().out.splitlines()
        assert hint == f'next: scae predict PHOTOS --model {out} -o predictions.csv'
        assert drawn(out / 'curve.png').std() > 0
        if name == 'classes/train':
            assert last == f'pictures    {out}/curve.png'
            assert before == (
                'not measured, and no examples drawn: there are no images beside those of training; give --test'
                ', or hold some back with --validation')
        else:
            assert drawn(out / 'examples.png').std() > 0


@pytest.fixture
def titles(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The heading of a picture that is drawn, and what stands above its panels."""
    found: list[str] = []

    def watched(groups: list[list[Panel]], across: int, heading: str) -> None:
        found.extend([heading, *(' '.join(panel.title.split()) for group in groups for panel in group)])

    monkeypatch.setattr('scae_zoo.methods.pictures.panels', watched)
    return found


def test_the_surest_mistakes_come_first(titles: list[str]) -> None:
    images = torch.zeros(4, 3, 20, 20, dtype=torch.uint8)
    test = ImageSet(images, torch.tensor([0, 0, 1, 1]), ('cat', 'dog'))
    scores = torch.tensor([[0.9, 0.1], [0.4, 0.6], [0.8, 0.2], [0.1, 0.9]]).log()
    mistakes(test, scores, 17)
    assert titles == ['2 of 4 test images are wrong; the surest mistakes', 'is dog, taken for cat, 80 %',
                      'is cat, taken for dog, 60 %']
    titles.clear()
    mistakes(test, scores[[0, 0, 1, 3]], 17)
    assert titles == ['all 4 test images are right; the least sure ones', 'dog, 60 %', 'cat, 90 %', 'cat, 90 %',
                      'dog, 90 %']


def test_the_surest_mistakes_of_many_labels(titles: list[str]) -> None:
    """But of those that are not counted."""
    images = torch.zeros(2, 3, 20, 20, dtype=torch.uint8)
    test = ImageSet(images, torch.tensor([[1., 0.], [-1., 1.]]), ('day', 'rain'))
    shares = torch.tensor([[0.3, 0.9], [0.9, 0.8]])
    mistakes(test, shares.logit(), 17)
    assert titles == ['2 of 3 labels are wrong; the surest mistakes', 'rain is not there, given 90 %',
                      'day is there, given 30 %']


def test_the_curve_shows_validation(tmp_path: Path) -> None:
    """Also where there is a single pass, or it was not measured after each."""
    rows = [{'epoch': 1, 'loss': 2.}, {'epoch': 2, 'loss': 1., 'validation': 50.}]
    figures = [{'name': 'accuracy', 'value': 3}]
    sizes = []
    for log in (rows[:1], rows, rows[1:]):
        save_figure(curve(log, figures), tmp_path / 'curve.png')
        sizes.append(drawn(tmp_path / 'curve.png').shape[1])
    assert sizes[0] < sizes[1] == sizes[2]


def test_names_of_any_kind(tmp_path: Path) -> None:
    """Mathematics to matplotlib, hidden to its legends, no text, or longer than a line."""
    panel = np.zeros((20, 20, 3), np.uint8)
    for name in ('$x', '_hidden', 'ph\udcf4to', 'n' * 200, 'two\nlines'):
        save_figure(panels([[Panel(panel, name)]], 1, name, {name: np.array([1, 2, 3], np.uint8)}), tmp_path / 'a.png')
        assert (drawn(tmp_path / 'a.png') == [1, 2, 3]).all(2).any()


def test_pictures_change_nothing(
        pretrained: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, 'draw', lambda *_: None)
    assert run('pretrain', data / 'classes', *SMALL, '-o', tmp_path) == 0
    assert not (tmp_path / 'examples.png').exists()
    with_pictures, without = (open_folder(folder) for folder in (pretrained, tmp_path))
    for file in ('model.safetensors', 'decoder.safetensors'):
        assert with_pictures.read(file) == without.read(file)
    ours, others = (json.loads((folder / 'log.jsonl').read_text()) for folder in (pretrained, tmp_path))
    assert (ours['loss'], ours['lr']) == (others['loss'], others['lr'])
    key = 'denoising_psnr'
    assert with_pictures.metrics[key] == without.metrics[key]


def test_a_picture_that_cannot_be_drawn(
        data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The run has its result all the same."""
    out = tmp_path / 'run'
    (out / 'curve.png').mkdir(parents=True)
    start = 'pretrain', data / 'classes', *SMALL, '-o'
    assert run(*start, out) == 0
    captured = capsys.readouterr()
    fault, = (line for line in captured.err.splitlines() if line.startswith('no '))
    assert fault.startswith(f'no curve.png: {out}/curve.png: cannot be written (')
    assert f'pictures    {out}/examples.png\n' in captured.out
    assert open_folder(out).kind == 'autoencoder'
    assert {path.name for path in out.glob('.*')} == {'.lock'}
    monkeypatch.setitem(sys.modules, 'matplotlib.figure', None)  # as if it were not installed
    assert run(*start, tmp_path / 'other') == 0
    captured = capsys.readouterr()
    assert 'no curve.png: ' in captured.err
    assert 'no examples.png: ' in captured.err
    assert 'pictures' not in captured.out


def test_what_a_killed_process_left_of_a_picture(pretrained: Path, data: Path) -> None:
    left = pretrained / '.0123.partial'
    left.touch()
    assert run('pretrain', data / 'classes', *SMALL, '-o', pretrained) == 0
    assert not left.exists()
