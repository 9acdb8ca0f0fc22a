"""Large images go through a network in tiles as if they went whole; the bits of each tile may be made smaller first."""

import pytest
import torch

from scae_zoo import create_autoencoder, create_segmenter, reconstruct
from scae_zoo.inference.network import Network
from scae_zoo.inference.tiling import in_tiles
from scae_zoo.training import precision

from ..support.networks import ARCHITECTURES, assert_same, randomize


@pytest.mark.parametrize('name', ARCHITECTURES)
def test_classes_in_tiles_are_those_of_the_whole_image(name: str) -> None:
    model = randomize(create_segmenter(name, 5, 'random'))
    x = torch.randn(1, 3, 130, 100)
    with torch.inference_mode():
        whole = model(x).argmax(1, keepdim=True)
    tiled = in_tiles(model, x, after=lambda logits: logits.argmax(1, keepdim=True).byte(), tile=64)
    assert tiled.dtype == torch.uint8
    assert tiled.shape == (1, 1, 130, 100)
    assert (tiled == whole).float().mean() >= 0.999


def test_reconstruction_in_tiles_is_that_of_the_whole_image() -> None:
    model = randomize(create_autoencoder('scae_springenberg9'))
    x = torch.randn(2, 3, 90, 75)
    with torch.inference_mode():
        assert_same(reconstruct(model, x, tile=32), model(x))
    assert reconstruct(model, x[..., :5, :1]).shape == (2, 3, 5, 1)


def test_each_tile_is_prepared_alone() -> None:
    """So that the pixels of a large image may stay bytes."""
    model = randomize(create_autoencoder('scae_springenberg9'))
    pixels = torch.randint(256, (1, 3, 70, 90), dtype=torch.uint8)
    network = Network(model, torch.device('cpu'))
    assert_same(in_tiles(model, pixels, network.input, tile=32), in_tiles(model, network.input(pixels)))


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
        network = Network(model, torch.device('cpu'))
        assert network.precision == ('bfloat16' if has else 'float32')
        found[has] = network.of_images(lambda y: y, images)[0]
        assert found[has].dtype == torch.float32
    with torch.inference_mode():
        assert_same(found[False], model(network.input(images[0][None]))[0])
    assert 0 < (found[True] - found[False]).norm() < 0.05 * found[False].norm()
