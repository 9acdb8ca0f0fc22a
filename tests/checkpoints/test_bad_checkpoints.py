"""What the checkpoint store says of bad input, and that nothing half-loaded or half-written is left."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from scae_zoo import CheckpointError, create_autoencoder, create_segmenter
from scae_zoo.checkpoints import finding
from scae_zoo.checkpoints.writing import write

from ..support.checkpoint_folders import ARCHITECTURE, NOTES, edit, same, write_autoencoder
from ..support.networks import DEFAULT, SHIPPED


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) * 3 // 4] ^= 1
    path.write_bytes(data)


def empty(path: Path) -> None:
    path.write_bytes(b'')


def pickled(path: Path) -> None:
    torch.save({'a': torch.zeros(2)}, path)


def pickled_unlisted(path: Path) -> None:
    (path.parent / 'manifest.json').unlink()
    pickled(path)


def truncated_unlisted(path: Path) -> None:
    (path.parent / 'manifest.json').unlink()
    truncate(path)


def only_a_pickle(path: Path) -> None:
    path.unlink()
    torch.save({'a': torch.zeros(2)}, path.parent / 'pytorch_model.bin')


FAULTS: list[tuple[Callable[[Path], None], str]] = [
    (truncate, 'bytes instead of'),
    (flip_a_bit, 'sha256'),
    (empty, 'bytes instead of'),
    (pickled, 'bytes instead of'),
    (pickled_unlisted, 'pickle'),
    (truncated_unlisted, 'not a whole safetensors file'),
    (Path.unlink, 'not found'),
    (only_a_pickle, 'pickles are never loaded'),
    (lambda path: path.rename(path.parent / 'weights.safetensors') and None, 'not found'),
]


@pytest.mark.parametrize(('fault', 'message'), FAULTS)
@pytest.mark.parametrize('file', ['model.safetensors', 'decoder.safetensors'])
def test_damage_is_named(
        checkpoint_folder: Path,
        monkeypatch: pytest.MonkeyPatch,
        fault: Callable[[Path], None],
        message: str,
        file: str,
) -> None:
    fault(checkpoint_folder / file)
    monkeypatch.setenv('SCAE_ZOO_CHECKPOINTS', str(checkpoint_folder.parent))
    loaders: list[Callable[[], object]] = [
        lambda: create_autoencoder(SHIPPED, pretrained=True),
        lambda: create_autoencoder(ARCHITECTURE, weights=str(checkpoint_folder)),
        lambda: create_segmenter(SHIPPED, 5),
    ]
    if file == 'model.safetensors':
        loaders += [
            lambda: timm.create_model(SHIPPED, pretrained=True),
            lambda: timm.create_model(f'local-dir:{checkpoint_folder}', pretrained=True),
            lambda: timm.create_model(SHIPPED, pretrained=True, num_classes=10),
            lambda: timm.create_model(SHIPPED, pretrained=True, features_only=True),
        ]
    for load in loaders:
        with pytest.raises(CheckpointError, match=message) as caught:
            load()
        text = str(caught.value)
        assert '\n' not in text
        assert str(checkpoint_folder / file) in text
        recipe = 'recipes/cifar10_4k_labels.py' if (checkpoint_folder / 'manifest.json').exists() else 'recipe'
        for way_out in ('download', 'SCAE_ZOO_CHECKPOINTS', recipe):
            assert way_out in text


@pytest.mark.parametrize('content', ['', '[]', '{}', '{"architecture": 1}', 'nonsense'])
def test_damaged_configuration(checkpoint_folder: Path, content: str) -> None:
    (checkpoint_folder / 'manifest.json').unlink()
    (checkpoint_folder / 'config.json').write_text(content)
    with pytest.raises(CheckpointError, match='config.json'):
        create_autoencoder(ARCHITECTURE, weights=str(checkpoint_folder))


@pytest.mark.parametrize('change', [
    {'decoder': {}}, {'decoder': [1]}, {'decoder': 'yes'}, {'decoder': {'shortcuts': 'no', 'num_classes': None}},
    {'decoder': {'shortcuts': True}}, {'decoder': {'shortcuts': True, 'num_classes': 0}},
    {'decoder': {'shortcuts': True, 'num_classes': '5'}},
    {'pretrained_cfg': None}, {'pretrained_cfg': []}, {'pretrained_cfg': {'no_such_key': 1}},
    {'pretrained_cfg': {'input_size': 3}}, {'pretrained_cfg': {'input_size': [3, 29]}},
    {'pretrained_cfg': {'std': None}}, {'pretrained_cfg': {'mean': 'grey'}}, {'num_classes': 'ten'},
])
def test_configuration_that_nobody_wrote(checkpoint_folder: Path, change: dict[str, Any]) -> None:
    edit(checkpoint_folder / 'config.json', lambda config: {**config, **change})
    for load in (create_autoencoder, lambda *args, **kwargs: create_segmenter(*args, 5, **kwargs)):
        with pytest.raises(CheckpointError, match='config.json') as caught:
            load(ARCHITECTURE, weights=checkpoint_folder)
        assert '\n' not in str(caught.value)


@pytest.mark.parametrize('shape', [(5, 3, 3, 3), (96,), (96, 7, 3, 3), (96, 3, 5, 5), None])
@pytest.mark.parametrize('file', ['model.safetensors', 'decoder.safetensors'])
def test_layer_at_the_image_that_does_not_fit(
        checkpoint_folder: Path, file: str, shape: tuple[int, ...] | None) -> None:
    key = 'blocks.0.conv.weight' if file == 'model.safetensors' else 'head.weight'
    new = {} if shape is None else {key: torch.zeros(shape)}
    edit(checkpoint_folder / file, lambda state: {k: v for k, v in state.items() if k != key} | new)
    for in_chans in (3, 1, 5):
        with pytest.raises(CheckpointError, match=f'{file}.* does not fit the architecture: {key}'):
            create_autoencoder(ARCHITECTURE, weights=checkpoint_folder, in_chans=in_chans)
        if file == 'model.safetensors':
            with pytest.raises(CheckpointError, match=f'{file}.* does not fit the architecture: {key}'):
                timm.create_model(f'local-dir:{checkpoint_folder}', pretrained=True, in_chans=in_chans)


def test_network_for_other_images(tmp_path: Path) -> None:
    model = write_autoencoder(tmp_path / 'grey', in_chans=1)
    assert same(create_autoencoder(ARCHITECTURE, weights=tmp_path / 'grey', in_chans=1), model, 1e-3)
    assert create_autoencoder(ARCHITECTURE, weights=tmp_path / 'grey')(torch.randn(1, 3, 20, 24)).shape[1] == 3


def test_classifier_that_does_not_fit(tmp_path: Path) -> None:
    write(tmp_path / 'mine', timm.create_model(f'{ARCHITECTURE}.untrained', num_classes=4), **NOTES)
    edit(tmp_path / 'mine' / 'model.safetensors', lambda state: {**state, 'head.fc.bias': torch.zeros(5)})
    with pytest.raises(CheckpointError, match=r'head.fc.bias is \(5,\) in the file and \(4,\)'):
        timm.create_model(f'local-dir:{tmp_path / "mine"}', pretrained=True)


def test_the_defaults_damaged_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('SCAE_ZOO_CHECKPOINTS', str(tmp_path))
    folder = Path(shutil.copytree(finding.WEIGHTS / DEFAULT, tmp_path / DEFAULT))
    edit(folder / 'model.safetensors', lambda state: {k: v for k, v in state.items() if k != 'head.fc.bias'})
    for name in (ARCHITECTURE, DEFAULT):
        with pytest.raises(CheckpointError, match=f'{folder}.*head.fc.bias is missing in the file'):
            timm.create_model(name, pretrained=True)
    assert timm.create_model(ARCHITECTURE, pretrained=True, num_classes=5).num_classes == 5  # the rest is whole


@pytest.mark.parametrize('content', ['', '[]', '{}', *(
    json.dumps({'name': SHIPPED, 'files': files}) for files in (
        3, {}, {'model.safetensors': 3}, {'config.json': {'sha256': '', 'bytes': 1}})), *(
    json.dumps({'name': name, 'files': {'model.safetensors': {'sha256': '', 'bytes': 1}}})
    for name in ('', '..', 'a/b', '/a', 3))])
def test_damaged_manifest(checkpoint_folder: Path, content: str) -> None:
    (checkpoint_folder / 'manifest.json').write_text(content)
    with pytest.raises(CheckpointError, match='manifest.json'):
        create_autoencoder(ARCHITECTURE, weights=str(checkpoint_folder))


def test_renamed_folder_is_refused(checkpoint_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('SCAE_ZOO_CHECKPOINTS', str(checkpoint_folder.parent))
    renamed = checkpoint_folder.rename(checkpoint_folder.parent / f'{ARCHITECTURE}.other')
    for load in (
            lambda: create_autoencoder(f'{ARCHITECTURE}.other', pretrained=True),
            lambda: create_autoencoder(ARCHITECTURE, weights=renamed),
            lambda: timm.create_model(f'local-dir:{renamed}', pretrained=True)):
        with pytest.raises(CheckpointError, match=f'{ARCHITECTURE}.other/?: holds {SHIPPED}.*Ways out'):
            load()
    neutral = renamed.rename(checkpoint_folder.parent / 'download')  # claims to be no checkpoint in particular
    assert finding.find(ARCHITECTURE, neutral).name == SHIPPED


def test_wrong_architecture_is_refused(checkpoint_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for load in (
            lambda: create_autoencoder('scae_vgg16', weights=str(checkpoint_folder)),
            lambda: create_segmenter('scae_vgg16', 5, weights=str(checkpoint_folder)),
            lambda: timm.create_model('scae_vgg16', pretrained=True, pretrained_cfg_overlay={
                'file': str(checkpoint_folder / 'model.safetensors')})):
        with pytest.raises(CheckpointError, match='scae_springenberg9, not scae_vgg16'):
            load()
    renamed = Path(shutil.copytree(checkpoint_folder, checkpoint_folder.parent / 'scae_vgg16.dae'))
    bare = checkpoint_folder.parent / 'bare.safetensors'
    (checkpoint_folder / 'model.safetensors').rename(bare)
    for classes in (0, 10):
        with pytest.raises(CheckpointError, match='bare.safetensors: does not fit the architecture'):
            timm.create_model('scae_vgg16', pretrained=True, num_classes=classes,
                              pretrained_cfg_overlay={'file': str(bare), 'num_classes': 0})
    (renamed / 'manifest.json').unlink()
    monkeypatch.setenv('SCAE_ZOO_CHECKPOINTS', str(renamed.parent))
    with pytest.raises(CheckpointError, match='scae_springenberg9, not scae_vgg16'):
        create_autoencoder('scae_vgg16.dae', pretrained=True)


def test_no_pickle_is_loaded_from_a_path(tmp_path: Path) -> None:
    path = tmp_path / 'weights.pth'
    torch.save(timm.create_model(ARCHITECTURE).state_dict(), path)
    with pytest.raises(CheckpointError, match='pickles are never loaded'):
        timm.create_model(ARCHITECTURE, pretrained=True, pretrained_cfg_overlay={'file': str(path)})


@pytest.mark.usefixtures('_without_swwae')
@pytest.mark.parametrize(('load', 'message'), [
    (lambda: create_autoencoder('scae_swwae', pretrained=True), 'scae_swwae'),
    (lambda: create_autoencoder(f'{ARCHITECTURE}.no_such', pretrained=True), SHIPPED),
    (lambda: create_autoencoder(ARCHITECTURE, weights='no_such'), SHIPPED),
    (lambda: create_autoencoder(f'{ARCHITECTURE}.no_such'), 'no_such: no such checkpoint'),
    (lambda: create_segmenter(f'{ARCHITECTURE}.no_such', 5, 'random'), 'no_such: no such checkpoint'),
    (lambda: create_autoencoder(ARCHITECTURE, weights='/no/such/folder'), 'not found'),
    (lambda: create_segmenter(ARCHITECTURE, pretrained=True), 'segmenter'),
    (lambda: timm.create_model(ARCHITECTURE, pretrained=True, pretrained_cfg_overlay={'file': '/no/such.safetensors'}),
     'not found'),
    *((lambda given=overlay: timm.create_model(ARCHITECTURE, pretrained=True, pretrained_cfg_overlay=given), message)
      for overlay, message in (
          ({'hf_hub_id': 'a/b', 'source': 'hf-hub'}, 'a/b'), ({'hf_hub_id': 'a/b', 'file': None}, 'a/b'),
          ({'hf_hub_id': 'a/b'}, 'a/b'), ({'hf_hub_id': 'a/b', 'hf_hub_filename': 'c.bin'}, 'c.bin.*pickles'),
          ({'url': 'https://a/b.pth'}, 'https://a/b.pth'))),
])
def test_what_is_not_there_is_named(load: Callable[[], object], message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        load()
    assert '\n' not in str(caught.value)


def test_unknown_architecture() -> None:
    with pytest.raises(ValueError, match='scae_vgg16'):
        create_autoencoder('scae_vgg61')
