"""Images that ``scae pretrain`` holds back to measure on, where there are no others."""

import json
import os
from pathlib import Path

import pytest
import yaml

from scae_zoo.checkpoints.folder import open_folder
from scae_zoo.data.sources import load_images
from scae_zoo.methods.runs import require_disjoint

from ..support.pictures import save
from ..support.training_commands import SMALL, run

TINY = ('--size', '17', '--crop', '17', *SMALL, '--batch-size', '32')


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for i in range(100):
        save(tmp_path / 'photos' / f'{i}.png', i, (17, 17))
    return tmp_path / 'photos'


def test_a_few_of_many_images(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Said before, recorded, and on the card; a run that was begun without goes on without."""
    out = tmp_path / 'run'
    assert run('pretrain', photos, *TINY, '-o', out) == 0
    captured = capsys.readouterr()
    assert 'crops of 17 x 17, 8 held back to measure on; ' in captured.err
    assert f'{out}/examples.png' in captured.out
    checkpoint = open_folder(out)
    assert checkpoint.metrics['denoising_psnr']['images'] == 8
    card = checkpoint.read('README.md').decode()
    assert 'mean over 8 held-back training images (dB)' in card
    assert 'trained on 92 images' in card
    recipe = yaml.safe_load(checkpoint.read('recipe.yaml'))
    assert (recipe['images'], recipe['held_back']) == (92, 8)
    assert run('pretrain', photos, *TINY, '--held-back', '0', '-o', out) == 2
    assert 'held_back 8 there and None here' in capsys.readouterr().err
    assert run('evaluate', out, '--data', photos, '--limit', '3') == 0
    assert 'was trained on these images' in capsys.readouterr().err


def test_as_many_as_are_asked_for(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, images in (('0', 100), ('3', 97)):
        assert run('pretrain', photos, *TINY, '--held-back', number, '-o', tmp_path / number) == 0
        assert json.loads((tmp_path / number / 'run.json').read_text())['images'] == images
    assert 'denoising_psnr' not in open_folder(tmp_path / '0').metrics
    assert 'held_back' not in json.loads((tmp_path / '0' / 'run.json').read_text())  # as it was before there were any
    capsys.readouterr()
    for options, fault in (
            (('--held-back', '100'), 'leaves none of the 100 images to train on'),
            (('--held-back', '3', '--stream'), 'not of images that are streamed; give others to --test'),
            (('--held-back', '3', '--test', photos), 'there are test images to measure on; leave it out')):
        assert run('pretrain', photos, *TINY, *options, '-o', tmp_path / 'none') == 2
        assert f'scae: error: --held-back {options[1]}: {fault}\n' in capsys.readouterr().err
    assert not (tmp_path / 'none').exists()


def test_none_of_few_images(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run('pretrain', data / 'classes' / 'train', *SMALL, '-o', tmp_path) == 0
    captured = capsys.readouterr()
    assert 'held back' not in captured.err
    assert 'not measured' in captured.out
    assert not (tmp_path / 'examples.png').exists()


def test_other_names_of_what_is_held_back(photos: Path) -> None:
    """They are not trained on either."""
    for i in range(100):
        os.link(photos / f'{i}.png', photos / f'again_{i}.png')
    images = load_images(str(photos), size=None)
    held, rest = images.held_back(8)
    require_disjoint(rest, [held])
    assert len(held) == 8
    assert 200 - 16 <= len(rest) < 200 - 8
