"""``scae features``, as its user meets it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ..support.networks import DEFAULT, SHIPPED
from ..support.training_commands import run


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        assert picture.format == 'PNG'
        return np.asarray(picture.convert('RGB'))


@pytest.fixture
def photographs(tmp_path: Path) -> list[Path]:
    """Of different sizes."""
    paths = []
    for i, size in enumerate([(40, 30), (24, 36)]):
        paths.append(tmp_path / f'{i}.png')
        Image.linear_gradient('L').rotate(50 * i).resize(size).save(paths[-1])
    return paths


@pytest.mark.parametrize(('model', 'checkpoint', 'layer'), [
    ('scae_springenberg9', SHIPPED, 'layer 8 of 8, 192 maps at 1/4 of the size'),
    (DEFAULT, DEFAULT, 'layer 8 of 8'),
    ('scae_vgg16.dae_seg_voc2012sub', 'scae_vgg16.dae_seg_voc2012sub', 'layer 9 of 13, 512 maps at 1/8 of the size'),
])
def test_every_kind_of_network(
        photographs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], model: str, checkpoint: str,
        layer: str) -> None:
    out = tmp_path / 'new' / 'grid.png'
    assert run('features', *photographs, '--model', model, '--maps', '3', '-o', out) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f'checkpoint  {checkpoint}'
    assert layer in lines[1]
    assert lines[-1] == f'picture     {out}'
    height, width, _ = pixels(out).shape
    assert width == pytest.approx(4 * 192, abs=2)
    assert height == pytest.approx(2 * 204, abs=2)


def test_a_runs_network(pretrained: Path, photographs: list[Path], tmp_path: Path, capsys) -> None:
    assert run('features', *photographs, '--model', pretrained, '-o', tmp_path / 'grid.png') == 0
    assert 'scae_springenberg9.dae_classes\n' in capsys.readouterr().out


def test_layers_are_counted_as_probe_does(photographs: list[Path], tmp_path: Path, capsys) -> None:
    found = []
    for layer, words in (('1', '96 maps at 1/1'), ('3', '96 maps at 1/2'), ('4', '192 maps at 1/2')):
        assert run('features', *photographs, '--layer', layer, '--maps', '2', '-o', tmp_path / 'grid.png') == 0
        assert f'layer {layer} of 8, {words} of the size' in capsys.readouterr().out
        found.append(pixels(tmp_path / 'grid.png'))
    assert not np.array_equal(found[1], found[2])


def test_large_images_are_scaled_down_and_small_ones_stay(photographs: list[Path], tmp_path: Path) -> None:
    large, scaled, panorama, cut = (tmp_path / f'{name}.png' for name in ('large', 'scaled', 'panorama', 'cut'))
    image = Image.radial_gradient('L').resize((120, 80))
    image.save(large)
    image.convert('RGB').resize((48, 32), Image.Resampling.BICUBIC).save(scaled)
    image.resize((1000, 50)).save(panorama)
    image.resize((1000, 50)).convert('RGB').resize((128, 6), Image.Resampling.BICUBIC).save(cut)

    def drawn(path: Path, *options: str) -> np.ndarray:
        assert run('features', path, '--maps', '1', *options, '-o', tmp_path / 'grid.png') == 0
        return pixels(tmp_path / 'grid.png')

    for one, other in ((large, scaled), (panorama, cut)):
        assert np.array_equal(drawn(one, '--size', '32'), drawn(other))
    assert np.array_equal(drawn(photographs[0], '--size', '60'), drawn(photographs[0]))


def test_unreadable_files_are_named_and_left_out(
        photographs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad, out = tmp_path / 'bad.png', tmp_path / 'out' / 'grid.png'
    bad.write_text('no image')
    assert run('features', bad, tmp_path / 'none.png', '-o', out) == 2
    captured = capsys.readouterr()
    assert captured.out == ''
    assert [name for name in ('bad.png', 'none.png') if f'{name}: ' in captured.err] == ['bad.png', 'none.png']
    assert not out.exists()
    assert run('features', bad, *photographs, '--maps', '1', '-o', out) == 1
    captured = capsys.readouterr()
    assert captured.err.count('\n') == 1
    assert captured.out.endswith(f'picture     {out}\n')
    assert pixels(out).shape[0] == pytest.approx(2 * 204, abs=2)


@pytest.mark.usefixtures('_without_swwae')
@pytest.mark.parametrize(('options', 'fault'), [
    (['--layer', '9'], '--layer 9: scae_springenberg9 has 8 layers'),
    (['--layer', '1', '--maps', '97'], '--maps 97: layer 1 of scae_springenberg9 has 96 maps'),
    (['--maps', '500'], 'more than the 400 panels of a picture'),
    (['-o', 'pictures'], '--out pictures: a PNG is written'),
    (['-o', '{image}'], 'is one of the images'),
    (['-o', '{image}/grid.png'], 'cannot be written'),
    (['--model', 'scae_swwae'], '--model scae_swwae: no autoencoder of it'),
    (['--device', 'gpu'], '--device gpu: cannot be used'),
])
def test_refusals(photographs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str],
                  options: list[str], fault: str) -> None:
    before = photographs[0].read_bytes()
    options = [option.format(image=photographs[0]) for option in options]
    assert run('features', *photographs, '-o', tmp_path / 'grid.png', *options) == 2
    captured = capsys.readouterr()
    assert captured.out == ''
    assert fault in captured.err
    assert captured.err.count('\n') == 1
    assert photographs[0].read_bytes() == before
    assert not (tmp_path / 'grid.png').exists()
