"""Checkpoints that are not in the package, but in data packages, which an entry point names."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from scae_zoo import CheckpointError, create_autoencoder
from scae_zoo.checkpoints import finding, timm_configs
from scae_zoo.checkpoints.folder import open_folder
from scae_zoo.factory import create_encoder

from ..support.checkpoint_folders import ARCHITECTURE, same, write_autoencoder
from ..support.networks import SHIPPED

PACKAGE = 'scae_zoo_weights_apart'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A shipped checkpoint's folder, which has moved from the package to a data package that must not be imported."""
    site = tmp_path / 'site'
    folder = Path(shutil.copytree(finding.WEIGHTS / SHIPPED, site / PACKAGE / SHIPPED))
    (site / PACKAGE / '__init__.py').write_text('raise AssertionError("data packages are not imported")\n')
    info = site / 'scae_zoo_apart-0.0.1.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text('Metadata-Version: 2.1\nName: scae-zoo-apart\nVersion: 0.0.1\n')
    (info / 'entry_points.txt').write_text(f'[{finding.DATA_PACKAGES}]\n{SHIPPED} = {PACKAGE}\n')
    weights = tmp_path / 'weights'
    weights.mkdir()
    shutil.copy(finding.WEIGHTS / 'manifest.json', weights)
    monkeypatch.setattr(finding, 'WEIGHTS', weights)
    monkeypatch.syspath_prepend(site)
    finding.data_packages.cache_clear()
    yield folder
    finding.data_packages.cache_clear()


def test_a_checkpoint_in_a_data_package_is_found(folder: Path) -> None:
    assert finding.names() == [SHIPPED]
    assert finding.find(SHIPPED).folder == folder
    assert timm_configs.pretrained_cfgs({})[SHIPPED].file == str(folder / 'model.safetensors')
    loaded = create_autoencoder(SHIPPED, pretrained=True)
    assert same(loaded.encoder, create_encoder(ARCHITECTURE, open_folder(folder), num_classes=0))


def test_ones_own_goes_before_a_data_package(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / 'own' / SHIPPED
    write_autoencoder(own)
    monkeypatch.setenv('SCAE_ZOO_CHECKPOINTS', str(own.parent))
    assert finding.find(SHIPPED).folder == own


@pytest.mark.parametrize(('file', 'message'), [
    ('model.safetensors', 'model.safetensors: its sha256 is not the recorded one'),
    ('config.json', 'config.json: its sha256 is not the recorded one')])
def test_files_of_another_version_are_refused(folder: Path, file: str, message: str) -> None:
    data = bytearray((folder / file).read_bytes())
    data[-1] ^= 1
    (folder / file).write_bytes(data)
    with pytest.raises(CheckpointError, match=f'^{folder}/{message}'):
        create_autoencoder(SHIPPED, pretrained=True)


def test_a_data_package_without_its_files_is_named(folder: Path) -> None:
    (folder / 'model.safetensors').unlink()
    with pytest.raises(CheckpointError, match=f'^{folder}/model.safetensors: not found. Ways out: '):
        create_autoencoder(SHIPPED, pretrained=True)
    shutil.rmtree(folder.parent)
    with pytest.raises(CheckpointError, match=f'^{folder}/config.json: not found. Ways out: '):
        create_autoencoder(SHIPPED, pretrained=True)


def test_nothing_is_looked_through_for_what_is_in_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finding, 'data_packages', lambda: pytest.fail('looked through what is installed'))
    assert SHIPPED in finding.names()
    assert finding.find(SHIPPED).folder == finding.WEIGHTS / SHIPPED
    assert finding.source_of('scae_springenberg9.of_nobody') == {}
