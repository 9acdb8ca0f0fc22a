"""3 x 3 convolutions on a CPU by Winograd's algorithm (Lavin & Gray 2016, arXiv:1509.09308), which multiplies up to
four times less often. oneDNN has it for no processor, and on a CPU without bfloat16 it halves the time of a step of a
wide network (benchmarks/README.md).

A tile of the output comes of a tile of the input that is two pixels wider, in three steps: it and the filter are
transformed; at each of the tile's places they are multiplied, a product of matrices over the channels; and what comes
of that is transformed back. The transforms are small matrices, by which rounding grows to some 3e-6 of the output's
spread, and 1e-4 at most.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

CHANNELS = 128  # with fewer the transforms take as long as the products that they save
GAIN = 1.5  # how many times less often it must multiply to pay
TILES = 64  # of a whole batch: the filter is transformed once for all of them
CHUNK = 1 << 21  # numbers of each of the tensors that are in work at a time: a cache's
TENSORS = torch.Tensor, torch.nn.Parameter  # what is of another class is not computed with, but recorded


class Transforms(NamedTuple):
    """Both axes' matrices in one: of the input, S² x S², of the filter, S² x 9, and back, T² x S², for tiles of T x T
    of the output's pixels and S = T + 2."""

    tile: int
    of_input: torch.Tensor
    of_filter: torch.Tensor
    back: torch.Tensor


def _transforms(tile: int, *one_axis: list[list[float]]) -> Transforms:
    matrices = (torch.tensor(matrix, dtype=torch.float64, device='cpu') for matrix in one_axis)
    return Transforms(tile, *(torch.kron(matrix, matrix).float() for matrix in matrices))


TRANSFORMS = (
    _transforms(
        2,
        [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]],
        [[1, 0, 0], [1 / 2, 1 / 2, 1 / 2], [1 / 2, -1 / 2, 1 / 2], [0, 0, 1]],
        [[1, 1, 1, 0], [0, 1, -1, -1]]),
    _transforms(
        4,
        [[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0], [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0],
         [0, 4, 0, -5, 0, 1]],
        [[1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6], [1 / 24, 1 / 12, 1 / 6],
         [1 / 24, -1 / 12, 1 / 6], [0, 0, 1]],
        [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]),
)


