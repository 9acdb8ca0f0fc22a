"""3 x 3 convolutions on a CPU by Winograd's algorithm (Lavin & Gray 2016, arXiv:1509.09308), which multiplies up to
four times less often. oneDNN has it for no processor, and on a CPU without bfloat16 it halves the time of a step.

A tile of the output comes of a tile of the input that is two pixels wider, in three steps: it and the filter are
transformed; at each of the tile's places they are multiplied, a product of matrices over the channels; and what comes
of that is transformed back. The transforms are small matrices, by which rounding grows to about 1e-5 of the output's
spread.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

CHANNELS = 128  # with fewer the transforms take as long as the products that they save
GAIN = 1.5  # how many times less often it must multiply to pay
TILES = 64  # of a whole batch: the filter is transformed once for all of them
CHUNK = 1 << 22  # numbers that are in work at a time: a cache's


class Transforms(NamedTuple):
    """Both axes' matrices in one: of the input (S² x S²), the filter (S² x 9) and back (T² x S²), for tiles of T x T of
    the output's pixels and S = T + 2."""

    tile: int
    of_input: torch.Tensor
    of_filter: torch.Tensor
    back: torch.Tensor


@cache
def _transforms(tile: int) -> Transforms:
    """Those of 2 or 4 pixels."""
    of_input, of_filter, back = {
        2: ([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]],
            [[1, 0, 0], [1 / 2, 1 / 2, 1 / 2], [1 / 2, -1 / 2, 1 / 2], [0, 0, 1]],
            [[1, 1, 1, 0], [0, 1, -1, -1]]),
        4: ([[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0], [0, -2, -1, 2, 1, 0],
             [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1]],
            [[1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6], [1 / 24, 1 / 12, 1 / 6],
             [1 / 24, -1 / 12, 1 / 6], [0, 0, 1]],
            [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]),
    }[tile]
    with torch.inference_mode(False):  # they are kept, and may be needed for a gradient
        one_axis = (torch.tensor(matrix, dtype=torch.float64) for matrix in (of_input, of_filter, back))
        return Transforms(tile, *(torch.kron(matrix, matrix).float() for matrix in one_axis))


