"""The ``scae`` command, as its user meets it."""

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
from PIL import Image

from scae_zoo import CheckpointError, create_autoencoder
from scae_zoo.checkpoints import finding
from scae_zoo.checkpoints.finding import WEIGHTS
from scae_zoo.cli import main

from ..support.networks import ARCHITECTURES, DEFAULT, SHIPPED
from ..support.processes import Process, scae

CHECKOUT = Path(__file__).parents[2]
FILLER = 'scae_vgg16.dae_imagenette'


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    """A smooth 45 x 38 picture."""
    y, x = np.mgrid[:38, :45]
    pixels = np.stack([x * 5, y * 6, 255 - x * 3 - y], axis=2).astype(np.uint8)
    path = tmp_path / 'photograph.png'
    Image.fromarray(pixels).save(path)
    return path


def run(*args: str | Path) -> int:
    return main([str(arg) for arg in args])


def test_list_names_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert run('list') == 0
    printed = capsys.readouterr().out
    assert SHIPPED in printed
    assert all(name in printed for name in ARCHITECTURES)
    figure = json.loads((WEIGHTS / SHIPPED / 'metrics.json').read_text())['denoising_psnr']['denoised']
    assert f'{figure:.2f} dB at sigma 25.5\n' in printed
    controls = [line for line in printed.splitlines() if line.endswith('sigma 25.5, a control without shortcuts')]
    assert all('noskip' in line for line in controls)
    assert len(controls) == printed.count('noskip') > 0


