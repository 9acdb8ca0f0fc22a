"""A checkpoint's folder by itself, without a network: what is read from it, and what is refused."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from scae_zoo.checkpoints.folder import Checkpoint, lists_files, misfit, open_folder, shapes
from scae_zoo.errors import CheckpointError

from ..support.checkpoint_folders import edit

NAME = 'scae_swwae.mine'
TENSORS = {'a.weight': torch.arange(6.).view(2, 3), 'b.bias': torch.ones(2, dtype=torch.float16)}
CFG = {'input_size': [1, 40, 30], 'mean': [0.5], 'std': [0.25], 'crop_pct': 0.9, 'num_classes': 3}
CONFIG = {'architecture': 'scae_swwae', 'num_classes': 3, 'pretrained_cfg': CFG}
AUTOENCODER, SEGMENTER = ({'shortcuts': True, 'num_classes': n} for n in (None, 1))


def write_config(folder: Path, **changes: Any) -> Checkpoint:
    (folder / 'config.json').write_text(json.dumps({**CONFIG, **changes}))
    return open_folder(folder)


def write_manifest(folder: Path, name: str = NAME) -> Checkpoint:
    files = {path.name: {'sha256': hashlib.sha256(path.read_bytes()).hexdigest(), 'bytes': path.stat().st_size}
             for path in folder.iterdir()}
    (folder / 'manifest.json').write_text(json.dumps({'name': name, 'recipe': 'scae pretrain x', 'files': files}))
    return open_folder(folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A classifier's, as others write it: without a manifest."""
    (tmp_path / NAME).mkdir()
    save_file(TENSORS, tmp_path / NAME / 'model.safetensors')
    write_config(tmp_path / NAME)
    return tmp_path / NAME


def test_what_is_in_it(folder: Path) -> None:
    for checkpoint in (open_folder(folder), open_folder(folder / 'model.safetensors'), write_manifest(folder)):
        assert checkpoint.name == NAME
        assert checkpoint.folder == folder
        torch.testing.assert_close(checkpoint.tensors('model.safetensors'), TENSORS, rtol=0, atol=0)
        assert checkpoint.sha256('model.safetensors') == hashlib.sha256(
            (folder / 'model.safetensors').read_bytes()).hexdigest()
        assert checkpoint.architecture == 'scae_swwae'
        assert checkpoint.in_chans == 1
        cfg = checkpoint.pretrained_cfg
        assert (cfg.input_size, cfg.mean, cfg.std, cfg.num_classes) == ((1, 40, 30), (0.5,), (0.25,), 3)
        assert (cfg.file, cfg.source) == (str(folder / 'model.safetensors'), None)
        checkpoint.verify('scae_swwae')
    assert checkpoint.recipe == 'scae pretrain x'


def test_ways_out(folder: Path) -> None:
    """The recipe is named where the manifest names it."""
    for checkpoint, again in ((open_folder(folder), 'the recipe that made it'), (
            write_manifest(folder), 'scae pretrain x')):
        text = str(checkpoint.error('x', 'is bad'))
        assert text.startswith(f'{folder / "x"}: is bad. Ways out: download {NAME} again; give another folder')
        assert '$SCAE_ZOO_CHECKPOINTS' in text
        assert text.endswith(f'; or make it again with {again}')
    manifest = json.loads((folder / 'manifest.json').read_text())
    del manifest['recipe']
    (folder / 'manifest.json').write_text(json.dumps(manifest))
    assert open_folder(folder).recipe == ''
    with pytest.raises(CheckpointError, match='make it again with the recipe that made it$'):
        open_folder(folder).read('new')


def test_files_that_cannot_be_read(folder: Path) -> None:
    checkpoint = open_folder(folder)
    with pytest.raises(CheckpointError, match=r'decoder.safetensors: not found\. Ways out'):
        checkpoint.read('decoder.safetensors')
    (folder / 'metrics.json').mkdir()
    with pytest.raises(CheckpointError, match=r'metrics.json: cannot be read \(Is a directory\)'):
        checkpoint.read('metrics.json')
    for suffix in ('bin', 'pth', 'pt', 'pkl', 'ckpt'):
        (folder / f'weights.{suffix}').touch()
        with pytest.raises(CheckpointError, match=f'not found, only weights.{suffix}; pickles are never loaded'):
            checkpoint.read('decoder.safetensors')
        (folder / f'weights.{suffix}').unlink()


def test_files_that_are_not_the_recorded_ones(folder: Path) -> None:
    checkpoint = write_manifest(folder)
    (folder / 'new').touch()
    for ask in (checkpoint.read, checkpoint.sha256):
        with pytest.raises(CheckpointError, match=f'new: not part of {NAME}'):
            ask('new')
    path = folder / 'model.safetensors'
    data = path.read_bytes()
    recorded = checkpoint.sha256('model.safetensors')
    for changed, fault in ((data[:-1], f'has {len(data) - 1} bytes instead of {len(data)}, as a broken-off copy has'),
                           (data[:-1] + b'?', 'its sha256 is not the recorded one')):
        path.write_bytes(changed)
        with pytest.raises(CheckpointError, match=fault):
            checkpoint.read('model.safetensors')
        assert checkpoint.sha256('model.safetensors') == recorded  # it is known without the file


