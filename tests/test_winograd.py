"""Convolutions by Winograd's algorithm are those of PyTorch, and so are their gradients."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F

from scae_zoo import create_autoencoder
from scae_zoo.winograd import TILES, Winograd

SIZES = [(1, 40), (3, 5), (4, 4), (6, 6), (7, 9), (12, 8), (37, 21)]


def operands(kind: str, size: tuple[int, int], images: int = 0) -> tuple[torch.Tensor, ...]:
    """Input, filter and bias of a convolution or deconvolution from 128 to 160 channels, of as many images as pay."""
    generator = torch.Generator().manual_seed(0)
    images = images or 1 + TILES // max(1, size[0] // 4 * (size[1] // 4))
    shape = (160, 128, 3, 3) if kind == 'conv2d' else (128, 160, 3, 3)
    return tuple(torch.randn(shape, generator=generator) for shape in ((images, 128, *size), shape, (160,)))


def with_gradients(
        convolve: Callable[..., torch.Tensor], tensors: tuple[torch.Tensor, ...], **options: Any) -> list[torch.Tensor]:
    """The output, and the gradients of a function of it."""
    leaves = [x.clone().requires_grad_() for x in tensors]
    y = convolve(*leaves, **options)
    weights = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)
    return [y.detach(), *torch.autograd.grad((y * weights).sum(), leaves)]


def is_used(x: torch.Tensor) -> bool:
    """Whether a layer's output comes of this algorithm, of which its gradient's function tells."""
    waiting, names = [x.grad_fn], []
    while waiting:
        function = waiting.pop()
        names.append(type(function).__name__)
        waiting += [before for before, _ in function.next_functions if before is not None]
    return '_LayerBackward' in names


@pytest.mark.parametrize('padding', [0, 1, (1, 0), (0, 2), 3, (3, 1)])
@pytest.mark.parametrize('kind', ['conv2d', 'conv_transpose2d'])
def test_outputs_and_gradients_of_any_size(kind: str, padding: int | tuple[int, int]) -> None:
    used = 0
    for number, size in enumerate(SIZES):
        down, across = (padding, padding) if isinstance(padding, int) else padding
        change = [2 * p - 2 if kind == 'conv2d' else 2 - 2 * p for p in (down, across)]
        if min(side + more for side, more in zip(size, change, strict=True)) < 1:
            continue
        tensors = operands(kind, size)
        memory_format = torch.channels_last if number % 2 else torch.contiguous_format
        tensors = (tensors[0].contiguous(memory_format=memory_format), *tensors[1:])
        convolve = getattr(F, kind)
        expected = with_gradients(convolve, tuple(x.double() for x in tensors), padding=padding)
        with Winograd():
            found = with_gradients(convolve, tensors, padding=padding)
            used += is_used(convolve(tensors[0], tensors[1].requires_grad_(), padding=padding))
        assert found[0].stride() == convolve(*tensors, padding=padding).stride()
        for ours, exact in zip(found, expected, strict=True):
            assert ours.dtype is torch.float32
            assert ours.shape == exact.shape
            # of the spread, which is some hundred times what float32 rounds a sum of a thousand numbers by
            assert (ours - exact).abs().max() <= 2e-4 * exact.std() + 1e-6
    assert (used >= 3) == (padding not in (3, (3, 1)))  # which no network of ours has


def test_the_same_bits_each_time() -> None:
    """A run that is stopped and goes on ends as one that was not."""
    tensors = operands('conv2d', (7, 9))
    with Winograd():
        first, second = (with_gradients(F.conv2d, tensors, padding=1) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize(('shapes', 'options'), [
    (((64, 128, 8, 8), (160, 128, 3, 3)), {'stride': 2, 'padding': 1}),
    (((64, 128, 12, 12), (160, 128, 3, 3)), {'dilation': 2, 'padding': 2}),
    (((64, 128, 8, 8), (160, 128, 3, 3)), {'padding': 'same'}),
    (((64, 128, 1, 40), (160, 128, 3, 3)), {'padding': 1}),  # most of a tile lies outside
    (((4, 128, 8, 8), (160, 128, 3, 3)), {'padding': 1}),  # the filter's transform would take longer
    (((64, 256, 8, 8), (256, 128, 3, 3)), {'groups': 2, 'padding': 1}),
    (((64, 128, 8, 8), (128, 128, 1, 1)), {}),
    (((64, 128, 8, 8), (128, 128, 5, 5)), {'padding': 2}),
    (((64, 64, 8, 8), (256, 64, 3, 3)), {'padding': 1}),
    (((128, 64, 64), (128, 128, 3, 3)), {'padding': 1}),  # an image without a batch
    (((0, 128, 8, 8), (128, 128, 3, 3)), {'padding': 1}),
])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_others_are_left_as_they_are(
        shapes: tuple[tuple[int, ...], ...], options: dict[str, Any], dtype: torch.dtype) -> None:
    tensors = [torch.randn(shape, dtype=dtype) for shape in shapes]
    expected = F.conv2d(*tensors, **options)
    with Winograd():
        assert torch.equal(F.conv2d(*tensors, **options), expected)


@pytest.mark.parametrize(('change', 'options'), [
    ({}, {'padding': -1}), ({}, {'padding': (1, 1, 1)}), ({}, {'stride': 0}), ({'input': (64, 64, 8, 8)}, {}),
    ({'bias': (1,)}, {}), ({'bias': (128,)}, {}), ({'input': (64, 128, 2, 2)}, {}),
])
def test_what_is_wrong_is_said_by_the_plain_operator(
        change: dict[str, tuple[int, ...]], options: dict[str, Any]) -> None:
    shapes = {'input': (64, 128, 8, 8), 'weight': (160, 128, 3, 3), 'bias': (160,), **change}
    tensors = [torch.randn(shape) for shape in shapes.values()]
    with pytest.raises(RuntimeError) as plain:
        F.conv2d(*tensors, **options)
    with Winograd(), pytest.raises(RuntimeError) as ours:
        F.conv2d(*tensors, **options)
    assert str(ours.value) == str(plain.value)


def test_deconvolutions_that_enlarge_are_left_as_they_are() -> None:
    tensors = operands('conv_transpose2d', (8, 8))
    for options in ({'stride': 2, 'padding': 1, 'output_padding': 1}, {'padding': 3}):
        expected = F.conv_transpose2d(*tensors, **options)
        with Winograd():
            assert torch.equal(F.conv_transpose2d(*tensors, **options), expected)


def test_arguments_by_place() -> None:
    x, weight, bias = operands('conv2d', (8, 8))
    weight.requires_grad_()
    expected = F.conv2d(x, weight, bias, 1, 1)
    with Winograd():
        for arguments in ((1, 1), ([1, 1], [1, 1], [1, 1], 1), ((1,), (1,)), (1, torch.Size((1, 1)))):
            found = F.conv2d(x, weight, bias, *arguments)
            assert is_used(found)
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-2)
        assert not is_used(F.conv2d(x, weight, bias, 1, 1, 2))
    assert not is_used(F.conv2d(x, weight, bias, 1, 1))  # nor outside


def test_what_needs_no_gradient_gets_none() -> None:
    x, weight, bias = operands('conv2d', (8, 8))
    with Winograd():
        y = F.conv2d(x, weight.requires_grad_(), bias, padding=1)
        y.sum().backward()
        assert (x.grad, bias.grad) == (None, None)
        weight_grad, weight.grad = weight.grad, None
        F.conv2d(x.requires_grad_(), weight.detach(), padding=1).sum().backward()
    assert weight_grad is not None
    assert x.grad is not None
    assert weight.grad is None


def test_what_follows_may_change_the_output_in_place() -> None:
    x = operands('conv2d', (8, 8))[0].requires_grad_()
    layer = nn.Conv2d(128, 128, 3, padding=1, bias=False)
    expected, = torch.autograd.grad(F.relu(layer(x)).sum(), x)
    with Winograd():
        y = layer(x)
        assert is_used(y)
        y = F.relu(y, inplace=True)
    torch.testing.assert_close(torch.autograd.grad(y.sum(), x)[0], expected, rtol=1e-2, atol=1e-3)


def test_layers_may_be_computed_again_in_the_backward_pass() -> None:
    """Which is outside, so that these are the plain ones."""
    model = create_autoencoder('scae_springenberg9').train()
    x = torch.randn(4, 3, 32, 32)
    gradients = []
    for checkpointing in (False, True):
        model.set_grad_checkpointing(checkpointing)
        with Winograd():
            y = model(x)
        assert is_used(y) or checkpointing
        found = torch.autograd.grad(y.square().mean(), list(model.parameters()))
        gradients.append(torch.cat([gradient.flatten() for gradient in found]))
    kept, again = gradients
    assert (kept - again).norm() <= 0.05 * kept.norm()  # rounding turns a ReLU here and there on or off


def test_whatever_the_default_device() -> None:
    x, weight, bias = (each.requires_grad_() for each in operands('conv2d', (8, 8)))

    def found() -> list[torch.Tensor]:
        y = F.conv2d(x, weight, bias, padding=1)
        assert is_used(y)
        return [y, *torch.autograd.grad(y, (x, weight, bias), torch.ones_like(y))]

    with Winograd():
        expected = found()
        with torch.device('meta'):
            assert all(torch.equal(a, b) for a, b in zip(found(), expected, strict=True))


def test_backward_within_autocast() -> None:
    x, weight, bias = operands('conv2d', (8, 8))
    with Winograd():
        y = F.conv2d(x.requires_grad_(), weight, bias, padding=1).sum()
    outside, = torch.autograd.grad(y, x, retain_graph=True)
    with torch.autocast('cpu', torch.bfloat16):
        within, = torch.autograd.grad(y, x)
    assert torch.equal(outside, within)


def test_in_bfloat16_the_plain_operator_is_faster() -> None:
    x, weight, _ = operands('conv2d', (8, 8))
    weight.requires_grad_()
    with Winograd(), torch.autocast('cpu', torch.bfloat16):
        y = F.conv2d(x, weight, padding=1)
    assert y.dtype is torch.bfloat16
    assert not is_used(y)


def test_traced_and_exported_networks_have_plain_operators() -> None:
    layer = nn.Conv2d(128, 128, 3, padding=1)
    x = torch.randn(TILES, 128, 8, 8)
    with Winograd():
        traced = torch.jit.trace(layer, x, check_trace=False)  # that compares with what is not traced, bit for bit
        exported = torch.export.export(layer, (x,))
        assert is_used(layer(x))
    assert 'aten::_convolution' in str(traced.graph)
    assert 'torch.ops.aten.conv2d' in exported.graph_module.code


@pytest.mark.usefixtures('_fresh_compiler')
def test_compiled_networks_give_the_same() -> None:
    layer = nn.Conv2d(128, 128, 3, padding=1)
    x = torch.randn(TILES, 128, 8, 8)
    compiled = torch.compile(layer, backend='aot_eager')
    with Winograd():
        y, eager = compiled(x), layer(x)
    assert torch.equal(y, layer(x))
    assert not torch.equal(eager, y)
