"""Checkpoints in a repository of the Hugging Face Hub, served by a real server of its protocol."""

import shutil
from functools import partial
from pathlib import Path

import pytest
import timm
import torch

from scae_zoo import CheckpointError, create_autoencoder, create_segmenter

from ..support.checkpoint_folders import ARCHITECTURE, write_autoencoder
from ..support.hub import REVISION, hub, python

LOAD = f"from scae_zoo import create_autoencoder; create_autoencoder({ARCHITECTURE!r}, weights='hf-hub:me/mine')"

@pytest.fixture
def repository(tmp_path: Path) -> Path:
    write_autoencoder(tmp_path / 'repository', act_layer='silu')
    (tmp_path / 'repository' / 'earlier').mkdir()
    shutil.copy(tmp_path / 'repository' / 'model.safetensors', tmp_path / 'repository' / 'earlier')
    return tmp_path / 'repository'


def test_both_halves(repository: Path, tmp_path: Path) -> None:
    """Also once more without the server; and on the command line."""
    text = f"""
import torch
from scae_zoo import create_autoencoder
model = create_autoencoder({ARCHITECTURE!r}, weights='hf-hub:me/mine')
torch.save(model.state_dict(), {str(tmp_path / 'loaded.pt')!r})
"""
    with hub(repository) as address:
        result = python(text, tmp_path / 'home', address)
        assert result.returncode == 0, result.stderr
        info = python("import sys; from scae_zoo.cli import main; sys.exit(main(['info', 'hf-hub:me/mine@main']))",
                      tmp_path / 'home', address)
        assert info.returncode == 0, info.stderr
    loaded = torch.load(tmp_path / 'loaded.pt', weights_only=True)
    expected = create_autoencoder(ARCHITECTURE, weights=repository).state_dict()
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[key], expected[key]) for key in expected)
    again = python(text, tmp_path / 'home', address)
    assert again.returncode == 0, again.stderr
    none = python(text, tmp_path / 'empty', address, offline=True)
    assert none.returncode == 1
    assert 'CheckpointError: me/mine: model.safetensors could not be downloaded' in none.stderr.splitlines()[-1]


def test_another_cache(repository: Path, tmp_path: Path) -> None:
    """Of what was downloaded before: it is looked into where it is given, and only there."""
    cache = tmp_path / 'cache' / 'models--me--mine'
    (cache / 'refs').mkdir(parents=True)
    (cache / 'refs' / 'main').write_text(REVISION)
    shutil.copytree(repository, cache / 'snapshots' / REVISION)
    expected = create_autoencoder(ARCHITECTURE, weights=repository)
    options = {'weights': 'hf-hub:me/mine', 'cache_dir': str(tmp_path / 'cache')}
    for model in (create_autoencoder(ARCHITECTURE, **options), create_segmenter(ARCHITECTURE, 3, **options)):
        torch.testing.assert_close(model.encoder.state_dict(), expected.encoder.state_dict(), rtol=0, atol=0)
    for create in (create_autoencoder, partial(create_segmenter, num_classes=3)):
        with pytest.raises(CheckpointError, match='me/mine: model.safetensors could not be downloaded'):
            create(ARCHITECTURE, **options | {'cache_dir': str(tmp_path / 'other')})


def test_the_encoder_alone(repository: Path, tmp_path: Path) -> None:
    """As timm has it, with the activation that its network was made with; nothing else is downloaded."""
    text = f"""
import timm, scae_zoo, torch
for model in (
        timm.create_model('hf-hub:me/mine', pretrained=True),
        timm.create_model({ARCHITECTURE!r}, pretrained=True, pretrained_cfg_overlay={{'hf_hub_id': 'me/mine'}})):
    assert isinstance(model.blocks[0].bn.act, torch.nn.SiLU)
    assert model.num_classes == 0
"""
    with hub(repository) as address:
        result = python(text, tmp_path / 'home', address)
        assert result.returncode == 0, result.stderr
    again = python(text, tmp_path / 'home', address)
    assert again.returncode == 0, again.stderr
    downloaded = {path.name for path in (tmp_path / 'home').rglob('snapshots/*/*')}
    assert {'model.safetensors', 'config.json', 'manifest.json'} <= downloaded
    assert not downloaded & {'decoder.safetensors', 'earlier', 'README.md'}
    both = python(LOAD, tmp_path / 'home', address, offline=True)
    assert 'me/mine: decoder.safetensors could not be downloaded' in both.stderr.splitlines()[-1]