@pytest.mark.parametrize('start', [b'PK', b'\x80\x02', b'\x80\x03', b'\x80\x04', b'\x80\x05', b'\x80\x06', b''])
def test_no_tensors(folder: Path, start: bytes) -> None:
    (folder / 'model.safetensors').write_bytes(start + b'rest')
    is_pickle = start not in (b'\x80\x06', b'')
    with pytest.raises(CheckpointError, match='is a pickle under another' if is_pickle else 'is not a whole safetens'):
        open_folder(folder).verify('scae_swwae')


def test_kinds(folder: Path) -> None:
    kinds = {'classifier': None, 'autoencoder': AUTOENCODER, 'segmenter': SEGMENTER}
    articles = {'classifier': 'a', 'autoencoder': 'an', 'segmenter': 'a'}
    for kind, decoder in kinds.items():
        checkpoint = write_config(folder, decoder=decoder)
        assert checkpoint.kind == kind
        for asked in (None, '', kind):
            checkpoint.require(asked)
        for other in kinds.keys() - {kind}:
            with pytest.raises(CheckpointError, match=(
                    f'{NAME}: holds {articles[kind]} {kind}, not {articles[other]} {other}; ')):
                checkpoint.require(other)
    with pytest.raises(CheckpointError, match=f'{NAME}: is for scae_swwae, not scae_vgg16; '):
        checkpoint.require_architecture('scae_vgg16')
    with pytest.raises(CheckpointError, match='config.json: pretrained_cfg is not'):
        write_config(folder, pretrained_cfg=3).require_architecture('scae_swwae')


@pytest.mark.parametrize(('text', 'fault'), [
    ('{', 'is not JSON'), ('[]', 'is not a JSON object'), ('{}', 'does not name an architecture'),
    ('{"architecture": 3}', 'does not name an architecture')])
def test_configurations_of_nothing(folder: Path, text: str, fault: str) -> None:
    (folder / 'config.json').write_text(text)
    with pytest.raises(CheckpointError, match=f'config.json: {fault}'):
        open_folder(folder).pretrained_cfg  # noqa: B018


@pytest.mark.parametrize('change', [
    {'shortcuts': 1}, {'shortcuts': None}, {'num_classes': 0}, {'num_classes': -1}, {'num_classes': True},
    {'num_classes': 2.}, {'num_classes': 'two'}])
def test_decoders_that_there_are_not(folder: Path, change: dict[str, Any]) -> None:
    key, = change
    for decoder in ({**SEGMENTER, **change}, {k: v for k, v in SEGMENTER.items() if k != key}, [], 'yes'):
        with pytest.raises(CheckpointError, match='config.json: decoder must have shortcuts, true or false, and num_'):
            write_config(folder, decoder=decoder).config  # noqa: B018
    assert write_config(folder, decoder={**SEGMENTER, 'more': 1}).kind == 'segmenter'


@pytest.mark.parametrize('change', [
    *({'input_size': size} for size in (
        [0, 9, 9], [3, 0, 9], [3, 9, 0], [3, -9, 9], [3., 9, 9], [3, 9., 9], [3, 9, 9.])),
    {'num_classes': -1}, {'num_classes': 2.5}, {'crop_pct': 0}, {'crop_pct': -1}, {'mean': [0.5, 0.5]},
    {'mean': [float('nan')]}, {'mean': [-1]}, {'std': [0]}, {'std': [-1]}])
def test_networks_that_there_cannot_be(folder: Path, change: dict[str, Any]) -> None:
    checkpoint = write_config(folder, pretrained_cfg={**CFG, **change}, num_classes=change.get('num_classes', 3))
    with pytest.raises(CheckpointError, match='config.json: pretrained_cfg has a size, a crop, mean and std, or num'):
        checkpoint.pretrained_cfg  # noqa: B018


def test_networks_that_there_can_be(folder: Path) -> None:
    for change in ({'input_size': [1, 1, 1]}, {'num_classes': 0}, {'crop_pct': 1e-3}, {'mean': [0]}, {'std': [1e-3]}):
        cfg = {**CFG, **change}
        found = write_config(folder, pretrained_cfg=cfg, num_classes=cfg['num_classes']).pretrained_cfg
        assert (list(found.input_size), found.num_classes) == (cfg['input_size'], cfg['num_classes'])