@pytest.mark.usefixtures('_without_swwae')
@pytest.mark.parametrize('name', ['scae_swwae', 'scae_springenberg9', SHIPPED, str(WEIGHTS / SHIPPED)])
def test_info(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run('info', name) == 0
    printed = capsys.readouterr().out
    assert '7.64 M' in printed if name == 'scae_swwae' else 'recipes/cifar10_4k_labels.py' in printed
    if name == 'scae_springenberg9':
        assert printed.startswith(DEFAULT)
        assert 'classifier' in printed
        assert 'with decoder' not in printed
    others = [line for line in printed.splitlines() if line.startswith('  others ')]
    assert len(others) == (name != 'scae_swwae')
    assert (SHIPPED in ''.join(others)) == (name == 'scae_springenberg9')


def test_demo_improves_a_real_photograph(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By removing noise, and by filling in what is missing."""
    assert run('demo', '-o', tmp_path) == 0
    lines = capsys.readouterr().out.splitlines()
    for name, file, printed, better in (
            (SHIPPED, 'demo.png', lines[:4], 8), (FILLER, 'demo_filled.png', lines[4:], 12)):
        assert printed[0] == f'checkpoint  {name}'
        assert printed[3] == f'picture     {tmp_path / file}'
        before, after = (float(printed[2].split()[1 + 3 * i]) for i in (0, 1))
        assert after > before + better
        with Image.open(tmp_path / file) as picture:
            assert picture.width > 3 * 512


def test_demo_without_the_network_that_an_installed_package_leaves_out(
        tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finding, 'WEIGHTS', tmp_path / 'weights')
    shutil.copytree(WEIGHTS / SHIPPED, tmp_path / 'weights' / SHIPPED)
    shutil.copy(WEIGHTS / 'manifest.json', tmp_path / 'weights')
    assert run('demo', '-o', tmp_path) == 0
    assert FILLER not in capsys.readouterr().out
    for args, status in ((['list'], 0), (['info', 'scae_vgg16'], 0), (['info', FILLER], 2)):
        assert run(*args) == status
        printed = ''.join(capsys.readouterr())
        assert f' in the installed package (scae_vgg16.dae_ft_voc2012sub, {FILLER}, ' in printed
        assert "pip install 'scae-zoo[vgg16]' brings them" in printed
        assert 'an editable install of a checkout, pip install -e ., has them)' in printed
    with pytest.raises(CheckpointError, match=f'scae_vgg16: no autoencoder of it in the installed package .*{FILLER}'):
        create_autoencoder('scae_vgg16', pretrained=True)
    with pytest.raises(CheckpointError, match='scae_vgg16.unknown: no such checkpoint in the installed package'):
        timm.create_model('scae_vgg16.unknown', pretrained=True)  # timm: Invalid pretrained tag


def test_reconstruct_overwrites_no_input(tmp_path: Path) -> None:
    """Such as those of an earlier call, when the next one is given *.png."""
    first, second = tmp_path / 'a.png', tmp_path / 'a_gaussian-25.png'
    for path, colour in ((first, 'red'), (second, 'blue')):
        Image.new('RGB', (20, 20), colour).save(path)
    before = second.read_bytes()
    assert run('reconstruct', first, second, '-o', tmp_path / 'x' / '..') == 0
    assert second.read_bytes() == before
    assert {path.name for path in tmp_path.glob('*.png')} == {
        'a.png', 'a_gaussian-25.png', 'a_gaussian-25-2.png', 'a_gaussian-25_gaussian-25.png'}


def test_reconstruct_writes_three_panels(photograph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / 'new' / 'folder'
    assert run('reconstruct', photograph, '--noise', 'gaussian:20', '-o', out) == 0
    printed = capsys.readouterr().out
    written, = out.iterdir()
    assert str(written) in printed
    assert written.name == 'photograph_gaussian-20.png'
    with Image.open(written) as picture:
        assert picture.width >= 3 * 45 * (192 // 45)
    again = written.read_bytes()
    assert run('reconstruct', photograph, '--noise', 'gaussian:20', '-o', out) == 0
    assert written.read_bytes() == again
    assert run('reconstruct', photograph, '--noise', 'gaussian:20', '-o', out, '--seed', '1') == 0
    assert written.read_bytes() != again


@pytest.mark.parametrize('noise', ['gaussian:5-50', 'block:0.25', 'block:0.1:8'])
def test_every_corruption(photograph: Path, tmp_path: Path, noise: str) -> None:
    assert run('reconstruct', photograph, '--noise', noise, '--model', SHIPPED, '-o', tmp_path / 'out') == 0
    assert len(list((tmp_path / 'out').iterdir())) == 1


def test_same_name_from_two_folders(photograph: Path, tmp_path: Path) -> None:
    other = tmp_path / 'other' / 'photograph.bmp'
    other.parent.mkdir()
    Image.new('RGB', (20, 20), 'red').save(other)
    assert run('reconstruct', photograph, other, '-o', tmp_path / 'out') == 0
    assert len(list((tmp_path / 'out').iterdir())) == 2


def test_reconstruct_what_is_noisy_already(photograph: Path, tmp_path: Path) -> None:
    clean = np.asarray(Image.open(photograph), np.float32)
    noisy = (clean + np.random.default_rng(0).normal(0, 25, clean.shape)).clip(0, 255).astype(np.uint8)
    Image.fromarray(noisy).save(tmp_path / 'noisy.png')
    assert run('reconstruct', tmp_path / 'noisy.png', '--noise', 'none', '-o', tmp_path / 'out') == 0
    [path] = (tmp_path / 'out').iterdir()
    restored = np.asarray(Image.open(path), np.float32)
    assert restored.shape == clean.shape
    assert np.square(restored - clean).mean() < np.square(noisy - clean).mean() / 3


def test_one_bad_image_does_not_stop_the_others(
        photograph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / 'bad.png'
    bad.write_text('no image')
    assert run('reconstruct', bad, photograph, '-o', tmp_path / 'out') == 1
    captured = capsys.readouterr()
    assert [line for line in captured.err.splitlines() if 'bad.png' in line]
    assert [p.name for p in (tmp_path / 'out').iterdir()] == ['photograph_gaussian-25.png']


@pytest.mark.usefixtures('_without_swwae')
@pytest.mark.parametrize('args', [
    ['info', 'scae_vgg61'],
    ['info', '/'],
    ['reconstruct', 'none.png'],
    ['reconstruct', 'none.png', '--noise', 'salt:1'],
    ['reconstruct', 'none.png', '--model', 'scae_swwae'],
    ['reconstruct', 'none.png', '--model', 'scae_springenberg9.none'],
    ['evaluate', SHIPPED, '--data', '/no/such/folder'],
    ['evaluate', SHIPPED, '--data', str(WEIGHTS)],
])
def test_refusals_are_one_line(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(args) == 2
    captured = capsys.readouterr()
    assert captured.out == ''
    assert captured.err.startswith('scae: error: ')
    assert captured.err.count('\n') == 1


def test_evaluate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(3):
        Image.linear_gradient('L').resize((32, 32)).rotate(40 * i).save(tmp_path / f'{i}.png')
    assert run('evaluate', SHIPPED, '--data', tmp_path, '--limit', '2') == 0
    printed = capsys.readouterr().out
    assert '2 images' in printed
    noisy, denoised = (float(line.split()[1]) for line in printed.splitlines()[1:3])
    assert denoised > noisy + 5
    assert 'card' in printed
    (tmp_path / '1.png').write_bytes(b'broken')
    assert run('evaluate', SHIPPED, '--data', tmp_path) == 2
    assert '1.png' in capsys.readouterr().err


def test_an_auto_encoder_is_measured_on_all_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """However the sub-folders are arranged, and whatever a table says of labels, as when it was trained."""
    for name in ('a/b', 'a_b', 'empty'):
        (tmp_path / name).mkdir(parents=True)
    for path in ('a/b/0.png', 'a_b/1.png', 'a_b/2.png'):
        Image.linear_gradient('L').resize((32, 32)).save(tmp_path / path)
    table = tmp_path / 'labels.csv'
    table.write_text('image,cat\na_b/2.png,1\n')
    for _ in range(2):
        assert run('evaluate', SHIPPED, '--data', tmp_path) == 0
        assert '3 images' in capsys.readouterr().out
        table.unlink(missing_ok=True)


def test_evaluate_on_central_crops(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, middle = tmp_path / 'whole', tmp_path / 'middle'
    for folder in (whole, middle):
        folder.mkdir()
    picture = Image.linear_gradient('L').resize((32, 32)).rotate(30)
    picture.save(whole / '0.png')
    picture.crop((5, 5, 26, 26)).save(middle / '0.png')
    assert run('evaluate', SHIPPED, '--data', whole, '--size', '32', '--crop', '21') == 0
    first, *cropped = capsys.readouterr().out.splitlines()
    assert '21 x 21' in first
    assert run('evaluate', SHIPPED, '--data', middle, '--size', '21') == 0
    _, *uncropped, card = capsys.readouterr().out.splitlines()
    assert cropped == uncropped
    assert 'card' in card  # whose figure is of whole images
    assert run('evaluate', SHIPPED, '--data', whole, '--size', '32', '--crop', '33') == 2
    assert '--crop' in capsys.readouterr().err


def test_a_classifier_has_no_crop_to_be_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    assert run('evaluate', 'scae_springenberg9', '--data', '.', '--crop', '29') == 2
    assert '--crop: for auto-encoders' in capsys.readouterr().err


def test_full_disk(photograph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / 'out'
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # the kernel refuses more, as a full disk does
    try:
        assert run('reconstruct', photograph, '-o', out) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert 'cannot be written' in capsys.readouterr().err
    assert not list(out.iterdir())


def test_output_folder_is_a_file(photograph: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run('reconstruct', photograph, '-o', photograph) == 2
    assert 'cannot be written' in capsys.readouterr().err


def test_a_damaged_folder_is_listed(
        checkpoint_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint_folder.rename(checkpoint_folder.with_name('scae_vgg16.mine'))
    monkeypatch.setenv('SCAE_ZOO_CHECKPOINTS', str(checkpoint_folder.parent))
    assert run('list') == 0
    captured = capsys.readouterr()
    assert [line.split() for line in captured.out.splitlines() if 'mine' in line] == [['scae_vgg16.mine', 'damaged']]
    assert SHIPPED in captured.out
    assert captured.err.count('\n') == 1
    assert f'holds {SHIPPED}' in captured.err


@pytest.mark.parametrize('metrics', ['[]', '{"denoising_psnr": 3}', '{"denoising_psnr": {}}'])
def test_damaged_figures_are_listed_as_such(
        checkpoint_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
        metrics: str) -> None:
    (checkpoint_folder / 'manifest.json').unlink()
    (checkpoint_folder / 'metrics.json').write_text(metrics)
    monkeypatch.setenv('SCAE_ZOO_CHECKPOINTS', str(checkpoint_folder.parent))
    assert run('list') == 0
    captured = capsys.readouterr()
    assert [line.split()[:2] for line in captured.out.splitlines() if SHIPPED in line] == [[SHIPPED, 'damaged']]
    assert 'metrics.json: ' in captured.err


def test_a_reader_that_goes_away() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    result = subprocess.run(
        [sys.executable, '-m', 'scae_zoo', 'list'], cwd=CHECKOUT, stdout=writer, stderr=subprocess.PIPE, text=True,
        env={**os.environ, 'PYTHONUNBUFFERED': ''})  # else there is nothing left to be written at the end
    os.close(writer)
    assert result.returncode == 141
    assert result.stderr == ''


def test_names_that_are_no_text(tmp_path: Path) -> None:
    """The picture's name is printed in another way, and the next image is processed."""
    for name in (b'caf\xe9.png', b'tea.png'):
        Image.linear_gradient('L').resize((32, 32)).save(tmp_path / os.fsdecode(name))
    environment = {**os.environ, 'PYTHONPATH': str(CHECKOUT), 'PYTHONIOENCODING': 'utf-8:strict'}
    result = subprocess.run(
        [sys.executable.encode(), b'-m', b'scae_zoo', b'reconstruct', b'caf\xe9.png', b'tea.png', b'-o', b'out'],
        cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert 'caf\\udce9.png: PSNR' in result.stdout
    assert len(list((tmp_path / 'out').iterdir())) == 2


def test_as_a_command(tmp_path: Path) -> None:
    for args, status, text in (
            (['--help'], 0, 'reconstruct'), (['demo', '--help'], 0, 'photograph'), ([], 2, 'usage'),
            (['info', 'scae_vgg61'], 2, 'scae: error: scae_vgg61')):
        result = Process(tmp_path / 'log', scae, *args).wait()
        assert result.returncode == status
        assert text in result.stdout + result.stderr
        assert 'Traceback' not in result.stderr
