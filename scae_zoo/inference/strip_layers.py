"""A network's layers for images that come strip by strip: each keeps the few rows that its kernel still needs, and
hands on what is finished."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn as nn
import torch.nn.functional as F

from ..models.autoencoder import Scae
from ..models.decoder import Deconv2d
from ..models.segmenter import ScaeSegmenter

# takes a strip, N x C x h x w, and gives the next one that is finished; None where none is yet
Layer = Callable[[torch.Tensor], torch.Tensor | None]


class Plane(NamedTuple):
    """The H x W of a layer's whole input or output, and the axis, 2 or 3, that is cut into strips. What lies along that
    axis is called rows here, whichever it is, and the other one width."""

    sides: tuple[int, int]
    dim: int

    @property
    def rows(self) -> int:
        return self.sides[self.dim - 2]

    @property
    def width(self) -> int:
        return self.sides[3 - self.dim]

    def pair(self, along: int, across: int) -> tuple[int, int]:
        """A value for each axis."""
        return (along, across) if self.dim == 2 else (across, along)

    def convolved(self, stride: int) -> 'Plane':
        height, width = (-(-side // stride) for side in self.sides)
        return Plane((height, width), self.dim)


class Waiting:
    """Rows that wait for those to which they are added."""

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self.strips: deque[torch.Tensor] = deque()

    def keep(self, x: torch.Tensor) -> torch.Tensor:
        self.strips.append(x)
        return x

    def take(self, rows: int) -> torch.Tensor:
        """Those that have waited longest."""
        taken = []
        while rows:
            strip = self.strips.popleft()
            if strip.shape[self.dim] > rows:
                strip, rest = strip.tensor_split([rows], self.dim)
                self.strips.appendleft(rest)
            rows -= strip.shape[self.dim]
            taken.append(strip)
        return _joined(taken, self.dim)


def _added(
        waiting: Waiting, add: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    return add(x, waiting.take(x.shape[waiting.dim]))


class Convolution:
    """A convolution of a plane, which is padded by zeros on all sides."""

    def __init__(self, conv: nn.Conv2d, plane: Plane) -> None:
        self.conv, self.plane = conv, plane
        self.held: torch.Tensor | None = None  # rows that later ones need
        self.seen = 0

    def __call__(self, x: torch.Tensor) -> torch.Tensor | None:
        conv, dim, padding = self.conv, self.plane.dim, int(self.conv.padding[0])
        span, stride = conv.dilation[0] * (conv.kernel_size[0] - 1) + 1, conv.stride[0]
        self.seen += x.shape[dim]
        above = _zeros(x, padding, dim) if self.held is None else self.held
        x = _joined([above, x, _zeros(x, padding if self.seen == self.plane.rows else 0, dim)], dim)
        done = max(0, (x.shape[dim] - span) // stride + 1)
        self.held = _last(x, done * stride, dim)
        return F.conv2d(
            x, conv.weight, conv.bias, stride, self.plane.pair(0, padding), conv.dilation) if done else None


class Deconvolution:
    """A deconvolution, which gives the plane that its convolution saw."""

    def __init__(self, deconv: Deconv2d, plane: Plane) -> None:
        self.deconv, self.plane = deconv, plane
        self.held: torch.Tensor | None = None
        self.first = self.done = 0  # the row that ``held`` begins with, and how many have been given

    def __call__(self, x: torch.Tensor) -> torch.Tensor | None:
        dim, (stride, _), (kernel, _) = self.plane.dim, self.deconv.stride, self.deconv.kernel_size
        padding = kernel // 2
        if self.held is not None:
            x = _joined([self.held, x], dim)
        end = self.first + x.shape[dim]
        # a row of the input is added to ``kernel`` rows of the output, from stride * row - padding on
        finished = self.plane.rows if end == self.plane.convolved(stride).rows else stride * end - padding
        start, self.done = self.done, max(self.done, finished)
        first, self.first = self.first, max(0, -(-(self.done + padding - kernel + 1) // stride))
        self.held = _last(x, self.first - first, dim)
        if finished <= start:
            return None
        # the operator leaves out ``trim`` rows at both ends, and has fewer than ``stride`` more to give at the lower
        lead = trim = start + padding - stride * first
        length = stride * (end - first - 1) + kernel
        while (more := finished - start + lead + trim - length) >= stride:
            trim -= 1
        more_across = self.plane.width - (stride * (self.plane.convolved(stride).width - 1) + 1)
        y = F.conv_transpose2d(
            x, self.deconv.weight, self.deconv.bias, stride, self.plane.pair(trim, padding),
            self.plane.pair(max(0, more), more_across))
        return y.narrow(dim, lead - trim, finished - start)


class Enlargement:
    """Logits in the image's size, bilinearly, as ``F.interpolate`` makes them of a whole."""

    def __init__(self, plane: Plane, image: Plane) -> None:
        self.plane, self.image = plane, image
        self.held: torch.Tensor | None = None
        self.first = self.done = 0

    def __call__(self, x: torch.Tensor) -> torch.Tensor | None:
        dim = self.plane.dim
        x = F.interpolate(x, self.plane.pair(x.shape[dim], self.image.width), mode='bilinear', align_corners=False)
        if self.held is not None:
            x = _joined([self.held, x], dim)
        rows = torch.arange(self.done, self.image.rows, dtype=torch.float64)
        at = ((rows + 0.5) * (self.plane.rows / self.image.rows) - 0.5).clamp(min=0)
        above = at.long()
        below = (above + 1).clamp(max=self.plane.rows - 1)
        above, below, at = (each[below < self.first + x.shape[dim]] for each in (above, below, at))
        first, self.held = self.first, x
        if not len(above):
            return None
        self.done += len(above)
        self.first = int(above[-1])
        self.held = _last(x, self.first - first, dim)
        weight = (at - above).to(x).view(self.plane.pair(-1, 1))
        above, below = ((each - first).to(x.device) for each in (above, below))
        return torch.lerp(x.index_select(dim, above), x.index_select(dim, below), weight)