def test_what_it_was_made_with(folder: Path) -> None:
    assert open_folder(folder).model_args == {}
    args = {'act_layer': 'silu', 'norm_layer': 'groupnorm', 'global_pool': 'max'}
    assert write_config(folder, model_args={**args, 'num_classes': 3}).model_args == args
    assert write_config(folder, model_args=dict.fromkeys(args, '')).model_args == {}
    for key in args:
        with pytest.raises(CheckpointError, match='config.json: model_args are none of timm'):
            write_config(folder, model_args={key: 'nonsense'}).model_args  # noqa: B018


def test_figures(folder: Path) -> None:
    """None where none was measured, or others wrote the folder; missing where the manifest lists them."""
    for checkpoint in (open_folder(folder), write_manifest(folder)):
        assert checkpoint.metrics == {}
    (folder / 'manifest.json').unlink()
    (folder / 'metrics.json').write_text('{"figure": 1}')
    for checkpoint in (open_folder(folder), write_manifest(folder)):
        assert checkpoint.metrics == {'figure': 1}
    (folder / 'metrics.json').unlink()
    with pytest.raises(CheckpointError, match='metrics.json: not found'):
        open_folder(folder).metrics  # noqa: B018


def test_no_folder(tmp_path: Path) -> None:
    (tmp_path / 'file').touch()
    for name, what in (('file', 'a file'), ('nothing', 'not found')):
        with pytest.raises(CheckpointError, match=rf"{name}: is not a checkpoint's folder \({what}\); give one"):
            open_folder(tmp_path / name)


def test_names_and_manifests(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert open_folder('.').name == NAME  # not nothing, which its path would say
    monkeypatch.setenv('HOME', str(folder.parent))
    assert open_folder(f'~/{NAME}').folder == folder
    for name in ('', '.', '..', 'a/b', '\0', 3):
        with pytest.raises(CheckpointError, match='manifest.json: does not say the name, and sha256 and bytes of each'):
            write_manifest(folder, name)
    with pytest.raises(CheckpointError, match=f'{NAME}/?: holds scae_swwae.his, as its manifest.json says; name the'):
        write_manifest(folder, 'scae_swwae.his')
    for own in ('scae_swwae', 'my.copy'):  # do not name a checkpoint
        folder = folder.rename(folder.parent / own)
        assert open_folder(folder).name == 'scae_swwae.his'


def test_the_folder_of_a_run(folder: Path) -> None:
    run = folder.parent
    (run / 'run.json').touch()
    (run / 'scae_swwae.broken_off').mkdir()
    assert open_folder(run).folder == folder
    (run / 'scae_swwae.broken_off' / 'config.json').touch()
    several = f'holds several checkpoints; name one of {run / "scae_swwae.broken_off"}, {folder}$'
    with pytest.raises(CheckpointError, match=several):
        open_folder(run)
    for made in run.glob('*/config.json'):
        made.unlink()
    with pytest.raises(CheckpointError, match='is a run that has made no checkpoint yet'):
        open_folder(run)


@pytest.mark.parametrize(('files', 'expected'), [
    ({'model.safetensors': {'sha256': '', 'bytes': 1}}, True),
    ({'model.safetensors': {'sha256': '', 'bytes': 1, 'more': 1}, 'x': {'sha256': '', 'bytes': 1}}, True),
    ({'model.safetensors': {'sha256': '', 'bytes': 1}, 'x': {'bytes': 1}}, False),
    ({'model.safetensors': {'sha256': '', 'bytes': 1}, 'x': {'sha256': ''}}, False),
    ({'model.safetensors': 3}, False), ({'x': {'sha256': '', 'bytes': 1}}, False), ({}, False), (None, False),
    (['model.safetensors'], False)])
def test_lists_of_files(files: Any, expected: bool) -> None:
    assert lists_files(files) is expected


def test_what_does_not_fit() -> None:
    have = shapes(TENSORS)
    assert have == {'a.weight': (2, 3), 'b.bias': (2,)}
    assert misfit(have, dict(have)) == ''
    assert misfit(have, {**have, 'b.bias': (3,), 'c': (1,)}) == (
        'does not fit the architecture: b.bias is (2,) in the file and (3,) in the model (2 entries differ)')
    assert misfit(have, {'b.bias': (2,)}) == (
        'does not fit the architecture: a.weight is (2, 3) in the file and unknown in the model (1 entries differ)')
    assert misfit({'b.bias': (2,)}, have).endswith(
        'a.weight is missing in the file and (2, 3) in the model (1 entries differ)')


@pytest.mark.parametrize(('metrics', 'words'), [
    ({'denoising_psnr': {'denoised': 29.042, 'sigma': 25.5}}, '29.04 dB at sigma 25.5'),
    ({'filling_psnr': {'filled_inside': 20.7, 'corruption': 'block:0.25:16'}}, '20.70 dB inside block:0.25:16'),
    ({'training_loss': 0.1}, '')])
def test_the_figure_that_matters(metrics: dict[str, object], words: str, checkpoint_folder: Path) -> None:
    edit(checkpoint_folder / 'metrics.json', lambda _: metrics)
    assert open_folder(checkpoint_folder).headline == words
