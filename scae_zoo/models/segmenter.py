"""Semantic segmentation: the auto-encoder, its last deconvolution replaced by a convolution (paper, section 3.3)."""

from typing import cast

import torch
import torch.nn.functional as F

from .decoder import ScaeDecoder
from .encoder_decoder import EncoderDecoder
from .scae import ScaeEncoder


class ScaeSegmenter(EncoderDecoder):
    """An auto-encoder whose last deconvolution is a 3 x 3 convolution to the classes; no image is added at the end.

    Maps N x C x H x W images in normalised units to N x num_classes x H x W logits. Where the replaced deconvolution
    had stride 2, the logits are up-sampled to the image's size bilinearly.
    """

    kind = 'segmenter'

    def __init__(self, encoder: ScaeEncoder, decoder: ScaeDecoder) -> None:
        super().__init__(encoder, decoder)
        self.num_classes = cast(int, decoder.num_classes)
        self.upsample = encoder.blocks[0].conv.stride != (1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = self.decoder(*self.encoder.forward_shortcuts(x))
        if self.upsample:
            logits = F.interpolate(logits, size=x.shape[-2:], mode='bilinear', align_corners=False)
        return logits
