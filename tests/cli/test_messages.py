"""What is said of checkpoints that are not there, of classes that differ and of figures: to whom it is said."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import hubconf
from scae_zoo import CheckpointError, create_autoencoder, create_segmenter
from scae_zoo.checkpoints import finding
from scae_zoo.checkpoints.folder import open_folder
from scae_zoo.checkpoints.writing import write
from scae_zoo.cli import main
from scae_zoo.cli.figures import metric_lines
from scae_zoo.data.image_set import class_difference

from ..support.checkpoint_folders import NOTES, edit, weights_without, without_names
from ..support.networks import DEFAULT, SHIPPED
from ..support.processes import ROOT, Process, code
from ..support.training_commands import SMALL, run


@pytest.mark.usefixtures('_without_swwae')
@pytest.mark.parametrize(('load', 'way_out'), [
    (lambda: create_autoencoder('scae_swwae', pretrained=True), 'pretrained=False'),
    (lambda: create_autoencoder('scae_swwae.dae_x', pretrained=True), "weights='FOLDER'"),
    (lambda: create_autoencoder('scae_swwae.dae_x'), 'leave out the tag'),
    (lambda: create_autoencoder('scae_swwae', weights='dae_x'), "weights='FOLDER'"),
    (lambda: create_segmenter('scae_swwae', 5), "init='random'"),
    (lambda: create_segmenter('scae_swwae', pretrained=True), "num_classes=N and init='random'"),
    (hubconf.swwae_scae, "weights='FOLDER'"),
    (lambda: hubconf.swwae_scae_encoder(weights='dae_x'), "weights='FOLDER'"),
    (hubconf.swwae_scae_segmenter, 'pretrained=False'),
])
def test_python_is_told_of_arguments(load: Callable[[], object], way_out: str) -> None:
    with pytest.raises(CheckpointError, match='^scae_swwae') as caught:
        load()
    message = str(caught.value)
    assert way_out in message
    assert 'springenberg9' not in message  # another network's checkpoints are of no use
    assert not [word for word in ('--', '`scae', '\n') if word in message]


@pytest.mark.parametrize('load', ["timm.create_model('scae_swwae', pretrained=True)", 'hubconf.swwae_scae_encoder()'])
def test_timm_is_told_of_arguments(load: str, tmp_path: Path) -> None:
    """Which checkpoints there are it learns when the package is imported: one without this network's."""
    package = tmp_path / 'site' / 'scae_zoo'
    package.mkdir(parents=True)
    for path in (ROOT / 'scae_zoo').iterdir():
        if path.name != 'weights':
            (package / path.name).symlink_to(path)
    weights_without('scae_swwae', package / 'weights')
    (package.parent / 'hubconf.py').symlink_to(ROOT / 'hubconf.py')
    text = f"""
import sys
sys.path.insert(0, {str(package.parent)!r})
import hubconf, timm, scae_zoo
try:
    {load}
except scae_zoo.CheckpointError as error:
    print(error)
"""
    result = Process(tmp_path / 'log', code, text).wait()
    assert result.returncode == 0, result.stderr
    message, = result.stdout.splitlines()
    assert message.startswith('scae_swwae: no checkpoint of it; ')
    assert "timm.create_model('local-dir:FOLDER', pretrained=True" in message
    assert 'pretrained=False' in message


