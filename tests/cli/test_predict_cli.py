"""``scae predict``: a table of classes, or masks, of photographs of any size."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from scae_zoo import create_segmenter, images
from scae_zoo.experiments import sample_images
from scae_zoo.images import CLASS_COLOURS, ImageError, open_rgb, save_png
from scae_zoo.inference import masks
from scae_zoo.inference import photographs as reading
from scae_zoo.inference.network import Network
from scae_zoo.pixels import normalize

from ..support.networks import DEFAULT, SHIPPED
from ..support.photographs import CLASSES, write_classifier, write_photographs, write_segmenter
from ..support.pictures import save
from ..support.training_commands import run


@pytest.fixture(scope='module')
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photographs(tmp_path_factory.mktemp('photographs'))


@pytest.fixture(scope='module')
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_segmenter(tmp_path_factory.mktemp('segmenter'))


def as_it_sees(pixels: np.ndarray, cfg: dict) -> torch.Tensor:
    return normalize(torch.from_numpy(pixels).permute(2, 0, 1)[None], cfg['mean'], cfg['std'])


def rows(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text)))


@pytest.mark.usefixtures('_float32')
def test_the_classes_are_those_of_the_middle_by_timms_model(tmp_path: Path) -> None:
    photographs = tmp_path / 'photographs'
    for i, (_, piece) in enumerate(sample_images.cuttings(6, 32, 0)):  # of a size that neither needs to scale
        save_png(piece, photographs / 'ab'[i % 2] / f'{i}.png')
    assert run('predict', photographs, '--model', DEFAULT, '--top', '3', '-o', tmp_path / 'new' / 'table.csv') == 0
    header, *found = rows((tmp_path / 'new' / 'table.csv').read_text())
    assert header == ['file', 'class', 'probability', 'class_2', 'probability_2', 'class_3', 'probability_3']
    assert [Path(row[0]).name for row in found] == ['0.png', '2.png', '4.png', '1.png', '3.png', '5.png']
    model = timm.create_model(DEFAULT, pretrained=True).eval()
    for file, name, probability, *_ in found:
        with torch.inference_mode():
            expected = model(as_it_sees(open_rgb(file), model.pretrained_cfg)[:, :, 1:30, 1:30]).softmax(1)[0]
        assert float(probability) == pytest.approx(expected.max().item(), abs=1e-3)
        assert name == model.pretrained_cfg['label_names'][expected.argmax()]
    assert [path.name for path in (tmp_path / 'new').iterdir()] == ['table.csv']


def test_what_cannot_be_read_is_named_and_what_is_no_image_said(
        photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run('predict', photographs, '--model', DEFAULT, '-o', tmp_path / 'table.csv') == 1
    errors = capsys.readouterr().err
    assert f'scae: error: {photographs / "broken.jpg"}: ' in errors
    assert 'found 7 images; left out: 1 .txt (no images)' in errors
    assert '1 of 7 images were left out' in errors
    assert run('predict', photographs / 'notes.txt', '--model', DEFAULT, '-o', tmp_path / 'none.csv') == 2
    assert not (tmp_path / 'none.csv').exists()


def test_the_table_is_printed_and_nothing_but_it(photographs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run('predict', photographs / 'a', '--model', DEFAULT, '--json') == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [Path(line['file']).name for line in lines] == ['0.png', '2.png', '4.png']
    assert all(0 < line['classes'][0]['probability'] <= 1 for line in lines)
    assert run('predict', photographs / 'a', '--model', DEFAULT) == 0
    assert [row[1] for row in rows(capsys.readouterr().out)[1:]] == [line['classes'][0]['class'] for line in lines]


def test_many_labels_have_a_probability_each(
        photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = write_classifier(tmp_path, multi_label=True)
    assert json.loads((model / 'config.json').read_text())['problem_type'] == 'multi_label_classification'
    assert run('predict', photographs / 'a', '--model', model) == 0
    header, *found = rows(capsys.readouterr().out)
    assert header == ['file', *CLASSES]
    assert run('predict', photographs / 'a', '--model', model, '--json') == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for row, line in zip(found, lines, strict=True):
        assert [float(cell) for cell in row[1:]] == pytest.approx(list(line['probabilities'].values()), abs=1e-4)
        assert sum(line['probabilities'].values()) != pytest.approx(1, abs=1e-6)
    assert run('predict', photographs / 'a', '--model', model, '--top', '2') == 2


@pytest.mark.usefixtures('_float32')
def test_masks_hold_the_classes_of_the_pixels(
        photographs: Path, segmenter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / 'masks'
    assert run('predict', photographs, '--model', segmenter, '-o', out, '--overlay') == 1
    output, errors = capsys.readouterr()
    assert 'broken.jpg' in errors
    assert f'{photographs / "a" / "0.png"}: ' in output
    assert (out / 'classes.txt').read_text().split() == list(CLASSES)
    assert sorted(path.name for path in out.iterdir()) == ['a', 'b', 'classes.txt']
    model = create_segmenter('scae_springenberg9', pretrained=True, weights=str(segmenter)).eval()
    cfg = model.pretrained_cfg
    for path in (photographs / 'a').iterdir():
        pixels = open_rgb(path)
        with torch.inference_mode():
            expected = model(as_it_sees(pixels, cfg)).argmax(1)[0].numpy()
        with Image.open(out / 'a' / f'{path.stem}.png') as mask:
            assert mask.mode == 'P'
            assert (np.asarray(mask) == expected).mean() > 0.999
            assert np.array_equal(np.asarray(mask.convert('RGB')), CLASS_COLOURS[np.asarray(mask)])
        with Image.open(out / 'a' / f'{path.stem}_overlay.png') as overlay:
            assert overlay.width >= pixels.shape[1]
            assert overlay.height > pixels.shape[0]


def test_masks_never_lie_among_the_photographs(
        photographs: Path, segmenter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A second start would take them for photographs."""
    assert run('predict', photographs / 'a' / '0.png', '--model', segmenter, '-o', photographs / 'a') == 2
    assert '0.png lies there, so that a second start would take the masks for photographs' in capsys.readouterr().err
    assert run('predict', photographs / 'a', '--model', segmenter, '-o', photographs / 'a') == 2
    assert 'give another folder to -o' in capsys.readouterr().err


