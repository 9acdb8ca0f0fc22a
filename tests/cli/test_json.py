"""``--json``: what other programs read of ``scae list``, ``info`` and ``evaluate``."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
from PIL import Image

from scae_zoo.checkpoints import finding
from scae_zoo.checkpoints.finding import WEIGHTS
from scae_zoo.data.sources import VOC_CLASSES
from scae_zoo.experiments import sample_images

from ..support.checkpoint_folders import edit
from ..support.networks import ARCHITECTURES, DEFAULT, SHIPPED
from ..support.training_commands import run

SEGMENTER, TAGGER = 'scae_vgg16.dae_seg_voc2012sub', 'scae_vgg16.dae_ft_voc2012sub'


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """The document that a command prints, and nothing besides."""
    def document(*args: str | Path) -> Any:
        capsys.readouterr()
        assert run(*args, '--json') == 0
        return json.loads(capsys.readouterr().out, parse_constant=pytest.fail)

    return document


def recorded(name: str) -> dict[str, Any]:
    return json.loads((WEIGHTS / name / 'metrics.json').read_text())


@pytest.mark.usefixtures('_without_swwae')
def test_list(printed: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    entries = {entry['name']: entry for entry in printed('list')}
    assert run('list') == 0
    assert list(entries) == [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]]
    assert entries[SHIPPED]['metrics'] == recorded(SHIPPED)
    assert entries[SHIPPED]['bytes'] == sum(path.stat().st_size for path in (WEIGHTS / SHIPPED).glob('*.safetensors'))
    assert entries[SHIPPED]['kind'] == 'autoencoder'
    assert entries[DEFAULT]['shortcuts'] is None
    assert [name for name, entry in entries.items() if entry['shortcuts'] is False] == [
        name for name in entries if 'noskip' in name]
    assert entries['scae_swwae']['kind'] is None
    assert len({tuple(entry) for entry in entries.values()}) == 1  # the same keys


def test_the_defaults_are_what_is_taken(printed: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    defaults = {(entry['architecture'], who): entry['name'] for entry in printed('list') for who in entry['default_of']}
    for architecture in ARCHITECTURES:
        cfg = timm.get_pretrained_cfg(architecture)
        assert defaults.get((architecture, 'timm'), f'{architecture}.untrained') == f'{architecture}.{cfg.tag}'
    trained = {architecture for architecture, _ in defaults}
    assert trained >= {'scae_springenberg9', 'scae_vgg16'}
    for architecture in trained:
        assert defaults[architecture, 'create_autoencoder'] == finding.find(architecture, kind='autoencoder').name
    assert defaults['scae_vgg16', 'create_segmenter'] == SEGMENTER == finding.find('scae_vgg16', kind='segmenter').name
    assert run('list') == 0
    lines = capsys.readouterr().out.splitlines()
    for (_, who), name in defaults.items():
        assert who in next(line for line in lines if line.startswith(f'{name} '))
    assert sum(who in line for line in lines for who in finding.TAKEN_BY) == len(defaults)


def test_list_what_is_damaged_and_what_is_no_number(
        checkpoint_folder: Path, monkeypatch: pytest.MonkeyPatch, printed: Callable[..., Any], capsys) -> None:
    (checkpoint_folder / 'manifest.json').unlink()
    edit(checkpoint_folder / 'metrics.json', lambda metrics: {**metrics, 'theirs': [float('nan'), 1]})
    (checkpoint_folder.parent / 'scae_vgg16.mine').mkdir()
    (checkpoint_folder.parent / 'scae_vgg16.mine' / 'model.safetensors').write_text('none')
    monkeypatch.setenv('SCAE_ZOO_CHECKPOINTS', str(checkpoint_folder.parent))
    entries = {entry['name']: entry for entry in printed('list')}
    assert entries[SHIPPED]['metrics']['theirs'] == [None, 1]
    assert entries['scae_vgg16.mine']['kind'] == 'damaged'
    assert entries['scae_vgg16.mine']['bytes'] is None
    assert run('list', '--json') == 0
    assert capsys.readouterr().err.startswith('scae: warning: ')


@pytest.mark.parametrize(('name', 'checkpoint'), [
    ('scae_springenberg9', DEFAULT), (SHIPPED, SHIPPED), (str(WEIGHTS / SEGMENTER), SEGMENTER)])
def test_info(name: str, checkpoint: str, printed: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    facts = printed('info', name)
    assert facts['name'] == checkpoint
    assert facts['metrics'] == recorded(checkpoint)
    assert facts['files'] == {path.name: path.stat().st_size for path in (WEIGHTS / checkpoint).iterdir()}
    assert (facts['parameters']['decoder'] is None) == (facts['kind'] == 'classifier')
    assert all(other.startswith(facts['architecture']) for other in facts['others'])
    assert run('info', name) == 0
    text = capsys.readouterr().out
    assert f'encoder {facts["parameters"]["encoder"] / 1e6:.2f} M' in text
    assert facts['made_by'] in text
    assert facts['folder'] in text


@pytest.mark.usefixtures('_without_swwae')
def test_info_of_an_architecture_without_weights(printed: Callable[..., Any]) -> None:
    facts = printed('info', 'scae_swwae')
    assert [facts[key] for key in ('name', 'kind', 'folder', 'metrics')] == ['scae_swwae', None, None, {}]
    assert facts['layers'][0] == {'channels': 64, 'kernel_size': 3, 'stride': 2}
    assert facts['input_size'] == [3, 89, 89]


def shown(args: list[str | Path], found: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> str:
    """The text of the same command; the figures are those of the document."""
    capsys.readouterr()
    assert run(*args) == 0
    text = capsys.readouterr().out
    assert text.startswith(f'{found["name"]}: {found["images"]} image')
    assert ('card' in text) == (found['card'] is not None)
    return text


def test_evaluate_an_auto_encoder(tmp_path: Path, printed: Callable[..., Any], capsys) -> None:
    for i in range(3):
        Image.linear_gradient('L').resize((32, 32)).rotate(40 * i).save(tmp_path / f'{i}.png')
    for options, key, noise, sigma, crop in (
            ([], 'denoising_psnr', 'gaussian:25.5', 25.5, None),
            (['--sigma', '10', '--seed', '3'], 'denoising_psnr', 'gaussian:10.0', 10, None),
            (['--crop', '21'], 'denoising_psnr', 'gaussian:25.5', 25.5, 21),
            (['--corruption', 'block:0.25:4'], 'filling_psnr', 'block:0.25:4', None, None)):
        args = ['evaluate', SHIPPED, '--data', tmp_path, *options]
        found = printed(*args)
        assert [found[each] for each in ('images', 'corruption', 'sigma', 'seed', 'crop')] == [
            3, noise, sigma, 3 * ('--seed' in options), crop]
        assert found['data'] == str(tmp_path)
        assert found['card'] == (None if options else {key: recorded(SHIPPED)[key]})
        figures = found['measured'][key]
        assert 'images' not in figures
        text = shown(args, found, capsys)
        assert all(f'{value:.{4 if name.endswith("ssim") else 2}f}' in text for name, value in figures.items())


def test_evaluate_classifiers(tmp_path: Path, printed: Callable[..., Any], capsys) -> None:
    names = finding.find(DEFAULT).pretrained_cfg.label_names
    sample_images.write_classes(tmp_path / 'one', 32, 10, tuple(names))
    args = ['evaluate', DEFAULT, '--data', tmp_path / 'one']
    found = printed(*args)
    assert found['kind'] == 'classifier'
    assert (found['crop'], found['seed'], found['corruption']) == (29, None, None)
    assert found['card'] == {'accuracy': recorded(DEFAULT)['accuracy']}
    assert f'accuracy  {found["measured"]["accuracy"]["value"]:.2f} %' in shown(args, found, capsys)

    sample_images.write_multi_label(tmp_path / 'many', 32, 20, VOC_CLASSES)
    args = ['evaluate', TAGGER, '--data', tmp_path / 'many', '--limit', '1']
    found = printed(*args)
    assert (found['images'], found['crop'], found['crops'], found['seed']) == (1, 161, 10, 0)
    each = found['measured']['average_precision']
    assert tuple(each) == VOC_CLASSES
    text = shown(args, found, capsys)
    assert text.count('absent: no such image') == list(each.values()).count(None) > 0
    assert f'{found["measured"]["mean_average_precision"]["value"]:.2f} %' in text


def test_evaluate_a_segmenter(tmp_path: Path, printed: Callable[..., Any], capsys) -> None:
    sample_images.write_masks(tmp_path, 32, 4, ('background', *VOC_CLASSES))
    args = ['evaluate', SEGMENTER, '--data', tmp_path]
    found = printed(*args)
    assert found['card']['mean_iou'] == recorded(SEGMENTER)['mean_iou']
    assert set(found['measured']['iou']) == {'background', *VOC_CLASSES}
    assert f'mean IoU  {found["measured"]["mean_iou"]["value"]:.2f} %' in shown(args, found, capsys)
    assert found['size'] is None


def test_evaluate_a_segmenter_on_scaled_images(tmp_path: Path, printed: Callable[..., Any], capsys) -> None:
    """On the masks as they are; the card's figure, of images in their own size, is none to compare with."""
    sample_images.write_masks(tmp_path, 32, 4, ('background', *VOC_CLASSES))
    args = ['evaluate', SEGMENTER, '--data', tmp_path, '--size', '48']
    found = printed(*args)
    assert (found['size'], found['card']) == (48, None)
    assert 'images, shorter side scaled to 48\n' in shown(args, found, capsys)
    assert found['measured'] != printed(*args[:-2])['measured']