@pytest.mark.usefixtures('_without_swwae')
@pytest.mark.parametrize(('args', 'start'), [
    (['info', 'scae_swwae.dae_x'], 'scae_swwae.dae_x: no such checkpoint; there is no checkpoint of scae_swwae; '),
    (['evaluate', 'scae_swwae', '--data', '.'], 'scae_swwae: no checkpoint of it; '),
    (['probe', 'scae_swwae', '--data', '.'], 'scae_swwae: no autoencoder of it; '),
    (['reconstruct', 'x.png', '--model', 'scae_swwae'], '--model scae_swwae: no autoencoder of it; '),
    (['finetune', '.', '--from', 'scae_swwae.x'], '--from scae_swwae.x: no such checkpoint; '),
    (['segment', '.', '--from', 'scae_swwae'], '--from scae_swwae: no autoencoder of it; '),
])
def test_the_command_line_is_told_of_options(
        args: list[str], start: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(args) == 2
    message = capsys.readouterr().err
    assert message.startswith(f'scae: error: {start}give the folder of one that you trained, or hf-hub:') or (
        message.startswith(f'scae: error: {start}there is no '))
    assert '`scae list`' in message
    assert not [word for word in ('springenberg9', 'pretrained=', 'weights=', 'init=') if word in message]
    assert message.count('\n') == 1


def test_the_other_checkpoints_of_a_network_are_named() -> None:
    with pytest.raises(CheckpointError, match='no such checkpoint; there are') as caught:
        finding.find('scae_springenberg9.x', kind='autoencoder')
    assert SHIPPED in str(caught.value)
    assert DEFAULT not in str(caught.value)  # a classifier
    assert 'allconv15' not in str(caught.value)


@pytest.mark.parametrize(('ours', 'theirs', 'text'), [
    ('cat fox', 'cat dog', 'only the images have fox (1 of 2 classes); only the network knows dog (1 of 2 classes)'),
    ('cat', 'cat dog', 'only the network knows dog (1 of 2 classes)'),
    ('cat dog', 'cat', 'only the images have dog (1 of 2 classes)'),
    ('dog cat', 'cat dog', 'the same in another order: the images have dog, cat; the network knows cat, dog'),
    ('a b c d e f g z', 'z',  'only the images have a, b, c, d, e and 2 more (7 of 8 classes)'),
])
def test_whose_classes_are_whose(ours: str, theirs: str, text: str) -> None:
    assert class_difference(ours.split(), theirs.split()) == text


def test_figures_have_units() -> None:
    metrics = {
        'denoising_psnr': {'sigma': 25.5, 'clipped': True, 'seed': 0, 'images': 2, 'noisy': 20.123456,
                           'noisy_ssim': 0.512345},
        'denoising_psnr_before_fp16_storage': 29.04,
        'accuracy': {'value': 94.519, 'flip_average': 95.22, 'images': 10000, 'crop': 29},
        'accuracy_before_fp16_storage': 94.5,
        'mean_average_precision': {'value': 50., 'images': 3, 'crops': 10, 'seed': 0},
        'average_precision': {'crop': 50., 'images': None},
        'mean_iou': {'value': 40.123, 'pixel_accuracy': 80., 'images': 3},
        'iou': {'seed': 12.3456, 'sky': math.nan},
        'training_loss': 0.0123456,
        'training_seconds': 189,
        'theirs': None,
    }
    assert list(metric_lines(metrics)) == [
        'denoising_psnr: sigma 25.5 of 255, clipped yes, seed 0, 2 images, noisy 20.12 dB, noisy_ssim 0.5123',
        'denoising_psnr_before_fp16_storage: 29.04 dB',
        'accuracy: 94.52 %, flip_average 95.22 %, 10000 images, crop 29 pixels',
        'accuracy_before_fp16_storage: 94.5 %',
        'mean_average_precision: 50 %, 3 images, 10 crops, seed 0',
        'average_precision: crop 50.00 %, images absent: no such image',
        'mean_iou: 40.12 %, pixel_accuracy 80 %, 3 images',
        'iou: seed 12.35 %, sky absent: no such pixel',
        'training_loss: 0.01235',
        'training_seconds: 189 s',
        'theirs: absent',
    ]


def test_metrics_are_json_whatever_was_measured(tmp_path: Path) -> None:
    model = create_autoencoder('scae_springenberg9')
    notes = {**NOTES, 'metrics': {'psnr': {'denoised': math.inf, 'noisy': 20.5, 'images': 2}, 'iou': math.nan}}
    folder = write(tmp_path / 'scae_springenberg9.x', model.encoder, model.decoder, **notes).folder
    found = json.loads((folder / 'metrics.json').read_text(), parse_constant=pytest.fail)
    assert found == {'psnr': {'denoised': None, 'noisy': 20.5, 'images': 2}, 'iou': None}


def test_absent_classes_are_said_to_be_absent(
        pretrained: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In the terminal, by both commands, and in the files."""
    many, masks = tmp_path / 'many', tmp_path / 'masks'
    for kind in ('train', 'test'):
        for folder in (many / kind, masks / kind / 'images', masks / kind / 'masks'):
            folder.mkdir(parents=True)
        for i in range(4):
            Image.linear_gradient('L').resize((32, 32)).rotate(90 * i).save(many / kind / f'{kind}{i}.png')
            Image.linear_gradient('L').resize((32, 32)).rotate(80 * i).save(masks / kind / 'images' / f'{kind}{i}.png')
            mask = np.zeros((32, 32), np.uint8)
            mask[:9] = 1
            Image.fromarray(mask).save(masks / kind / 'masks' / f'{kind}{i}.png')
    (many / 'train' / 'labels.csv').write_text('image,day,night\n' + ''.join(
        f'train{i}.png,{i % 2},{i // 2}\n' for i in range(4)))
    (many / 'test' / 'labels.csv').write_text('image,day,night\n' + ''.join(
        f'test{i}.png,{i % 2},0\n' for i in range(4)))
    (masks / 'classes.txt').write_text('ground\nsky\nsnow\n')
    for command, folder, key, what in (
            ('finetune', many, 'average_precision', 'night absent: no such image'),
            ('segment', masks, 'iou', 'snow absent: no such pixel')):
        out = tmp_path / command
        capsys.readouterr()
        assert run(command, folder, '--from', pretrained, *SMALL, '--epochs', '2', '-o', out) == 0
        printed = capsys.readouterr().out
        assert what in printed
        checkpoint = open_folder(out)
        assert checkpoint.metrics[key][what.split()[0]] is None
        assert run('evaluate', out, '--data', folder) == 0
        printed += capsys.readouterr().out
        assert ' '.join(printed.split()).count(what) == 2
        total = len(checkpoint.metrics[key])
        assert f' over {total - 1} of {total} classes' in printed
        card = checkpoint.read('README.md').decode()
        assert not [word for word in ('nan', 'None') for text in (printed, card) if word in text]


def test_evaluation_says_whose_classes_are_whose(
        data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run('evaluate', DEFAULT, '--data', data / 'classes') == 2
    message = capsys.readouterr().err
    assert 'only the images have eel (1 of 3 classes); only the network knows ' in message
    assert 'airplane' in message.partition('network knows')[2]
    folder = Path(shutil.copytree(finding.find(DEFAULT).folder, tmp_path / DEFAULT))
    edit(folder / 'config.json', without_names)
    assert run('evaluate', folder, '--data', data / 'classes') == 2
    assert 'the images have cat, dog, eel; the network knows 10, without names' in capsys.readouterr().err
