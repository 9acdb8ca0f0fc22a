"""Networks saved to a folder and loaded again, as the users of Hugging Face's libraries know it."""

import inspect
import json
import os
import re
import shutil
from pathlib import Path

import pytest
import timm
import torch
import yaml
from huggingface_hub import ModelHubMixin
from timm.utils import reparameterize_model

from scae_zoo import CheckpointError, Scae, ScaeSegmenter, create_autoencoder, create_segmenter
from scae_zoo.checkpoints.finding import WEIGHTS
from scae_zoo.checkpoints.folder import open_folder

from ..support.checkpoint_folders import ARCHITECTURE, edit, same
from ..support.networks import DEFAULT, SHIPPED, randomize
from ..support.training_commands import run


@pytest.mark.parametrize('method', ['save_pretrained', 'push_to_hub', 'from_pretrained'])
def test_signatures_are_those_of_the_mixin(method: str) -> None:
    ours, theirs = ([(each.name, each.kind, each.default) for each in inspect.signature(
        getattr(owner, method)).parameters.values()] for owner in (Scae, ModelHubMixin))
    assert ours == theirs


@pytest.mark.parametrize('changes', [
    {}, {'in_chans': 1}, {'in_chans': 5, 'act_layer': 'silu'}, {'norm_layer': 'groupnorm'}])
def test_autoencoder_comes_back_equal(tmp_path: Path, changes: dict) -> None:
    model = randomize(create_autoencoder(ARCHITECTURE, **changes, shortcuts=not changes))
    model.save_pretrained(tmp_path / 'mine')
    again = Scae.from_pretrained(tmp_path / 'mine')
    assert not again.training
    assert same(again, model)
    assert repr(again) == repr(model)
    x = torch.randn(1, changes.get('in_chans', 3), 30, 41)
    assert torch.equal(again(x), model(x))
    encoder = timm.create_model(f'local-dir:{tmp_path / "mine"}', pretrained=True).eval()
    assert torch.equal(encoder.forward_features(x), model.encode(x)[0])
    again.save_pretrained(tmp_path / 'again')
    assert same(Scae.from_pretrained(str(tmp_path / 'again')), model)


@pytest.mark.parametrize('changes', [{}, {'in_chans': 1, 'act_layer': 'silu'}])
def test_segmenter_comes_back_equal(tmp_path: Path, changes: dict) -> None:
    model = randomize(create_segmenter(ARCHITECTURE, 3, 'random', **changes))
    model.save_pretrained(tmp_path / 'mine', config={'label_names': ['x', 'y', 'z']})
    again = ScaeSegmenter.from_pretrained(tmp_path / 'mine')
    assert same(again, model)
    assert tuple(again.pretrained_cfg['label_names']) == ('x', 'y', 'z')
    other = ScaeSegmenter.from_pretrained(tmp_path / 'mine', num_classes=7)
    assert other.num_classes == 7
    assert 'label_names' not in other.pretrained_cfg
    assert same(other.encoder, model.encoder)


def test_changed_after_it_was_loaded(tmp_path: Path) -> None:
    """Another number of classes than the checkpoint's, which was trained for three channels."""
    start = create_segmenter(SHIPPED, 4, in_chans=1)
    start.save_pretrained(tmp_path / f'{ARCHITECTURE}.mine')
    checkpoint = open_folder(tmp_path / f'{ARCHITECTURE}.mine')
    assert checkpoint.name == f'{ARCHITECTURE}.mine'
    assert checkpoint.pretrained_cfg.tag == 'mine'
    assert same(ScaeSegmenter.from_pretrained(checkpoint.folder), start)


@pytest.mark.parametrize('name', [SHIPPED, ARCHITECTURE])
def test_a_name_is_that_of_a_checkpoint(name: str) -> None:
    model = Scae.from_pretrained(name, device='cpu')
    assert same(model, create_autoencoder(SHIPPED, pretrained=True))
    with pytest.raises(CheckpointError, match='no segmenter of it'):
        ScaeSegmenter.from_pretrained(ARCHITECTURE)