def layers_of(model: Scae | ScaeSegmenter, image: Plane) -> list[Layer]:
    """The network's layers, for the strips of one image (or of several at once): what ``forward`` does."""
    planes, layers = [image], list[Layer]()
    halves: Any = model  # nn.Module's attributes have no types
    waiting = [Waiting(image.dim)]
    adds_image = halves.decoder.shortcuts and model.kind == 'autoencoder'  # a compiled one is of no class of ours
    if adds_image:
        layers.append(waiting[0].keep)
    for block in halves.encoder.blocks:
        layers.append(Convolution(block.conv, planes[-1]))
        if block.is_shortcut_source:
            waiting.append(Waiting(image.dim))
            layers.append(waiting[-1].keep)
        layers.append(block.bn)
        planes.append(planes[-1].convolved(block.conv.stride[0]))
    for block, plane in zip(halves.decoder.blocks, reversed(planes[1:-1]), strict=True):
        layers.append(Deconvolution(block.deconv, plane))
        if block.is_shortcut_target:
            layers.append(partial(_added, waiting.pop(), block.add_shortcut))
        layers.append(block.bn)
    if model.kind == 'segmenter':
        layers.append(Convolution(halves.decoder.head, planes[1]))
        if halves.upsample:
            layers.append(Enlargement(planes[1], image))
    else:
        layers.append(Deconvolution(halves.decoder.head, image))
        if adds_image:
            layers.append(partial(_added, waiting.pop(), torch.add))
    return layers


def through(layers: Sequence[Layer], strips: Iterator[torch.Tensor], dim: int) -> Iterator[torch.Tensor]:
    """The strips of the last layer's output, from those of the first one's input, of any number of rows each, which lie
    along the axis ``dim``."""
    slope = 0.  # rows for each pixel of width, of the first strip
    for strip in strips:
        slope = slope or strip.shape[dim] / strip.shape[5 - dim]
        waiting = [(0, strip)]
        del strip  # or it would be in memory for as long as the last layer works
        while waiting:
            if (y := _deeper(layers, waiting, dim, slope)) is not None:
                yield y


def _deeper(
        layers: Sequence[Layer],
        waiting: list[tuple[int, torch.Tensor]],
        dim: int,
        slope: float,
) -> torch.Tensor | None:
    """Take the last of what waits, each with the number of its next layer, through the others.

    What a layer gives goes on in parts where that is several strips: behind the last strip all is finished that waited,
    and the last layers would else take as much more memory.
    """
    first, x = waiting.pop()
    for number, layer in enumerate(layers[first:], first + 1):
        y = layer(x)
        if y is None:
            return None
        x, rows = y, max(1, round(slope * y.shape[5 - dim]))
        if x.shape[dim] > 2 * rows and number < len(layers):
            waiting += [(number, part) for part in reversed(x.split(rows, dim))]
            return None
    return x


def _last(x: torch.Tensor, start: int, dim: int) -> torch.Tensor:
    """The rows from ``start`` on, which keep no others in memory."""
    return x.narrow(dim, start, x.shape[dim] - start).clone()


def _zeros(x: torch.Tensor, rows: int, dim: int) -> torch.Tensor:
    shape = list(x.shape)
    shape[dim] = rows
    return x.new_zeros(shape)


def _joined(parts: list[torch.Tensor], dim: int) -> torch.Tensor:
    parts = [part for part in parts if part.shape[dim]]
    if len(parts) == 1:
        return parts[0]
    shape = list(parts[0].shape)
    shape[dim] = sum(part.shape[dim] for part in parts)
    # torch.cat copies channels_last tensors on one thread
    joined = torch.empty(
        shape, dtype=parts[0].dtype, device=parts[0].device, memory_format=torch.channels_last)
    for part, room in zip(parts, joined.split([part.shape[dim] for part in parts], dim), strict=True):
        room.copy_(part)
    return joined