@pytest.mark.parametrize('files', [['config.json', 'model.safetensors'], ['model.safetensors']])
def test_repositories_that_others_wrote(files: list[str], tmp_path: Path) -> None:
    """As timm pushes them, or the weights alone; also from a cache that timm has filled, without a network."""
    repository = tmp_path / 'repository'
    model = timm.create_model(ARCHITECTURE, num_classes=5)
    timm.models._hub.save_for_hf(model, repository, safe_serialization=True)
    for path in repository.iterdir():
        if path.name not in files:
            path.unlink()
    (repository / 'README.md').write_text('# mine')
    text = f"""
import sys, huggingface_hub, timm, scae_zoo
for file in sys.argv[1:]:
    huggingface_hub.hf_hub_download('me/mine', file)
overlay = {{'hf_hub_id': 'me/mine', 'num_classes': 5}}
for name, given in (('hf-hub:me/mine', {{}}), ({ARCHITECTURE!r}, {{'pretrained_cfg_overlay': overlay}})):
    if name == {ARCHITECTURE!r} or {len(files)} == 2:
        assert timm.create_model(name, pretrained=True, **given).num_classes == 5
        assert timm.create_model(name, pretrained=True, num_classes=3, in_chans=1, **given).num_classes == 3
"""
    with hub(repository) as address:
        first = python(text, tmp_path / 'home', address)
        assert first.returncode == 0, first.stderr
        filled = python(text.split('overlay =')[0], tmp_path / 'filled', address, *files)
        assert filled.returncode == 0, filled.stderr
    offline = python(text, tmp_path / 'filled', address)
    assert offline.returncode == 0, offline.stderr


def test_a_repository_that_is_not_there(repository: Path, tmp_path: Path) -> None:
    overlay = {'hf_hub_id': 'me/mien'}
    for call in (f"scae_zoo.create_autoencoder({ARCHITECTURE!r}, weights='hf-hub:me/mien')",
                 f'timm.create_model({ARCHITECTURE!r}, pretrained=True, pretrained_cfg_overlay={overlay})'):
        with hub(repository) as address:
            result = python(f'import scae_zoo, timm; {call}', tmp_path / 'home', address)
        fault = result.stderr.splitlines()[-1]
        assert 'CheckpointError: me/mien: model.safetensors could not be downloaded' in fault
        assert 'check the name' in fault
    for weights in ('hf-hub:', 'local-dir:'):
        with pytest.raises(CheckpointError, match='names nothing'):
            create_autoencoder(ARCHITECTURE, weights=weights)


def test_connection_that_is_cut(repository: Path, tmp_path: Path) -> None:
    """One line; and the same call loads it when the network is back."""
    with hub(repository, cut_off='decoder.safetensors') as address:
        result = python(LOAD, tmp_path / 'home', address)
    assert result.returncode == 1
    assert 'CheckpointError: me/mine: decoder.safetensors could not be downloaded' in result.stderr.splitlines()[-1]
    with hub(repository) as address:
        result = python(LOAD, tmp_path / 'home', address)
    assert result.returncode == 0, result.stderr


def test_timms_own_words_for_a_folder(repository: Path) -> None:
    model = create_autoencoder(ARCHITECTURE, weights=f'local-dir:{repository}').state_dict()
    expected = create_autoencoder(ARCHITECTURE, weights=repository).state_dict()
    assert all(torch.equal(model[key], expected[key]) for key in expected)