def test_the_folder_is_that_of_a_run(tmp_path: Path) -> None:
    """But for the recipe and the figures, which nobody knows; as small, where the weights allow it."""
    create_autoencoder(SHIPPED, pretrained=True).save_pretrained(tmp_path / 'mine', model_card_kwargs={
        'summary': 'One of mine.', 'dataset': 'cifar10',
        'figures': [{'type': 'psnr', 'name': 'PSNR (dB)', 'value': 29.0}]})
    checkpoint = open_folder(tmp_path / 'mine')
    assert {path.name for path in checkpoint.folder.iterdir()} == {
        'config.json', 'decoder.safetensors', 'manifest.json', 'model.safetensors', 'README.md'}
    for file in ('model.safetensors', 'decoder.safetensors'):
        assert checkpoint.sha256(file) == open_folder(WEIGHTS / SHIPPED).sha256(file)
    _, metadata, text = (checkpoint.folder / 'README.md').read_text().split('---\n', 2)
    assert yaml.safe_load(metadata)['model-index'][0]['results'][0]['metrics'][0]['value'] == 29.0
    assert 'One of mine.' in text
    assert 'Made by' not in text
    create_autoencoder(ARCHITECTURE).save_pretrained(tmp_path / 'mine')  # takes its place
    assert 'model-index' not in (tmp_path / 'mine' / 'README.md').read_text()