class Winograd(TorchFunctionMode):
    """Within it, convolutions and deconvolutions by 3 x 3 with stride 1 on a CPU in float32 are computed so, where that
    pays; also their gradients, even outside. These have no gradients of their own, and there is no ``vmap`` of them.

    What ``torch.compile``, ``torch.jit.trace`` and ``torch.export`` record has the plain operators.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.conv2d:
            layer = _convolution(*args, **kwargs)
        elif func is torch.conv_transpose2d:
            layer = _deconvolution(*args, **kwargs)
        else:
            return func(*args, **kwargs)
        return func(*args, **kwargs) if layer is None else _Layer.apply(*layer)


class Layer(NamedTuple):
    """A convolution, N x C x H x W by K x C x 3 x 3, or a deconvolution, N x K x H x W by K x C x 3 x 3, which is the
    convolution with the filter turned and 2 - padding."""

    input: torch.Tensor
    weight: torch.Tensor
    bias: torch.Tensor | None
    padding: tuple[int, int]  # of the convolution
    turned: bool
    transforms: Transforms


def _convolution(
        input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
        groups: Any = 1) -> Layer | None:
    return _layer(input, weight, bias, stride, padding, dilation, groups, turned=False)


def _deconvolution(
        input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
        groups: Any = 1, dilation: Any = 1) -> Layer | None:
    if _pair(output_padding) != (0, 0):
        return None
    return _layer(input, weight, bias, stride, padding, dilation, groups, turned=True)


def _layer(
        x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: Any, turned: bool,
) -> Layer | None:
    """None where the plain operator is as fast, is what is asked for, or has to say what is wrong."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or torch.is_autocast_enabled('cpu'):
        return None
    tensors = (x, weight) if bias is None else (x, weight, bias)
    if not all(type(each) in TENSORS and each.dtype is torch.float32 and each.device.type == 'cpu'
               and each.layout is torch.strided for each in tensors):
        return None
    if x.ndim != 4 or weight.ndim != 4 or weight.shape[2:] != (3, 3) or min(weight.shape[:2]) < CHANNELS:
        return None
    if (_pair(stride), _pair(dilation), groups) != ((1, 1), (1, 1), 1) or (pad := _pair(padding)) is None:
        return None
    channels, out_channels = weight.shape[:2] if turned else weight.shape[1::-1]
    if x.shape[1] != channels or bias is not None and bias.shape != (out_channels,):
        return None
    pad = (2 - pad[0], 2 - pad[1]) if turned else pad
    height, width = size = _size(x, pad)
    if min(pad) < 0 or max(pad) > 2 or min(size) < 1:
        return None
    transforms = max(TRANSFORMS, key=lambda each: _gain(each.tile, height, width))
    tile = transforms.tile
    if _gain(tile, height, width) < GAIN or len(x) * -(-height // tile) * -(-width // tile) < TILES:
        return None
    return Layer(x, weight, bias, pad, turned, transforms)


def _pair(value: Any) -> tuple[int, int] | None:
    """A number for both axes, or one for each; None of anything else."""
    values = (value,) if isinstance(value, int) else value
    if not isinstance(values, tuple | list) or not all(isinstance(each, int) for each in values):
        return None
    return {1: (values[0], values[0]), 2: tuple(values)}.get(len(values)) if values else None  # type: ignore[return-value]


def _size(x: torch.Tensor, pad: tuple[int, int]) -> tuple[int, int]:
    """The output's height and width."""
    return x.shape[2] + 2 * pad[0] - 2, x.shape[3] + 2 * pad[1] - 2


def _gain(tile: int, height: int, width: int) -> float:
    """How many times less often an output of that size is multiplied for; a tile may reach over its border."""
    return 9 * height * width / ((tile + 2) ** 2 * -(-height // tile) * -(-width // tile))


class _Layer(torch.autograd.Function):
    """It keeps what the plain operators keep, as they are: so that memory is the same, and checkpointing may compute
    the one again for the other."""

    @staticmethod
    def forward(*layer: Any) -> torch.Tensor:
        x, weight, bias, pad, turned, transforms = layer
        return _convolve(x, _turned(weight) if turned else weight, bias, pad, transforms)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        x, weight, _, ctx.pad, ctx.turned, ctx.transforms = inputs
        ctx.save_for_backward(x, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_x = of_weight = of_bias = None
        with torch.autocast('cpu', enabled=False):
            if ctx.needs_input_grad[0]:
                back = 2 - ctx.pad[0], 2 - ctx.pad[1]
                of_x = _convolve(grad, weight if ctx.turned else _turned(weight), None, back, ctx.transforms)
            if ctx.needs_input_grad[1]:
                of_weight = _weight_gradient(x, grad, ctx.pad, ctx.transforms)
                of_weight = torch.empty_like(weight).copy_(_turned(of_weight) if ctx.turned else of_weight)
            if ctx.needs_input_grad[2]:
                of_bias = grad.sum((0, 2, 3))
        return of_x, of_weight, of_bias, None, None, None


def _turned(weight: torch.Tensor) -> torch.Tensor:
    """The filter by which a gradient goes back through a convolution: what a deconvolution does."""
    return weight.flip(2, 3).transpose(0, 1)


def _convolve(
        x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, pad: tuple[int, int],
        transforms: Transforms) -> torch.Tensor:
    """N x C x H x W, by K x C x 3 x 3, to N x K x H' x W'."""
    tile, channels, (height, width) = transforms.tile, weight.shape[0], _size(x, pad)
    filters = transforms.of_filter @ weight.permute(0, 2, 3, 1).reshape(channels, 9, -1)  # K x S² x C
    channels_last = any(each.is_contiguous(memory_format=torch.channels_last) for each in (x, weight))
    y = torch.empty(len(x), channels, height, width, dtype=x.dtype, device=x.device,
                    memory_format=torch.channels_last if channels_last else torch.contiguous_format)
    rows = y.permute(0, 2, 3, 1)
    for part, tiles in _input_tiles(x, pad, transforms, channels):
        pixels = transforms.back @ torch.bmm(tiles, filters.permute(1, 2, 0)).flatten(1)
        out = rows[part]
        grid = pixels.view(tile, tile, len(out), -1, -(-width // tile), channels)
        whole = grid.permute(2, 3, 0, 4, 1, 5).reshape(len(out), -1, grid.shape[4] * tile, channels)
        out.copy_(whole[:, :out.shape[1], :width])
        if bias is not None:
            out += bias
    return y


def _weight_gradient(
        x: torch.Tensor, grad: torch.Tensor, pad: tuple[int, int], transforms: Transforms) -> torch.Tensor:
    """K x C x 3 x 3, of the gradient N x K x H' x W' of the output."""
    tile, channels = transforms.tile, grad.shape[1]
    total = x.new_zeros(len(transforms.of_input), channels, x.shape[1])  # S² x K x C
    rows = grad.permute(0, 2, 3, 1)
    for part, tiles in _input_tiles(x, pad, transforms, channels):
        some = rows[part]
        some = F.pad(some, (0, 0, 0, -some.shape[2] % tile, 0, -some.shape[1] % tile))
        grid = some.reshape(len(some), -1, tile, some.shape[2] // tile, tile, channels).permute(2, 4, 0, 1, 3, 5)
        spread = (transforms.back.T @ grid.reshape(tile * tile, -1)).view(len(total), -1, channels)
        total.baddbmm_(spread.transpose(1, 2), tiles)
    return (transforms.of_filter.T @ total.flatten(1)).view(3, 3, channels, -1).permute(2, 3, 0, 1)


def _input_tiles(
        x: torch.Tensor, pad: tuple[int, int], transforms: Transforms, channels: int,
) -> Iterator[tuple[tuple[slice, slice], torch.Tensor]]:
    """The transformed tiles of the input, S² x tiles x C, some at a time; each with the images and the rows of the
    output that come of them.

    Args:
        x: N x C x H x W.
        pad: Zeros at each of its borders, down and across.
        transforms: Their size.
        channels: Of the output, of which there may be more.
    """
    tile, (_, in_channels, height, width) = transforms.tile, x.shape
    size = _size(x, pad)
    down, across = (-(-side // tile) for side in size)
    at_once = max(1, CHUNK // (len(transforms.of_input) * across * max(in_channels, channels)))  # rows of tiles
    images, rows = (at_once // down, down) if at_once >= down else (1, at_once)
    right = min(width, across * tile + 2 - pad[1])  # of the columns that the tiles need
    for first in range(0, len(x), images):
        for top in range(0, down, rows):
            some, deep = x[first:first + images], min(rows, down - top)
            padded = x.new_zeros(len(some), deep * tile + 2, across * tile + 2, in_channels)
            start = top * tile - pad[0]  # the row of the image that the first of these is
            above, below = max(0, start), min(height, start + padded.shape[1])
            padded[:, above - start:below - start, pad[1]:pad[1] + right].copy_(
                some[:, :, above:below, :right].permute(0, 2, 3, 1))
            n_stride, y_stride, x_stride, _ = padded.stride()
            tiles = padded.as_strided(
                (tile + 2, tile + 2, len(some), deep, across, in_channels),
                (y_stride, x_stride, n_stride, tile * y_stride, tile * x_stride, 1))
            transformed = transforms.of_input @ tiles.reshape(len(transforms.of_input), -1)
            part = slice(first, first + len(some)), slice(top * tile, min((top + deep) * tile, size[0]))
            yield part, transformed.view(len(transforms.of_input), -1, in_channels)
