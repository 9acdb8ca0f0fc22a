"""How images go through a network in parts that fit: in batches, as central crops, large ones in overlapping tiles."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F

from ..models.autoencoder import Scae
from ..models.encoder_decoder import EncoderDecoder
from ..models.segmenter import ScaeSegmenter

MIN_SIZE = 17  # pixels; smaller images are padded
TILE = 512  # pixels
BATCH_SIZE, BATCH_PIXELS = 250, 2 ** 21  # at most, of images that go through a network at a time


def receptive_margin(model: EncoderDecoder) -> tuple[int, int]:
    """How far, in pixels, a pixel of the output sees to each side, rounded up to the total stride; and that stride."""
    stride, reach = 1, 0
    for conv in (module for module in model.encoder.modules() if isinstance(module, torch.nn.Conv2d)):
        reach += conv.kernel_size[0] // 2 * stride
        stride *= conv.stride[0]
    # the decoder mirrors the encoder, at most one stride further out for what the rounding of sizes moves
    return -(-(2 * reach + stride) // stride) * stride, stride


@torch.inference_mode()
def in_tiles(
        model: Scae | ScaeSegmenter,
        x: torch.Tensor,
        before: Callable[[torch.Tensor], torch.Tensor] = lambda part: part,
        after: Callable[[torch.Tensor], torch.Tensor] = lambda output: output,
        tile: int = TILE,
) -> torch.Tensor:
    """What a network of two halves makes of images, as if they went through it whole.

    Args:
        model: The auto-encoder or segmenter; it is put into evaluation mode.
        x: N x C x H x W, H and W from 1 up, of any type and on any device.
        before: Makes the network's input of a part of ``x``, N x C x h x w.
        after: Makes what is wanted of the network's output, N x K x h x w, a pixel of it of a pixel of that alone: so
            the logits of large images need not be kept.
        tile: Side in pixels above which the images are cut into tiles. Tiles overlap by what a pixel sees and begin at
            multiples of the network's stride, so that the result is the whole image's (but for the rounding of odd
            sizes in a segmenter that enlarges its logits).

    Returns:
        The results, N x K' x H x W, where ``x`` is.
    """
    model.eval()
    height, width = x.shape[-2:]
    margin, stride = receptive_margin(model)
    tile = -(-tile // stride) * stride
    result: torch.Tensor | None = None
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            first_row, first_col = max(0, top - margin), max(0, left - margin)
            part = before(x[..., first_row:top + tile + margin, first_col:left + tile + margin])
            lacking = (max(0, MIN_SIZE - side) for side in reversed(part.shape[-2:]))
            part = F.pad(part, [each for lack in lacking for each in (0, lack)], mode='replicate')
            y = after(model(part)[..., top - first_row:, left - first_col:])[..., :tile, :tile]
            if result is None:
                result = torch.empty((len(x), y.shape[1], height, width), dtype=y.dtype, device=x.device)
            target = result[..., top:top + tile, left:left + tile]
            target.copy_(y[..., :target.shape[-2], :target.shape[-1]])
    assert result is not None
    return result


def reconstruct(model: Scae | ScaeSegmenter, x: torch.Tensor, tile: int = TILE) -> torch.Tensor:
    """The reconstruction of corrupted images, N x C x H x W in normalised units, H and W from 1 up; of a segmenter its
    logits, N x num_classes x H x W. ``tile`` as ``in_tiles`` has it."""
    return in_tiles(model, x, tile=tile)


def batches_of(images: torch.Tensor, crop: int | None = None, batch_size: int | None = None) -> Sequence[torch.Tensor]:
    """N x C x H x W images in parts of ``batch_size``, or of as many as leave room for a network's features of them
    (or of their crops)."""
    pixels = images.shape[2] * images.shape[3] if crop is None else crop ** 2
    return images.split(batch_size or max(1, min(BATCH_SIZE, BATCH_PIXELS // pixels)))


def check_fits(images: torch.Tensor, crop: int) -> None:
    """Refuse images that are smaller than a crop."""
    if crop > min(images.shape[-2:]):
        raise ValueError(f'images of {images.shape[-2]}x{images.shape[-1]} have no crop of {crop} pixels; '
                         'give a larger --size or a smaller --crop')


def central_crop(images: torch.Tensor, size: int) -> torch.Tensor:
    """The middle ``size`` x ``size`` pixels of N x C x H x W images; a ValueError where they are smaller."""
    check_fits(images, size)
    top, left = ((side - size) // 2 for side in images.shape[-2:])
    return images[..., top:top + size, left:left + size]
