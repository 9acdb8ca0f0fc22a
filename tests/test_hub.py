"""torch.hub's entry points, and what they may import."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch

import hubconf
from scae_zoo import CheckpointError, create_autoencoder
from scae_zoo.checkpoints.finding import WEIGHTS

from .support.networks import ARCHITECTURES, DEFAULT, SHIPPED
from .support.processes import Process, code

CHECKOUT = Path(__file__).parents[1]
SHORT_NAMES = [name.removeprefix('scae_') for name in ARCHITECTURES]


def load(name: str, **kwargs) -> torch.nn.Module:
    return torch.hub.load(str(CHECKOUT), name, source='local', **kwargs)


def test_both_halves_come_with_the_shipped_weights() -> None:
    model = load('springenberg9_scae').state_dict()
    expected = create_autoencoder(SHIPPED, pretrained=True).state_dict()
    assert model.keys() == expected.keys()
    assert all(torch.equal(model[key], expected[key]) for key in expected)
    by_tag = load('springenberg9_scae', weights='dae_cifar10').state_dict()
    by_path = load('springenberg9_scae', weights=str(WEIGHTS / SHIPPED)).state_dict()
    assert all(torch.equal(by_tag[key], expected[key]) and torch.equal(by_path[key], expected[key]) for key in expected)


def test_encoder_and_segmenter_start_from_the_shipped_weights() -> None:
    expected = create_autoencoder(SHIPPED, pretrained=True).encoder.blocks[2].conv.weight
    for model in (
            load('springenberg9_scae_encoder', weights='dae_cifar10'),
            load('springenberg9_scae_encoder', weights=WEIGHTS / SHIPPED, num_classes=4),
            load('springenberg9_scae_segmenter', pretrained=False, num_classes=4).encoder):
        assert torch.equal(model.blocks[2].conv.weight, expected)


def test_the_encoder_alone_is_the_default_classifier() -> None:
    model, expected = load('springenberg9_scae_encoder'), timm.create_model(DEFAULT, pretrained=True)
    assert all(torch.equal(value, expected.state_dict()[key]) for key, value in model.state_dict().items())
    assert torch.equal(load('springenberg9_scae_encoder', num_classes=4).blocks[2].conv.weight,
                       expected.blocks[2].conv.weight)


@pytest.mark.parametrize('name', SHORT_NAMES)
def test_every_network_without_weights(name: str) -> None:
    x = torch.randn(2, 3, 33, 36)
    assert load(f'{name}_scae', pretrained=False)(x).shape == x.shape
    assert load(f'{name}_scae_encoder', pretrained=False, num_classes=4)(x).shape == (2, 4)
    segmenter = load(f'{name}_scae_segmenter', pretrained=False, num_classes=4, init='random')
    assert segmenter(x).shape == (2, 4, 33, 36)
    for suffix in ('', '_encoder', '_segmenter'):
        assert f'scae_{name}' in getattr(hubconf, f'{name}_scae{suffix}').__doc__


def test_only_networks_are_listed() -> None:
    suffixes = ('', '_encoder', '_segmenter')
    listed = {name for name, value in vars(hubconf).items() if callable(value) and not name.startswith('_')}
    assert listed == {f'{name}_scae{suffix}' for name in SHORT_NAMES for suffix in suffixes}  # as torch.hub.list has it
    with pytest.raises(CheckpointError, match='no segmenter of it; .* for one still to be trained: pretrained=False'):
        load('springenberg9_scae_segmenter', num_classes=4)


def load_with(folder: Path, package: str, version: str) -> 'subprocess.CompletedProcess[str]':
    text = f"import timm, torch; {package}.__version__ = {version!r}; " \
           f"torch.hub.load({str(CHECKOUT)!r}, 'springenberg9_scae', source='local')"
    return Process(folder / 'log', code, text).wait()


@pytest.mark.parametrize(('package', 'version'), [('torch', '2.10.0a0+nv25.11'), ('torch', '2.15.0+cu128')])
def test_packages_of_other_vendors(tmp_path: Path, package: str, version: str) -> None:
    assert load_with(tmp_path, package, version).returncode == 0


@pytest.mark.parametrize(('package', 'version'), [('timm', '1.0.30'), ('torch', '2.9.1+cpu')])
def test_packages_that_are_too_old(tmp_path: Path, package: str, version: str) -> None:
    """torch.hub itself looks only whether they are there."""
    required = re.search(rf'"{package}>=(.*?)"', (CHECKOUT / 'pyproject.toml').read_text())
    result = load_with(tmp_path, package, version)
    assert result.stderr.splitlines()[-1] == (
        f"ImportError: {package} {version} is too old: pip install '{package}>={required and required[1]}'")


def test_importing_the_package_imports_no_training_code() -> None:
    text = ('import sys, scae_zoo; from hubconf import vgg16_scae; '
            'bad = [m for m in sys.modules if m.split(".")[0] in {"recipes", "benchmarks", "tests", "matplotlib", '
            '"sklearn", "torchmetrics"} '
            'or m.startswith(tuple("scae_zoo." + room for room in '
            '("training", "methods", "experiments", "evaluation", "cli", "data")))]; sys.exit(str(bad) if bad else 0)')
    result = subprocess.run([sys.executable, '-c', text], cwd=CHECKOUT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
