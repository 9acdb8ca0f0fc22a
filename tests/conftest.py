"""Fixtures shared by the tests."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import huggingface_hub
import pytest
import torch

from scae_zoo.checkpoints import finding
from scae_zoo.checkpoints.finding import WEIGHTS
from scae_zoo.experiments import sample_images

from .support.checkpoint_folders import weights_without
from .support.networks import SHIPPED
from .support.recipe_runs import Smoke, smoke
from .support.training_commands import SMALL, run


@pytest.fixture(scope='session', autouse=True)
def _own_surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No folders of the user's, no network; for the whole session, as fixtures that several tests share run first."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv('SCAE_ZOO_CHECKPOINTS', raising=False)
        patch.setenv('SCAE_ZOO_CACHE', str(tmp_path_factory.getbasetemp() / 'cache'))
        patch.setenv('HF_HUB_OFFLINE', '1')
        patch.setattr(huggingface_hub.constants, 'HF_HUB_OFFLINE', True)  # it has read the variable on import
        patch.setenv('PYTHONPATH', str(WEIGHTS.parents[1]))  # processes test this checkout, whatever is installed
        yield


@pytest.fixture(autouse=True)
def _same_random_numbers() -> None:
    torch.manual_seed(0)


@pytest.fixture
def checkpoint_folder(tmp_path: Path) -> Path:
    """A copy of the shipped auto-encoder's folder, to be damaged."""
    return Path(shutil.copytree(WEIGHTS / SHIPPED, tmp_path / 'store' / SHIPPED))


@pytest.fixture
def _without_swwae(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The zoo has no checkpoint of scae_swwae; timm was told of those that it has on import."""
    monkeypatch.setattr(finding, 'WEIGHTS', weights_without('scae_swwae', tmp_path / 'weights'))


@pytest.fixture(scope='session')
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of small real images: ``classes``, ``other`` ones, ``many`` (labels.csv) and ``masks``, each with train
    and test."""
    folder = tmp_path_factory.mktemp('data')
    sample_images.write_classes(folder / 'classes', 32, 24, ('cat', 'dog', 'eel'))
    sample_images.write_classes(folder / 'other', 32, 6, ('cat', 'dog', 'fox'))
    sample_images.write_multi_label(folder / 'many', 32, 24, ('day', 'night', 'rain'))
    sample_images.write_masks(folder / 'masks', 32, 12, ('dark', 'grey', 'light'))
    return folder


@pytest.fixture(scope='session')
def pretrained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a pre-training run."""
    out = tmp_path_factory.mktemp('runs') / 'pretrained'
    assert run('pretrain', data / 'classes', *SMALL, '-o', out) == 0
    return out


@pytest.fixture(scope='session')
def ended(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Smoke]:
    """The one run of each recipe, which the test processes share."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if 'PYTEST_XDIST_WORKER' in os.environ else base) / 'recipes'
    folder.mkdir(exist_ok=True)
    return lambda name: smoke(name, folder)


@pytest.fixture
def _fresh_compiler() -> Iterator[None]:
    """Forget the programs that earlier tests compiled: they count towards the limit of recompilations."""
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.fixture
def _float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training in float32 whatever the processor has, in processes that the test starts as well."""
    monkeypatch.setenv('ONEDNN_MAX_CPU_ISA', 'AVX2')
