"""The recipe of the photographs: what it looks for before it trains, what its tables keep, what it draws and ships."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scae_zoo import create_autoencoder
from scae_zoo.checkpoints.folder import open_folder
from scae_zoo.checkpoints.writing import write
from scae_zoo.cli import main
from scae_zoo.data.sources import VOC_CLASSES
from scae_zoo.experiments import experiment, sample_images
from scae_zoo.images import CLASS_COLOURS

from .support.checkpoint_folders import NOTES
from .support.recipe_runs import Smoke, narrow_networks, run

SEGMENTER = 'scae_vgg16.dae_seg_voc2012sub'
WORDNET_IDS = ('n01440764', 'n02102040', 'n02979186')
FOLDERS = {'--unlabelled': 'imagenette160', '--labels': 'voc2012sub_labels', '--data-dir': 'voc2012subaug'}


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """A few images in the folders that the recipe takes."""
    sample_images.write_classes(tmp_path / 'imagenette160', 40, 12, WORDNET_IDS)
    sample_images.write_multi_label(tmp_path / 'voc2012sub_labels', 40, 12, VOC_CLASSES)
    sample_images.write_masks(tmp_path / 'voc2012subaug', 40, 12, ('background', *VOC_CLASSES))
    return tmp_path


def given(folders: Path) -> list[str]:
    return [word for option, name in FOLDERS.items() for word in (option, str(folders / name))]


def rows(out: Path) -> tuple[list[str], list[str]]:
    """Those of the classifiers' and of the segmenters' table."""
    classifiers, segmenters = (list(json.loads((folder / 'results.json').read_text()))
                               for folder in (out, out / 'segmentation'))
    return classifiers, segmenters


def test_rows_of_earlier_starts(folders: Path) -> None:
    """They stay in both tables, where they are of the same settings, images and auto-encoder."""
    out, data = folders / 'out', given(folders)
    first, control = 'segmenter, encoder', 'segmenter, encoder and decoder, no shortcut, a quarter of the labels'
    last = 'segmenter, random Gaussian, a quarter of the labels'

    def start(*names: str, others: tuple[str, ...] = ()) -> tuple[list[str], list[str]]:
        chosen = [re.sub('[^a-z]+', '-', name.lower()) for name in names]
        result = run('photographs', out, *data, *others, '--rows', *chosen)
        assert result.returncode == 0, result.stderr
        return rows(out)

    assert start('pre-training', first) == (['pre-training'], [first])
    assert start('pre-training, no shortcut', control) == (
        ['pre-training, no shortcut', 'pre-training'], [control, first])
    assert start('random Gaussian', last) == (
        ['random Gaussian', 'pre-training, no shortcut', 'pre-training'], [last, control, first])
    table = (out / 'segmentation' / 'results.md').read_text()
    assert table.index(f'| {last} |') < table.index(f'| {control} |') < table.index(f'| {first} |')

    recipe = out / 'segmentation' / 'segmenter-encoder-seed0' / SEGMENTER / 'recipe.yaml'
    as_made = recipe.read_text()
    for changed in (as_made.replace('max_scale: 1.0', 'max_scale: 1.5'),
                    re.sub('(model.safetensors): .*', r'\1: 0123456789abcdef', as_made)):
        assert changed != as_made
        recipe.write_text(changed)
        assert start('random Gaussian', last)[1] == [last, control]  # of other settings, of another auto-encoder
    recipe.write_text(as_made)
    assert start('random Gaussian', last)[1] == [last, control, first]
    for option, row in (('--unlabelled', last), ('--data-dir', 'segmenter, random Gaussian')):
        less = Path(shutil.copytree(folders / FOLDERS[option], folders / f'less{option}'))
        for path in (less / 'train').rglob('000.png'):  # an image, and its mask
            path.unlink()
        assert start('random Gaussian', row, others=(option, str(less)))[1] == [row]


@pytest.mark.parametrize(('option', 'fault'), [
    *((option, fault) for option in FOLDERS for fault in ('missing', 'no val')),
    ('--labels', 'no table'), ('--labels', 'other classes'), ('--data-dir', 'no masks'), ('--unlabelled', 'no splits'),
])
def test_wrong_data_are_found_before_the_training(option: str, fault: str, folders: Path) -> None:
    wrong = folders / FOLDERS[option]
    if fault == 'missing':
        wrong.rename(folders / 'elsewhere')
    elif fault == 'no val':
        (wrong / 'test').rename(folders / 'elsewhere')
    elif fault == 'no table':
        (wrong / 'test' / 'labels.csv').unlink()
    elif fault == 'no masks':
        shutil.rmtree(wrong / 'test' / 'masks')
    elif fault == 'no splits':
        (wrong / 'train').rename(folders / 'imagenette')
        shutil.rmtree(wrong)
        (folders / 'imagenette').rename(wrong)
    else:
        table = wrong / 'test' / 'labels.csv'
        table.write_text(table.read_text().replace('aeroplane', 'airship'))
    refused = run('photographs', folders / 'out', *given(folders))
    assert refused.returncode in (1, 2)
    assert f'error: {option} {wrong}' in refused.stderr
    assert len(refused.stderr.splitlines()) == 1 or refused.returncode == 2
    assert not list((folders / 'out').rglob('run.json'))


def test_data_that_no_row_needs_may_be_missing(folders: Path) -> None:
    for name in ('imagenette160', 'voc2012sub_labels'):
        shutil.rmtree(folders / name)
    result = run('photographs', folders / 'out', *given(folders), '--rows', 'segmenter-random-gaussian')
    assert result.returncode == 0, result.stderr


def test_an_auto_encoder_that_is_there(folders: Path) -> None:
    """It is not trained again, and its images are not needed; what starts from another one is no row of the table."""
    shutil.rmtree(folders / 'imagenette160')
    with narrow_networks():
        for tag, shortcuts in (('mine', True), ('control', False)):
            model = create_autoencoder('scae_vgg16', shortcuts=shortcuts)
            write(folders / f'scae_vgg16.{tag}', model.encoder, model.decoder, **NOTES)
    out, row = folders / 'out', 'segmenter, encoder and decoder, a quarter of the labels'
    start = [*given(folders), '--from']
    chosen = ['--rows', 'pre-training', re.sub('[^a-z]+', '-', row)]
    result = run('photographs', out, *start, str(folders / 'scae_vgg16.mine'), *chosen)
    assert result.returncode == 0, result.stderr
    assert rows(out) == (['pre-training'], [row])
    assert result.stdout.count('epoch 1 ') == 2
    started = json.loads(next(out.glob('segmentation/*/run.json')).read_text())
    assert started['from']['name'] == 'scae_vgg16.mine'
    without = run('photographs', out, *given(folders), '--rows', 'random-gaussian', 'segmenter-random-gaussian')
    assert without.returncode == 0, without.stderr
    assert rows(out) == (['random Gaussian'], ['segmenter, random Gaussian'])
    for other, fault in (('scae_allconv15.dae_cifar10', 'is for scae_allconv15, not scae_vgg16; '),
                         ('scae_vgg16.none', '--from scae_vgg16.none: no such checkpoint'),
                         (str(folders / 'scae_vgg16.control'), '--from scae_vgg16.control: has no shortcuts; ')):
        refused = run('photographs', out, *start, other)
        assert refused.returncode == 1
        assert fault in refused.stderr


def test_cards_name_the_data(folders: Path) -> None:
    result = run('photographs', folders / 'out', *given(folders), '--rows', 'pre-training', 'segmenter-encoder')
    assert result.returncode == 0, result.stderr
    for kind, name in (('dae_imagenette', 'imagenette160'), ('dae_ft_voc2012sub', 'voc2012sub_labels'),
                       ('dae_seg_voc2012sub', 'voc2012subaug')):
        card = next((folders / 'out').rglob(f'scae_vgg16.{kind}/README.md')).read_text()
        assert f'datasets:\n- {name}\n' in card
        assert re.search(rf'dataset:\n +type: {name}$', card, re.MULTILINE)  # measured on


def test_help(tmp_path: Path) -> None:
    shown = ' '.join(run('photographs', tmp_path, '--help').stdout.split())
    assert "--data DATA VOC's images with masks: " in shown
    assert 'no-pre-training' not in shown  # a row that it does not have


def test_a_quarter_of_the_images(ended: Callable[[str], Smoke]) -> None:
    folder = ended('photographs').out / 'segmentation'
    whole, quarter = (json.loads((folder / f'segmenter-encoder{row}-seed0' / 'run.json').read_text())
                      for row in ('', '-a-quarter-of-the-labels'))
    assert (whole['images'], quarter['images']) == (24, 6)
    assert quarter['test'] == whole['test']


def test_scaled_images_are_measured_on_as_evaluate_does(
        ended: Callable[[str], Smoke], capsys: pytest.CaptureFixture[str]) -> None:
    folder = ended('photographs').out / 'segmentation' / 'segmenter-encoder-seed0'
    recorded = open_folder(folder / SEGMENTER).metrics['mean_iou']
    assert recorded['size'] == 30
    test = next((folder.parents[1] / 'data').glob('masks*/'))
    with narrow_networks():
        assert main(['evaluate', str(folder), '--data', str(test), '--size', '30', '--json']) == 0
    found = json.loads(capsys.readouterr().out)
    assert found['card']['mean_iou'] == recorded
    assert found['measured']['mean_iou']['value'] == pytest.approx(recorded['value'], abs=0.1)


def test_pictures(ended: Callable[[str], Smoke]) -> None:
    """Six images, each with its mask in VOC's colours and the prediction in these."""
    out = ended('photographs').out
    picture = Image.open(out / 'segmentation' / 'pictures.png').convert('RGB')
    assert picture.size == (1032, 681)
    masks = sorted((out / 'data').glob('masks*/test/masks/*.png'))[::4]
    truth = {tuple(CLASS_COLOURS[i].tolist()) for path in masks for i in np.unique(np.asarray(Image.open(path)))}

    def colours(place: int) -> set:
        corners = [(left + 166 * place, top) for left in (12, 522) for top in (58, 249, 440)]
        panels = [picture.crop((left, top, left + 160, top + 160)) for left, top in corners]
        return {colour for panel in panels for _, colour in panel.getcolors(160 * 160)}

    assert colours(1) == truth
    assert colours(2) <= set(map(tuple, CLASS_COLOURS[:21].tolist()))
    assert not colours(0) <= set(map(tuple, CLASS_COLOURS.tolist()))


def test_ship(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The three of the method; no control."""
    shipped = folders / 'weights'
    shipped.mkdir()
    monkeypatch.setattr(experiment, 'WEIGHTS', shipped)
    monkeypatch.setattr(experiment, 'update_manifest', lambda: None)
    ship = ('--ship', '--budget', 'cpu', '--seeds', '0', '--rows', 'pre-training', 'segmenter-encoder-and-decoder',
            'segmenter-encoder-and-decoder-no-shortcut-a-quarter-of-the-labels')
    result = run('photographs', folders / 'out', *given(folders), *ship)
    assert result.returncode == 0, result.stderr
    assert sorted(folder.name for folder in shipped.iterdir()) == [
        'scae_vgg16.dae_ft_voc2012sub', 'scae_vgg16.dae_imagenette', SEGMENTER]
    for option, name in FOLDERS.items():
        (folders / name).rename(folders / f'my_{name}')
        result = run('photographs', folders / 'other', *given(folders), option, str(folders / f'my_{name}'), *ship)
        assert result.returncode == 1
        assert re.search(f'error: --ship: .*my_{name} is not ', result.stderr)
        (folders / f'my_{name}').rename(folders / name)
