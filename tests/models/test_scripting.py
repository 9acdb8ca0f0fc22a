"""TorchScript: both networks of two halves, as the classifier, computed without Python."""

import io

import pytest
import timm
import torch

from scae_zoo import create_autoencoder, create_segmenter

from ..support.networks import ARCHITECTURES, assert_same, randomize

pytestmark = pytest.mark.filterwarnings('ignore:.*torch.jit')  # PyTorch's own, of TorchScript as a whole


@pytest.mark.parametrize('name', ARCHITECTURES)
@pytest.mark.parametrize('shortcuts', [True, False])
def test_scripted_autoencoders_compute_the_same(name: str, shortcuts: bool) -> None:
    model = randomize(create_autoencoder(name, shortcuts=shortcuts))
    scripted = torch.jit.script(model)
    for size in ((17, 18), (34, 33), (48, 35)):  # from the second call on TorchScript optimises what it has seen
        x = torch.randn(1, 3, *size)
        with torch.no_grad():
            assert_same(scripted(x), model(x))


@pytest.mark.parametrize('name', ARCHITECTURES)
def test_scripted_segmenters_compute_the_same(name: str) -> None:
    model = randomize(create_segmenter(name, 5, init='random'))
    x = torch.randn(1, 3, 34, 33)
    with torch.no_grad():
        assert_same(torch.jit.script(model)(x), model(x))


def test_a_scripted_network_is_stored_and_used_without_this_package() -> None:
    model = randomize(create_autoencoder('scae_springenberg9'))
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(model), file)
    file.seek(0)
    again = torch.jit.load(file)
    x = torch.randn(1, 3, 33, 34)
    with torch.no_grad():
        assert_same(again(x), model(x))
        features, raw = again.encode(x)
        assert_same(again.decode(features, raw), model(x))


def test_checkpointing_changes_nothing_that_is_scripted() -> None:
    model = randomize(create_autoencoder('scae_springenberg9'))
    model.set_grad_checkpointing()
    x = torch.randn(1, 3, 20, 20)
    with torch.no_grad():
        assert_same(torch.jit.script(model)(x), model(x))


def test_the_classifier_is_scripted_too() -> None:
    model = randomize(timm.create_model('scae_springenberg9'))
    x = torch.randn(1, 3, 20, 20)
    with torch.no_grad():
        assert_same(torch.jit.script(model)(x), model(x))