def test_refusals(tmp_path: Path) -> None:
    model = create_autoencoder(ARCHITECTURE)
    (tmp_path / 'diary.txt').touch()
    with pytest.raises(CheckpointError, match='holds diary.txt, which would be lost; give a new folder'):
        model.save_pretrained(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ['diary.txt']
    model.save_pretrained(tmp_path / 'mine')
    with pytest.raises(CheckpointError, match='holds an autoencoder, not a segmenter'):
        ScaeSegmenter.from_pretrained(tmp_path / 'mine')
    with pytest.raises(TypeError, match='num_classes: no such argument'):
        Scae.from_pretrained(tmp_path / 'mine', num_classes=3)
    segmenter = create_segmenter(ARCHITECTURE, 3, 'random')
    segmenter.save_pretrained(tmp_path / 'segmenter')
    for classes in (-1, 0):
        with pytest.raises(ValueError, match=f'num_classes must be at least 1, not {classes}'):
            ScaeSegmenter.from_pretrained(tmp_path / 'segmenter', num_classes=classes)
    with pytest.raises(CheckpointError, match='no/thing: model.safetensors could not be downloaded'):
        Scae.from_pretrained('no/thing')
    with pytest.raises(CheckpointError, match='^nothing: is neither a folder nor a name of `scae list`'):
        Scae.from_pretrained('nothing')
    with pytest.raises(ValueError, match='is a folder: give it as weights=, after its architecture'):
        create_autoencoder(str(tmp_path / 'mine'))
    with pytest.raises(CheckpointError, match='holds a classifier, not an autoencoder'):
        Scae.from_pretrained(DEFAULT)


@pytest.mark.parametrize('place', ['./mine', '../mine', '/no/mine', '~/mine', 'my/own/mine', Path('my/mine')])
def test_a_path_is_not_looked_for_on_the_hub(place: str | Path) -> None:
    folder = re.escape(os.path.expanduser(os.path.normpath(place)))
    with pytest.raises(CheckpointError, match=f"^{folder}: is not a checkpoint's folder \\(not found\\)"):
        Scae.from_pretrained(place)


@pytest.mark.parametrize('name', ['no/mine@refs/pr/1', 'hf-hub:no/mine@refs/pr/1'])
def test_a_revision_with_slashes_is_no_path(name: str) -> None:
    with pytest.raises(CheckpointError, match='no/mine: model.safetensors could not be downloaded'):
        Scae.from_pretrained(name)


def test_a_home_folder_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for call in (create_autoencoder(ARCHITECTURE).save_pretrained, Scae.from_pretrained):
        with pytest.raises(ValueError, match='there is no user nobody-of-that-name; give the whole path'):
            call('~nobody-of-that-name/mine')
    assert not any(tmp_path.iterdir())


def test_an_architecture_of_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    create_autoencoder(ARCHITECTURE).save_pretrained(tmp_path / 'mine')
    edit(tmp_path / 'mine' / 'config.json', lambda config: {**config, 'architecture': 'scae_other'})
    fault = f'{tmp_path}/mine/config.json: is for scae_other, not one of this zoo .*{ARCHITECTURE}'
    with pytest.raises(CheckpointError, match=fault):
        Scae.from_pretrained(tmp_path / 'mine')
    assert run('info', tmp_path / 'mine') == 2
    assert re.search(fault, capsys.readouterr().err)


@pytest.mark.parametrize(('config', 'fault'), [
    ({'label_names': {0: 'x', 1: 'y', 2: 'z'}}, 'one for each of the 3 classes in their order, not {0:'),
    ({'label_names': 'xyz'}, "in their order, not 'xyz'"), ({'label_names': [1, 2, 3]}, r'in their order, not \[1, 2'),
    ({'label_names': ['x', 'y']}, 'in their order, not 2 names'),
    ({'labels': ['x', 'y', 'z']}, 'is called label_names'), ({'decoder': None}, 'decoder cannot be given'),
    ({'pretrained_cfg': {'mean': [0]}}, 'pretrained_cfg cannot be given'),
    ({'model_args': {}, 'architecture': 'other'}, 'architecture, model_args cannot be given')])
def test_a_configuration_of_another_network_is_not_written(tmp_path: Path, config: dict, fault: str) -> None:
    """And one that is there stays."""
    model = create_segmenter(ARCHITECTURE, 3, 'random')
    model.save_pretrained(tmp_path / 'mine', config={'label_names': ['x', 'y', 'z'], 'note': 'mine'})
    written = (tmp_path / 'mine' / 'config.json').read_text()
    assert json.loads(written)['note'] == 'mine'
    with pytest.raises(ValueError, match=fault):
        model.save_pretrained(tmp_path / 'mine', config=config)
    assert (tmp_path / 'mine' / 'config.json').read_text() == written


@pytest.mark.parametrize('there', ['a file', 'another network', 'a run with its figures', 'nothing but a card'])
def test_nothing_that_is_there_is_lost(tmp_path: Path, there: str) -> None:
    folder = tmp_path / 'there'
    if there == 'a file':
        folder.write_text('mine')
    elif there == 'a run with its figures':
        shutil.copytree(WEIGHTS / SHIPPED, folder)
    else:
        folder.mkdir()
        (folder / 'README.md').write_text('mine')
        if there == 'another network':
            (folder / 'model.safetensors').write_bytes(b'of others')
    before = {path: path.read_bytes() for path in [folder, *folder.rglob('*')] if path.is_file()}
    with pytest.raises(CheckpointError, match='would be lost; give a new folder'):
        create_autoencoder('scae_springenberg9').save_pretrained(folder)
    assert {path: path.read_bytes() for path in [folder, *folder.rglob('*')] if path.is_file()} == before


def test_what_could_not_be_loaded_again_is_not_written(tmp_path: Path) -> None:
    create_autoencoder('scae_springenberg9').save_pretrained(tmp_path / 'mine')
    folded = reparameterize_model(create_autoencoder('scae_springenberg9').eval())
    with pytest.raises(CheckpointError, match='save the network before it is reparameterized'):
        folded.save_pretrained(tmp_path / 'mine')
    Scae.from_pretrained(tmp_path / 'mine')
    create_autoencoder('scae_springenberg9').save_pretrained(tmp_path / 'mine')  # one of ours, without figures