class Winograd(TorchFunctionMode):
    """Within it, convolutions and deconvolutions by 3 x 3 with stride 1 on a CPU in float32 are computed so, where that
    is faster. Also their gradients, even outside; but these have no gradients of their own.

    Whatever is compiled, traced or exported keeps the plain operators.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.conv2d or func is torch.conv_transpose2d:
            found = _arguments(func is torch.conv2d, *args, **kwargs or {})
            if found is not None:
                return _convolution(*found)
        return func(*args, **kwargs or {})


def _arguments(forward: bool, input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None, stride=1,
               padding=0, *others: Any, **named: Any) -> tuple[Any, ...] | None:
    """Input, filter (of the convolution that a deconvolution is), bias, padding and tile; None where another way is as
    fast, or the only one."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or torch.is_autocast_enabled('cpu'):
        return None
    names = ('dilation', 'groups') if forward else ('output_padding', 'groups', 'dilation')
    others_by_name = {**dict(zip(names, others, strict=False)), **named}
    channels = weight.shape[:2] if weight.ndim == 4 else (0,)
    if min(channels) < CHANNELS or weight.shape[2:] != (3, 3) or input.ndim != 4 or isinstance(padding, str) or not (
            input.device.type == weight.device.type == 'cpu' and input.dtype is weight.dtype is torch.float32):
        return None
    plain = {'dilation': 1, 'groups': 1, 'output_padding': 0}
    if _pair(stride) != (1, 1) or any(_pair(value) != _pair(plain[name]) for name, value in others_by_name.items()):
        return None
    pad = _pair(padding)
    if not forward:
        pad = 2 - pad[0], 2 - pad[1]
    height, width = (side + 2 * p - 2 for side, p in zip(input.shape[2:], pad, strict=True))
    if min(pad) < 0 or min(height, width) < 1:
        return None
    tile = max((2, 4), key=lambda tile: _gain(tile, height, width))
    if _gain(tile, height, width) < GAIN or len(input) * -(-height // tile) * -(-width // tile) < TILES:
        return None
    return input, weight if forward else _turned(weight), bias, pad, tile


def _pair(value: Any) -> tuple[int, int]:
    """A number for both axes, or one for each."""
    if isinstance(value, int):
        return value, value
    first, *rest = value
    return (first, *rest) if rest else (first, first)  # type: ignore[return-value]


def _gain(tile: int, height: int, width: int) -> float:
    """How many times less often an output of that size is multiplied for; a tile may reach over its border."""
    return 9 * height * width / ((tile + 2) ** 2 * -(-height // tile) * -(-width // tile))


def _turned(weight: torch.Tensor) -> torch.Tensor:
    """The filter of the convolution that undoes another one's shifts: what a deconvolution, or a gradient, is."""
    return weight.flip(2, 3).transpose(0, 1)


def _convolution(
        x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, pad: tuple[int, int], tile: int,
) -> torch.Tensor:
    y = _Convolution.apply(x, weight, pad, tile)
    return y if bias is None else y + bias[:, None, None]


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, pad: tuple[int, int], tile: int) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        ctx.pad, ctx.tile = pad, tile
        return _convolve(x, weight, pad, _transforms(tile))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        transforms, (down, right) = _transforms(ctx.tile), ctx.pad
        of_x = _convolve(grad, _turned(weight), (2 - down, 2 - right), transforms) if ctx.needs_input_grad[0] else None
        of_weight = _weight_gradient(x, grad, ctx.pad, transforms) if ctx.needs_input_grad[1] else None
        return of_x, of_weight, None, None


def _convolve(x: torch.Tensor, weight: torch.Tensor, pad: tuple[int, int], transforms: Transforms) -> torch.Tensor:
    """N x C x H x W, by K x C x 3 x 3, to N x K x H' x W', channels last."""
    tile, channels = transforms.tile, weight.shape[0]
    filters = transforms.of_filter @ weight.permute(0, 2, 3, 1).reshape(channels, 9, -1)  # K x S² x C
    size = [side + 2 * p - 2 for side, p in zip(x.shape[2:], pad, strict=True)]
    y = x.new_empty(len(x), *size, channels)
    for part, tiles in _input_tiles(x, pad, size, transforms, channels):
        pixels = transforms.back @ torch.bmm(tiles, filters.permute(1, 2, 0)).flatten(1)
        out = y[part]
        grid = pixels.view(tile, tile, len(out), -1, -(-size[1] // tile), channels)
        whole = grid.permute(2, 3, 0, 4, 1, 5).reshape(len(out), -1, grid.shape[4] * tile, channels)
        out.copy_(whole[:, :out.shape[1], :size[1]])
    return y.permute(0, 3, 1, 2)


def _weight_gradient(
        x: torch.Tensor, grad: torch.Tensor, pad: tuple[int, int], transforms: Transforms) -> torch.Tensor:
    """K x C x 3 x 3, of the gradient N x K x H' x W' of the output."""
    tile, channels, size = transforms.tile, grad.shape[1], grad.shape[2:]
    total = x.new_zeros(len(transforms.of_input), channels, x.shape[1])  # S² x K x C
    rows = grad.permute(0, 2, 3, 1)
    for part, tiles in _input_tiles(x, pad, size, transforms, channels):
        some = rows[part]
        some = F.pad(some, (0, 0, 0, -size[1] % tile, 0, -some.shape[1] % tile))
        grid = some.reshape(len(some), -1, tile, some.shape[2] // tile, tile, channels).permute(2, 4, 0, 1, 3, 5)
        spread = (transforms.back.T @ grid.reshape(tile * tile, -1)).view(len(total), -1, channels)
        total.baddbmm_(spread.transpose(1, 2), tiles)
    gradient = transforms.of_filter.T @ total.flatten(1)
    return gradient.view(3, 3, channels, -1).permute(2, 3, 0, 1)


def _input_tiles(
        x: torch.Tensor, pad: tuple[int, int], size: Any, transforms: Transforms, channels: int,
) -> Iterator[tuple[tuple[slice, slice], torch.Tensor]]:
    """The transformed tiles of the input, S² x tiles x C, some at a time; each with the images and rows of the output
    that come of them.

    Args:
        x: N x C x H x W.
        pad: Zeros at each of its borders, down and across.
        size: The output's height and width.
        transforms: Their size.
        channels: Of the output, of which there may be more.
    """
    tile, (_, in_channels, height, width) = transforms.tile, x.shape
    down, across = (-(-side // tile) for side in size)
    padded = x.new_zeros(len(x), down * tile + 2, across * tile + 2, in_channels)
    inside = padded[:, pad[0]:pad[0] + height, pad[1]:pad[1] + width]
    inside.copy_(x.permute(0, 2, 3, 1)[:, :inside.shape[1], :inside.shape[2]])
    n_stride, y_stride, x_stride, _ = padded.stride()
    at_once = max(1, CHUNK // (len(transforms.of_input) * across * max(in_channels, channels)))  # rows of tiles
    images, rows = (at_once // down, down) if at_once >= down else (1, at_once)
    for first in range(0, len(x), images):
        for top in range(0, down, rows):
            number, deep = min(images, len(x) - first), min(rows, down - top)
            tiles = padded.as_strided(
                (tile + 2, tile + 2, number, deep, across, in_channels),
                (y_stride, x_stride, n_stride, tile * y_stride, tile * x_stride, 1),
                first * n_stride + top * tile * y_stride)
            transformed = transforms.of_input @ tiles.reshape(len(transforms.of_input), -1)
            part = slice(first, first + number), slice(top * tile, min((top + deep) * tile, size[0]))
            yield part, transformed.view(len(transforms.of_input), -1, in_channels)