def test_masks_of_scaled_photographs_have_the_photographs_size(
        photographs: Path, segmenter: Path, tmp_path: Path) -> None:
    image = photographs / 'a' / '0.png'
    assert run('predict', image, '--model', segmenter, '-o', tmp_path, '--size', '18') == 0
    with Image.open(tmp_path / '0.png') as mask, Image.open(image) as photograph:
        assert mask.size == photograph.size


def test_masks_that_were_made_train_a_segmenter(photographs: Path, segmenter: Path, tmp_path: Path) -> None:
    data = tmp_path / 'data'
    assert run('predict', photographs / 'a', '--model', segmenter, '-o', data / 'masks') == 0
    (data / 'images').symlink_to(photographs / 'a')
    (data / 'masks' / 'classes.txt').rename(data / 'classes.txt')
    assert run('segment', data, '--model', 'scae_springenberg9', '--init', 'random', '--epochs', '1', '--crop', '17',
               '--batch-size', '3', '--device', 'cpu', '-o', tmp_path / 'run') == 0


@pytest.mark.parametrize(('arguments', 'fault'), [
    (['--model', SHIPPED], 'is an auto-encoder, which knows no classes'),
    (['--model', DEFAULT, '--overlay'], '--overlay: for segmenters'),
    (['--model', DEFAULT, '--size', '40'], '--size: for segmenters'),
    (['--model', 'SEGMENTER', '--json'], '--json: for classifiers'),
    (['--model', 'SEGMENTER'], '-o: give a folder for the masks'),
    (['--model', DEFAULT, '-o', '.'], '-o .: is a folder; give a file'),
    (['--model', DEFAULT, '-o', 'photograph.png'], '-o photograph.png: would be written over by the table'),
    (['--model', DEFAULT, '--device', 'gpu'], '--device gpu: cannot be used')])
def test_options_that_do_not_fit(photographs: Path, segmenter: Path, capsys: pytest.CaptureFixture[str],
                                 arguments: list[str], fault: str) -> None:
    arguments = [each.replace('SEGMENTER', str(segmenter)) for each in arguments]
    assert run('predict', photographs, *arguments) == 2
    errors = capsys.readouterr().err
    assert fault in errors
    assert errors.count('scae: error') == 1


