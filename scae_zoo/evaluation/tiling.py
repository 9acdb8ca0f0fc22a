"""How images go through a network in parts that fit into memory: in batches, and large ones in overlapping tiles."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from ..models.autoencoder import EncoderDecoder, Scae
from ..models.segmenter import ScaeSegmenter

MIN_SIZE = 17  # pixels; smaller images are padded
TILE = 512  # pixels
BATCH_SIZE, BATCH_PIXELS = 250, 2 ** 21  # at most, of images measured at a time


def receptive_margin(model: EncoderDecoder) -> tuple[int, int]:
    """How far, in pixels, a pixel of the output sees to each side, rounded up to the total stride; and that stride."""
    stride, reach = 1, 0
    for conv in (module for module in model.encoder.modules() if isinstance(module, torch.nn.Conv2d)):
        reach += conv.kernel_size[0] // 2 * stride
        stride *= conv.stride[0]
    # the decoder mirrors the encoder, at most one stride further out for what the rounding of sizes moves
    return -(-(2 * reach + stride) // stride) * stride, stride


@torch.inference_mode()
def reconstruct(model: Scae | ScaeSegmenter, x: torch.Tensor, tile: int = TILE) -> torch.Tensor:
    """The reconstruction of corrupted images, N x C x H x W in normalised units, H and W from 1 up; of a segmenter its
    logits, N x num_classes x H x W.

    Args:
        model: The auto-encoder or segmenter; it is put into evaluation mode.
        x: The images.
        tile: Side in pixels above which the images are cut into tiles. Tiles overlap by what a pixel sees and begin at
            multiples of the network's stride, so that the result is the whole image's (but for the rounding of odd
            sizes in a segmenter that enlarges its logits).
    """
    model.eval()
    height, width = x.shape[-2:]
    x = F.pad(x, (0, max(0, MIN_SIZE - width), 0, max(0, MIN_SIZE - height)), mode='replicate')
    margin, stride = receptive_margin(model)
    tile = -(-tile // stride) * stride
    channels = x.shape[1] if isinstance(model, Scae) else model.num_classes
    output = x.new_empty(len(x), channels, *x.shape[-2:])
    for top in range(0, x.shape[-2], tile):
        for left in range(0, x.shape[-1], tile):
            first_row, first_col = max(0, top - margin), max(0, left - margin)
            y = model(x[..., first_row:top + tile + margin, first_col:left + tile + margin])
            y = y[..., top - first_row:, left - first_col:][..., :tile, :tile]
            output[..., top:top + tile, left:left + tile] = y
    return output[..., :height, :width]


def batches_of(images: torch.Tensor, crop: int | None = None, batch_size: int | None = None) -> Sequence[torch.Tensor]:
    """N x C x H x W images in parts of ``batch_size``, or of as many as leave room for a network's features of them
    (or of their crops)."""
    pixels = images.shape[2] * images.shape[3] if crop is None else crop ** 2
    return images.split(batch_size or max(1, min(BATCH_SIZE, BATCH_PIXELS // pixels)))
