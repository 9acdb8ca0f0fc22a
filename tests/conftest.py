"""Fixtures shared by the tests."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from scae_zoo.checkpoints import WEIGHTS

ARCHITECTURES = ('scae_allconv15', 'scae_springenberg9', 'scae_swwae', 'scae_vgg16')
SHIPPED = 'scae_springenberg9.dae_cifar10'
DEFAULT = 'scae_springenberg9.dae_ft_cifar10_4k'  # what the architecture's name alone means to timm


@pytest.fixture(autouse=True)
def _own_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No folders of the user's, no network, the same random numbers in every test."""
    monkeypatch.delenv('SCAE_ZOO_CHECKPOINTS', raising=False)
    monkeypatch.setenv('SCAE_ZOO_CACHE', str(tmp_path_factory.getbasetemp() / 'cache'))
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    torch.manual_seed(0)


@pytest.fixture
def checkpoint_folder(tmp_path: Path) -> Path:
    """A copy of the shipped auto-encoder's folder, to be damaged."""
    return Path(shutil.copytree(WEIGHTS / SHIPPED, tmp_path / 'store' / SHIPPED))


@pytest.fixture
def _fresh_compiler() -> Iterator[None]:
    """Forget the programs that earlier tests compiled: they count towards the limit of recompilations."""
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.fixture
def _float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU without bfloat16."""
    for name in ('_is_amx_tile_supported', '_is_avx512_bf16_supported'):
        monkeypatch.setattr(torch.cpu, name, lambda: False)


def randomize_norms(model: torch.nn.Module) -> torch.nn.Module:
    """Give every batch norm statistics and an affine part of its own, as after training."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 2)
            module.bias.data.normal_(std=0.1)
    return model.eval()


def randomize(model: torch.nn.Module) -> torch.nn.Module:
    """Weights and batch norms as after training: a fault in any layer, the first too, then shows in the output.

    The networks' own start, N(0, 0.01), shrinks the signal in evaluation to less than rounding after some layers.
    """
    for module in model.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.ConvTranspose2d)):
            torch.nn.init.kaiming_normal_(module.weight)
    return randomize_norms(model)


def assert_same(output: torch.Tensor, expected: torch.Tensor) -> None:
    """Equal up to float32's rounding, which is relative to the largest values that were summed."""
    scale = expected.abs().max()
    torch.testing.assert_close(output / scale, expected / scale, rtol=0, atol=2e-5)