def test_masks_that_are_stopped_go_on_where_they_were(
        photographs: Path, segmenter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    """Only the parts that are not done are asked again, and nothing of ours is left."""
    monkeypatch.setattr(reading, 'PART', 2)
    (tmp_path / 'whole').mkdir()
    assert run('predict', photographs, '--model', segmenter, '-o', tmp_path / 'whole') == 1
    command = ['predict', photographs, '--model', segmenter, '-o', tmp_path / 'masks']
    real, calls = masks.save_png, []

    def stopped(*args: object, **kwargs: object) -> None:
        calls.append(args)
        if len(calls) == 4:
            raise KeyboardInterrupt
        real(*args, **kwargs)

    monkeypatch.setattr(masks, 'save_png', stopped)
    assert run(*command) == 130
    assert len(list((tmp_path / 'masks').glob('.*.unfinished/*.part'))) == 1
    (tmp_path / 'masks' / 'a' / '2.png').unlink()  # of the part that is done: that is done again
    calls.clear()
    capsys.readouterr()
    assert run(*command) == 130  # at the fourth picture of what is left
    assert 'going on where an earlier start was stopped' in capsys.readouterr().err
    calls.clear()
    assert (tmp_path / 'masks' / 'a' / '2.png').is_file()
    calls += [()] * 4  # no more stops
    assert run(*command) == 1
    assert 'broken.jpg' in capsys.readouterr().err  # said at the end, too
    files = [sorted(path.relative_to(folder) for path in folder.rglob('*')) for folder in (
        tmp_path / 'whole', tmp_path / 'masks')]
    assert files[0] == files[1]
    assert all((tmp_path / 'whole' / file).read_bytes() == (tmp_path / 'masks' / file).read_bytes()
               for file in files[0] if file.suffix)


def test_a_full_disk_is_said_and_forgotten(
        photographs: Path, segmenter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    """What could not be written is written when there is room, also by a command that goes on."""
    monkeypatch.setattr(reading, 'PART', 2)
    real, calls = masks.save_png, []

    def full(*args: object, **kwargs: object) -> None:
        calls.append(args)
        if len(calls) <= 2:
            raise ImageError('a.png: cannot be written (No space left on device)')
        if len(calls) == 5:
            raise KeyboardInterrupt
        real(*args, **kwargs)

    monkeypatch.setattr(masks, 'save_png', full)
    command = ['predict', photographs / 'a', photographs / 'b', '--model', segmenter, '-o', tmp_path / 'masks']
    assert run(*command) == 130
    assert 'No space left' in capsys.readouterr().err
    assert run(*command) == 0
    assert len(list((tmp_path / 'masks').glob('*.png'))) == 6
    assert 'No space left' not in capsys.readouterr().err


def test_thin_images_are_not_made_huge(segmenter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, 'LARGEST', 2 ** 12)
    seen: list[torch.Size] = []
    real = Network.of_images

    def of_images(network: Network, after: Any, images: list[torch.Tensor]) -> list[torch.Tensor]:
        seen.extend(image.shape for image in images)
        return real(network, after, images)

    monkeypatch.setattr(Network, 'of_images', of_images)
    Image.new('RGB', (1, 300)).save(tmp_path / 'thin.png')
    assert run('predict', tmp_path / 'thin.png', '--model', segmenter, '--size', '100', '-o', tmp_path / 'out') == 0
    assert seen == [(3, 1109, 4)]
    with Image.open(tmp_path / 'out' / 'thin.png') as mask:
        assert mask.size == (1, 300)


def test_names_that_are_no_text_or_have_ends_of_lines(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / 'photographs'
    for name in ('a\rb.png', 'c,d.png', 'e"f.png', 'g\nh.png', 'caf\udce9.png'):
        save(folder / name, 20, (32, 32))
    assert run('predict', folder, '--model', DEFAULT, '-o', tmp_path / 'table.csv') == 0
    with (tmp_path / 'table.csv').open(encoding='utf-8', errors='surrogateescape', newline='') as file:
        found = [row[0] for row in csv.reader(file)][1:]
    assert sorted(found) == sorted(str(path) for path in folder.iterdir())
    assert (tmp_path / 'table.csv').read_bytes().count(b'\r') == 1
    assert run('predict', folder, '--model', DEFAULT, '--json') == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith('{')]
    assert sorted(line['file'] for line in lines) == sorted(found)
