"""The auto-encoder: encoder, decoder and the shortcuts between them."""

from typing import Any

import torch
import torch.nn as nn

from .decoder import ScaeDecoder
from .scae import ScaeEncoder


class EncoderDecoder(nn.Module):
    """What the networks of two halves have in common.

    Args:
        encoder: A headless encoder (``num_classes=0``).
        decoder: Its mirror.
    """

    __jit_unused_properties__ = ['pretrained_cfg']

    def __init__(self, encoder: ScaeEncoder, decoder: ScaeDecoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        # the norms behind the raw outputs that the decoder adds must not be folded into the convolutions
        for source, target in zip(encoder.blocks[:-1], reversed(decoder.blocks), strict=True):
            source.is_shortcut_source = target.is_shortcut_target

    @torch.jit.ignore
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Of both halves. As in timm, norms then count each batch's statistics twice."""
        self.encoder.set_grad_checkpointing(enable)
        self.decoder.grad_checkpointing = enable

    @property
    def pretrained_cfg(self) -> dict[str, Any]:
        """The encoder's, for ``timm.data.resolve_model_data_config``."""
        return self.encoder.pretrained_cfg

    @pretrained_cfg.setter
    def pretrained_cfg(self, cfg: dict[str, Any]) -> None:
        self.encoder.pretrained_cfg = cfg


class Scae(EncoderDecoder):
    """Convolutional denoising auto-encoder with symmetric shortcuts (Dong et al., ICASSP 2018, section 2).

    Maps a corrupted image, N x C x H x W in normalised units (zero-centred, divided by the channels' standard
    deviation), to a reconstruction of the clean one in the same units and of the same size. Any H and W from 17 up.

    Args:
        encoder: A headless encoder (``num_classes=0``).
        decoder: Its mirror; ``decoder.shortcuts`` says whether the raw conv outputs and the image itself are added.
    """

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """The features, N x C_N x H_N x W_N, and what the decoder needs beside them: z_0 … z_{N-1}."""
        return self.encoder.forward_shortcuts(x)

    def decode(self, features: torch.Tensor, raw: list[torch.Tensor]) -> torch.Tensor:
        """The reconstruction, from both results of ``encode``."""
        x = self.decoder(features, raw)
        return x + raw[0] if self.decoder.shortcuts else x

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.decode(*self.encode(x))
