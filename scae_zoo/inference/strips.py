"""Large images through a network strip by strip: as if they went whole, nothing computed twice, strips alone in memory.

A tile would need margins as wide as the network sees, 224 pixels to each side in VGG-16's auto-encoder: of a tile of
512 pixels, seven tenths of the work would be thrown away.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F

from ..models.autoencoder import Scae
from ..models.segmenter import ScaeSegmenter
from .batching import MIN_SIZE
from .strip_layers import Plane, layers_of, through

STRIP = 2 ** 18  # pixels of a strip: 64 MB of a layer of 64 channels in float32
GPU_STRIP = 2 ** 22  # that keep a GPU busy for as long as it takes to start a layer


@torch.inference_mode()
def in_strips(
        model: Scae | ScaeSegmenter,
        x: torch.Tensor,
        before: Callable[[torch.Tensor], torch.Tensor] = lambda part: part,
        after: Callable[[torch.Tensor], torch.Tensor] = lambda output: output,
        strip: int | None = None,
) -> torch.Tensor:
    """What a network of two halves makes of images, as if they went through it whole.

    Args:
        model: The auto-encoder or segmenter; it is put into evaluation mode.
        x: N x C x H x W, H and W from 1 up, of any type and on any device.
        before: Makes the network's input of a part of ``x``, N x C x h x w.
        after: Makes what is wanted of the network's output, N x K x h x w, a pixel of it of a pixel of that alone: so
            the logits of large images need not be kept.
        strip: Pixels of N images above which they are cut into strips of about as many, across their longer side; by
            default what is fast where the network is. Those of a network whose norms average over the image are not.

    Returns:
        The results, N x K' x H x W, where ``x`` is.
    """
    model.eval()
    number, _, height, width = x.shape
    if strip is None:
        strip = GPU_STRIP if next(model.parameters()).is_cuda else STRIP
    if number * height * width <= strip or max(height, width) < MIN_SIZE or not _is_local(model):
        return after(model(_padded(before(x), MIN_SIZE, MIN_SIZE))[..., :height, :width]).to(x.device)
    dim = 2 if height >= width else 3
    plane = Plane((max(height, MIN_SIZE), max(width, MIN_SIZE)), dim)
    stride = model.encoder.feature_info[-1]['reduction']
    rows = max(1, strip // (number * plane.width * stride)) * stride
    parts = (_padded(before(part), *plane.pair(1, MIN_SIZE)) for part in x.split(rows, dim))
    return _assembled(
        (after(y[..., :height, :width]) for y in through(layers_of(model, plane), parts, dim)), x, dim)


def _assembled(strips: Iterator[torch.Tensor], x: torch.Tensor, dim: int) -> torch.Tensor:
    """The strips of ``x``'s results in one tensor, which is written as they come."""
    result: torch.Tensor | None = None
    done = 0
    for strip in strips:
        if result is None:
            result = torch.empty((len(x), strip.shape[1], *x.shape[2:]), dtype=strip.dtype, device=x.device)
        result.narrow(dim, done, strip.shape[dim]).copy_(strip)
        done += strip.shape[dim]
    assert result is not None
    return result


def _padded(x: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Images with their last rows and columns repeated, where they are smaller."""
    lacking = (max(0, least - side) for least, side in ((width, x.shape[3]), (height, x.shape[2])))
    return F.pad(x, [each for lack in lacking for each in (0, lack)], mode='replicate')


def _is_local(model: nn.Module) -> bool:
    """Whether a pixel of the output depends on no more than its surroundings, as far as is known."""
    halves: Any = model  # nn.Module's attributes have no types
    layers = [*((block.conv, block.bn) for block in halves.encoder.blocks),
              *((block.deconv, block.bn) for block in halves.decoder.blocks)]
    return all(
        isinstance(norm, nn.LayerNorm)  # of timm's kind, over a pixel's channels
        or getattr(norm, 'running_mean', None) is not None
        or conv.bias is not None  # the norm is folded into it
        for conv, norm in layers)


def reconstruct(model: Scae | ScaeSegmenter, x: torch.Tensor, strip: int | None = None) -> torch.Tensor:
    """The reconstruction of corrupted images, N x C x H x W in normalised units, H and W from 1 up; of a segmenter its
    logits, N x num_classes x H x W. ``strip`` as ``in_strips`` has it."""
    return in_strips(model, x, strip=strip)
