"""Muon as it is fitted to the device takes the steps of timm's own."""

import functools
from collections.abc import Iterator

import pytest
import timm.optim.muon as timm_muon
import torch
from timm.optim import create_optimizer_v2
from torch import nn

from scae_zoo.training.muon import muon_for

SHAPES = (8, 6, 3, 3), (8, 6, 3, 3), (6, 8, 1, 1), (40, 3, 3, 3), (8, 6, 3, 3), (5, 12), (7,)


@pytest.fixture
def _exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """timm's orthogonalisation in double precision, so that two ways of doing it differ by nothing else."""
    exact = functools.partial(timm_muon.zeropower_via_newtonschulz, dtype=torch.float64)
    monkeypatch.setattr(timm_muon, 'zeropower_via_newtonschulz', exact)


def parameters(memory_format: torch.memory_format) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(value.to(memory_format=memory_format) if value.ndim == 4 else value)
            for value in (torch.randn(shape, generator=generator) for shape in SHAPES)]


def steps(params: list[nn.Parameter], opt: str, device: torch.device | None, number: int = 3) -> Iterator[None]:
    optimizer = create_optimizer_v2([{'params': params}], opt, 0.1, 0.2)
    generator = torch.Generator().manual_seed(1)
    for _ in range(number):
        for param in params:
            param.grad = torch.randn(param.shape, generator=generator)
        if device is None:
            optimizer.step()
        else:
            with muon_for(device):
                optimizer.step()
        yield


@pytest.mark.usefixtures('_exact')
@pytest.mark.parametrize('opt', ['muon', 'nmuon'])
@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last])
def test_by_shapes_it_steps_as_timm_does(opt: str, memory_format: torch.memory_format) -> None:
    """On the CPU, with the code for other devices."""
    ours, theirs = parameters(memory_format), parameters(memory_format)
    before = [param.detach().clone() for param in ours]
    for _ in zip(steps(ours, opt, torch.device('cuda')), steps(theirs, opt, None), strict=True):
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    assert all((a - b).abs().max() > 0.01 for a, b in zip(ours, before, strict=True))
    assert all(param.is_contiguous(memory_format=memory_format) for param in ours if param.ndim == 4)


def test_matrices_of_a_shape_are_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    original, calls = timm_muon.zeropower_via_newtonschulz, []

    def counting(matrices: torch.Tensor, *args, **kwargs) -> torch.Tensor:
        calls.append(tuple(matrices.shape))
        return original(matrices, *args, dtype=torch.float32, **kwargs)

    monkeypatch.setattr(timm_muon, 'zeropower_via_newtonschulz', counting)
    list(steps(parameters(torch.channels_last), 'muon', torch.device('cuda'), 1))
    assert calls == [(3, 8, 54), (1, 6, 8), (1, 40, 27), (1, 5, 12)]


@pytest.mark.parametrize('device', ['cpu', 'cuda'])
def test_timm_is_left_as_it_was(device: str) -> None:
    """Though the step fails."""
    found = timm_muon.muon, timm_muon.zeropower_via_newtonschulz
    with muon_for(torch.device(device)):
        assert (timm_muon.muon, timm_muon.zeropower_via_newtonschulz) != found
    with pytest.raises(KeyError), muon_for(torch.device(device)):
        raise KeyError
    assert (timm_muon.muon, timm_muon.zeropower_via_newtonschulz) == found
