"""That no one loses a factor unseen: work counted where it can be, else times as ratios in one run, with much room.

`benchmarks/` measures; here a bound is passed only by what is wrong on any machine."""

import time
from collections.abc import Callable
from typing import Any

import pytest
import timm.optim.muon as timm_muon
import torch
from timm.models import reparameterize_model
from torch.utils.flop_counter import FlopCounterMode

from scae_zoo import create_autoencoder, reconstruct
from scae_zoo.training import muon
from scae_zoo.training.precision import fast_forward

from .support.networks import ARCHITECTURES, randomize

GROUP = {'ns_coefficients': 'quintic', 'ns_steps': 5, 'eps': 1e-7, 'safety_factor': 1., 'scale_eps': False}


def flops(call: Callable[[], Any]) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        call()
    return counter.get_total_flops()


def times(calls: list[Callable[[], Any]], repeats: int = 3) -> list[float]:
    """The fastest of each, in turn, after one to warm up."""
    best = [float('inf')] * len(calls)
    for repeat in range(repeats + 1):
        for number, call in enumerate(calls):
            start = time.perf_counter()
            call()
            if repeat:
                best[number] = min(best[number], time.perf_counter() - start)
    return best


def test_strips_compute_nothing_twice() -> None:
    """They cost what the image costs whole, but for the rows at their edges."""
    model = create_autoencoder('scae_vgg16', device='meta').eval()
    x = torch.zeros(1, 3, 1024, 256, device='meta')
    whole, cut = (flops(lambda strip=strip: reconstruct(model, x, strip=strip)) for strip in (2 ** 20, 2 ** 16))
    assert whole <= cut < 1.1 * whole


def test_strips_take_no_longer_than_the_whole() -> None:
    model = randomize(create_autoencoder('scae_springenberg9')).to(memory_format=torch.channels_last)
    x = torch.randn(1, 3, 96, 64)
    whole, cut = times([lambda: reconstruct(model, x), lambda: reconstruct(model, x, strip=2 ** 11)])
    assert cut < 2.5 * whole


@pytest.mark.parametrize('name', ARCHITECTURES)
def test_decoders_cost_as_much_as_encoders(name: str) -> None:
    model = create_autoencoder(name, device='meta').eval()
    x = torch.zeros(1, 3, 161, 161, device='meta')
    assert flops(lambda: model(x)) <= 2.01 * flops(lambda: model.encoder.forward_features(x))


def test_folded_networks_are_no_slower() -> None:
    model = randomize(create_autoencoder('scae_springenberg9')).eval().to(memory_format=torch.channels_last)
    folded = reparameterize_model(model)
    x = torch.randn(4, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        as_it_is, ours = times([lambda: model(x), lambda: folded(x)])
    assert ours < 1.5 * as_it_is


@pytest.mark.usefixtures('_float32')
def test_a_step_in_float32_multiplies_less() -> None:
    layers = torch.nn.Sequential(
        torch.nn.Conv2d(128, 128, 3, padding=1), torch.nn.ConvTranspose2d(128, 128, 3, padding=1))
    x = torch.zeros(16, 128, 8, 8, requires_grad=True)

    def step() -> None:
        with torch.enable_grad():
            layers(x).sum().backward()

    plain = flops(step)
    with fast_forward(x.device):
        assert flops(step) < 0.5 * plain


def test_orthogonalising_in_float32_multiplies_less() -> None:
    matrix = torch.randn(64, 576)
    ours = flops(lambda: muon._orthogonal(matrix, GROUP, torch.float32))
    theirs = flops(lambda: timm_muon.zeropower_via_newtonschulz(
        matrix, 5, timm_muon._COEFFICIENTS['quintic'], dtype=torch.float32))
    assert ours < 0.5 * theirs
