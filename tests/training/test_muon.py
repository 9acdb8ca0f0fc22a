"""Muon as it is fitted to the device takes the steps of timm's own."""

from collections.abc import Iterator

import pytest
import timm.optim.muon as timm_muon
import torch
from timm.optim import create_optimizer_v2
from torch import nn

from scae_zoo.training import muon

SHAPES = (8, 6, 3, 3), (8, 6, 3, 3), (6, 8, 1, 1), (40, 3, 3, 3), (8, 6, 3, 3), (5, 12), (7,)


@pytest.fixture
def _exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """timm's orthogonalisation in double precision, so that two ways of doing it differ by nothing else."""
    original = timm_muon.zeropower_via_newtonschulz
    monkeypatch.setattr(timm_muon, 'zeropower_via_newtonschulz', lambda *args, **kwargs: (
        original(*args, **{**kwargs, 'dtype': torch.float64})))


def parameters(memory_format: torch.memory_format) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(value.to(memory_format=memory_format) if value.ndim == 4 else value)
            for value in (torch.randn(shape, generator=generator) for shape in SHAPES)]


@pytest.fixture
def _by_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the CPU the code for other devices."""
    choose = muon.step_for
    monkeypatch.setattr(muon, 'step_for', lambda device, group: choose(torch.device('cuda'), group))


def steps(params: list[nn.Parameter], opt: str, number: int = 3) -> Iterator[None]:
    optimizer = create_optimizer_v2([{'params': params}], opt, 0.1, 0.2)
    generator = torch.Generator().manual_seed(1)
    for _ in range(number):
        for param in params:
            param.grad = torch.randn(param.shape, generator=generator)
        optimizer.step()
        yield


@pytest.mark.usefixtures('_exact')
@pytest.mark.parametrize('way', ['_exact', '_by_shapes'], ids=['each', 'by shapes'])
@pytest.mark.parametrize('opt', sorted(muon.FITTED))
@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last])
def test_it_steps_as_timm_does(
        way: str, opt: str, memory_format: torch.memory_format, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue(way)
    ours, theirs = parameters(memory_format), parameters(memory_format)
    before = [param.detach().clone() for param in ours]
    for _ in zip(steps(ours, muon.FITTED[opt]), steps(theirs, opt), strict=True):
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    assert all((a - b).abs().max() > 0.01 for a, b in zip(ours, before, strict=True))
    assert all(param.is_contiguous(memory_format=memory_format) for param in ours if param.ndim == 4)
    assert all(param.grad is not None for param in ours)


@pytest.mark.parametrize('adjust', ['rms_to_rms', None])
@pytest.mark.usefixtures('_exact')
def test_adamuon_of_other_scales(adjust: str | None) -> None:
    ours, theirs = parameters(torch.contiguous_format), parameters(torch.contiguous_format)
    for params, cls in ((ours, muon.FittedMuon), (theirs, timm_muon.Muon)):
        optimizer = cls(params, lr=0.1, algo='adamuon', adjust_lr_fn=adjust)
        for _ in range(2):
            for param in params:
                param.grad = param.detach().clone()
            optimizer.step()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_who_takes_the_step() -> None:
    """A GPU takes all matrices of a shape together."""
    group = {'algo': 'muon', 'conv_mode': 'flatten'}
    on_cpu, on_gpu = (muon.step_for(torch.device(name), group) for name in ('cpu', 'cuda'))
    assert None is not on_cpu is not on_gpu is not None
    assert muon.step_for(torch.device('cuda'), {**group, 'algo': 'adamuon'}) is None


@pytest.mark.usefixtures('_by_shapes')
def test_matrices_of_a_shape_are_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    original, calls = timm_muon.zeropower_via_newtonschulz, []

    def counting(matrices: torch.Tensor, *args, **kwargs) -> torch.Tensor:
        calls.append(tuple(matrices.shape))
        return original(matrices, *args, **kwargs)

    monkeypatch.setattr(timm_muon, 'zeropower_via_newtonschulz', counting)
    list(steps(parameters(torch.channels_last), 'scaemuon', 1))
    assert calls == [(3, 8, 54), (1, 6, 8), (1, 40, 27), (1, 5, 12)]


@pytest.mark.parametrize('shape', [(64, 576), (300, 40), (3, 32, 64)])
@pytest.mark.parametrize('rank', [64, 3, 0])
@pytest.mark.parametrize('coefficients', ['quintic', 'original', 'polar_express'])
def test_the_short_way_to_orthogonal_matrices(
        shape: tuple[int, ...], rank: int, coefficients: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of gradients that few images make, which are of low rank."""
    group = {'ns_coefficients': coefficients, 'ns_steps': 5, 'eps': 1e-7, 'safety_factor': 1., 'scale_eps': False}
    *batch, rows, columns = shape
    generator = torch.Generator().manual_seed(0)
    matrices = (torch.randn(*batch, rows, rank, generator=generator)
                @ torch.randn(*batch, rank, columns, generator=generator)) * 1e-3
    exact = muon._orthogonal(matrices, group, torch.float64)
    monkeypatch.setattr(timm_muon, 'zeropower_via_newtonschulz', None)  # it is not asked
    found = muon._orthogonal(matrices, group, torch.float32)
    assert found.shape == matrices.shape
    assert (found - exact).abs().max() <= 2e-3 * exact.abs().max()


def test_steps_that_would_magnify_rounding_are_timms() -> None:
    group = {'ns_coefficients': 'polar_express', 'ns_steps': 8, 'eps': 1e-7, 'safety_factor': 1., 'scale_eps': False}
    matrices = torch.randn(16, 5, generator=torch.Generator().manual_seed(0)) @ torch.ones(5, 64)
    exact, found = (muon._orthogonal(matrices, group, dtype) for dtype in (torch.float64, torch.float32))
    assert (found - exact).abs().max() <= 1e-3 * exact.abs().max()


@pytest.mark.parametrize('name', ['muon', 'adamuon'])
def test_its_state_is_that_of_timms(name: str) -> None:
    """Runs that were begun with timm's own class, which older versions patched, go on."""
    states = []
    for opt in (name, muon.FITTED[name]):
        params = parameters(torch.channels_last)
        optimizer = create_optimizer_v2([{'params': params}], opt, 0.1, 0.2)
        for param in params:
            param.grad = torch.ones_like(param)
        optimizer.step()
        states.append(optimizer.state_dict()['state'])
    assert [sorted(state) for state in states[0].values()] == [sorted(state) for state in states[1].values()]
    assert [state['use_muon'] for state in states[0].values()] == [state['use_muon'] for state in states[1].values()]


def test_a_matrix_a_position_is_timms_own() -> None:
    ours, theirs = parameters(torch.contiguous_format), parameters(torch.contiguous_format)
    for params, cls in ((ours, muon.FittedMuon), (theirs, timm_muon.Muon)):
        optimizer = cls(params, lr=0.1, conv_mode='batched')
        for param in params:
            param.grad = param.detach().clone()
        optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize('way', ['_step_each', '_step_by_shapes'])
def test_timm_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """During a step, too."""
    found, seen = (timm_muon.muon, timm_muon.zeropower_via_newtonschulz), []
    step = getattr(muon, way)
    monkeypatch.setattr(muon, 'step_for', lambda device, group: lambda *args: (
        seen.append((timm_muon.muon, timm_muon.zeropower_via_newtonschulz)), step(*args)))
    list(steps(parameters(torch.channels_last), 'scaemuon', 1))
    assert seen == [found]
