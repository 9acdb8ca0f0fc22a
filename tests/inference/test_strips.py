"""Large images go through a network strip by strip as if they went whole."""

from copy import deepcopy

import pytest
import torch

from scae_zoo import create_autoencoder, create_segmenter, reconstruct
from scae_zoo.inference.network import Network
from scae_zoo.inference.strip_layers import through
from scae_zoo.inference.strips import in_strips
from scae_zoo.training import precision
from scae_zoo.training.precision import fast_forward

from ..support.networks import ARCHITECTURES, assert_same, randomize


@pytest.mark.parametrize('name', ARCHITECTURES)
def test_classes_in_strips_are_those_of_the_whole_image(name: str) -> None:
    model = randomize(create_segmenter(name, 5, 'random'))
    x = torch.randn(1, 3, 130, 100)
    with torch.inference_mode():
        whole = model(x).argmax(1, keepdim=True)
    cut = in_strips(model, x, after=lambda logits: logits.argmax(1, keepdim=True).byte(), strip=64 * 100)
    assert cut.dtype == torch.uint8
    assert cut.shape == (1, 1, 130, 100)
    assert (cut == whole).float().mean() >= 0.999


@pytest.mark.parametrize('name', ARCHITECTURES)
@pytest.mark.parametrize('shortcuts', [True, False])
@pytest.mark.parametrize('size', [(1, 3, 70, 35), (2, 3, 41, 52), (1, 3, 17, 97)])
def test_reconstruction_in_strips_is_that_of_the_whole_image(
        name: str, shortcuts: bool, size: tuple[int, ...]) -> None:
    model = randomize(create_autoencoder(name, shortcuts=shortcuts))
    x = torch.randn(size)
    with torch.inference_mode():
        assert_same(reconstruct(model, x, strip=1), model(x))  # as thin as the network's stride allows


@pytest.mark.parametrize('size', [(57, 42), (58, 41), (40, 99)])
@pytest.mark.parametrize('name', ['scae_swwae', 'scae_vgg16'])
def test_logits_in_strips_are_those_of_the_whole_image(name: str, size: tuple[int, int]) -> None:
    """Those of SWWAE's network are enlarged, by a factor that odd sides make less than two."""
    model = randomize(create_segmenter(name, 5, 'random'))
    x = torch.randn(1, 3, *size)
    with torch.inference_mode():
        assert_same(reconstruct(model, x, strip=1), model(x))


def test_thin_images_are_cut_too() -> None:
    model = randomize(create_autoencoder('scae_springenberg9'))
    x = torch.randn(1, 3, 5, 300)
    assert_same(reconstruct(model, x, strip=600), reconstruct(model, x))
    assert_same(reconstruct(model, x.mT, strip=600), reconstruct(model, x.mT))


def test_many_images_smaller_than_a_network_takes() -> None:
    model = randomize(create_autoencoder('scae_springenberg9'))
    x = torch.randn(3, 3, 10, 16)
    assert_same(reconstruct(model, x, strip=50), reconstruct(model, x))


@pytest.mark.parametrize('kind', ['autoencoder', 'segmenter'])
def test_networks_in_a_wrapper(kind: str) -> None:
    """Such as a compiled one, which is of another class."""
    model = randomize(create_autoencoder('scae_springenberg9') if kind == 'autoencoder'
                      else create_segmenter('scae_springenberg9', 3, 'random'))
    x = torch.randn(1, 3, 60, 50)
    assert_same(reconstruct(torch.compile(model), x, strip=1), reconstruct(model, x))


@pytest.mark.parametrize('norm', ['groupnorm', 'frn', 'evonormb0'])
def test_networks_that_average_over_the_image_see_it_whole(norm: str) -> None:
    model = create_autoencoder('scae_springenberg9', norm_layer=norm).eval()
    x = torch.randn(1, 3, 60, 50)
    with torch.inference_mode():
        assert torch.equal(reconstruct(model, x, strip=1), model(x))


def test_each_strip_is_prepared_alone() -> None:
    """So that the pixels of a large image may stay bytes."""
    model = randomize(create_autoencoder('scae_springenberg9'))
    pixels = torch.randint(256, (1, 3, 70, 90), dtype=torch.uint8)
    network = Network(model, torch.device('cpu'))
    with fast_forward(network.device):
        cut, whole = in_strips(model, pixels, network.input, strip=2000), in_strips(model, network.input(pixels))
    assert_same(cut.float(), whole.float())


@pytest.mark.parametrize('size', [(1, 1), (5, 40), (16, 17)])
def test_images_smaller_than_a_network_takes(size: tuple[int, int]) -> None:
    model = randomize(create_segmenter('scae_springenberg9', 3, 'random'))
    network = Network(model, torch.device('cpu'))
    found = network.of_images(lambda logits: logits.argmax(1, keepdim=True), [torch.zeros(3, *size).byte()])
    assert found[0].shape == (1, *size)


def test_images_of_many_sizes_are_answered_in_their_order() -> None:
    network = Network(randomize(create_autoencoder('scae_springenberg9')), torch.device('cpu'))
    images = [torch.randint(256, (3, side, 40), dtype=torch.uint8) for side in (40, 33, 40, 20, 33)]
    together = network.of_images(lambda y: y, images)
    for image, found in zip(images, together, strict=True):
        assert_same(found, network.of_images(lambda y: y, [image])[0])


def test_networks_answer_in_the_precision_of_their_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """bfloat16, which has three digits, where the device computes with it."""
    model = randomize(create_autoencoder('scae_springenberg9'))
    images = [torch.randint(256, (3, 40, 30), dtype=torch.uint8)]
    found = {}
    for has in (False, True):
        monkeypatch.setattr(precision, '_cpu_has_bfloat16', lambda has=has: has)
        network = Network(deepcopy(model), torch.device('cpu'))
        assert network.precision == ('bfloat16' if has else 'float32')
        found[has] = network.of_images(lambda y: y, images)[0]
        assert found[has].dtype == torch.float32
    with torch.inference_mode():
        assert_same(found[False], model(network.input(images[0][None]))[0])
    assert 0 < (found[True] - found[False]).norm() < 0.05 * found[False].norm()


def test_what_waited_goes_on_in_strips() -> None:
    """Behind the last strip, too, no layer gets much more than a strip: its memory is what strips are for."""
    kept, seen = [], []

    def late(x: torch.Tensor) -> torch.Tensor | None:
        kept.append(x)
        return torch.cat(kept, 2) if len(kept) == 8 else None

    def watch(x: torch.Tensor) -> torch.Tensor:
        seen.append(x.shape[2])
        return x

    strips = list(torch.rand(1, 2, 32, 6).split(4, 2))
    result = list(through([late, watch, watch], iter(strips), 2))
    assert torch.equal(torch.cat(result, 2), torch.cat(strips, 2))
    assert max(seen) <= 8
