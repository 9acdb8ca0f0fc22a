"""The auto-encoder: encoder, decoder and the shortcuts between them."""

import torch

from .encoder_decoder import EncoderDecoder


class Scae(EncoderDecoder):
    """Convolutional denoising auto-encoder with symmetric shortcuts (Dong et al., ICASSP 2018, section 2).

    Maps a corrupted image, N x C x H x W in normalised units (zero-centred, divided by the channels' standard
    deviation), to a reconstruction of the clean one in the same units and of the same size. Any H and W from 17 up.

    Args:
        encoder: A headless encoder (``num_classes=0``).
        decoder: Its mirror; ``decoder.shortcuts`` says whether the raw conv outputs and the image itself are added.
    """

    kind = 'autoencoder'

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """The features, N x C_N x H_N x W_N, and what the decoder needs beside them: z_0 … z_{N-1}."""
        return self.encoder.forward_shortcuts(x)

    def decode(self, features: torch.Tensor, raw: list[torch.Tensor]) -> torch.Tensor:
        """The reconstruction, from both results of ``encode``."""
        x = self.decoder(features, raw)
        return x + raw[0] if self.decoder.shortcuts else x

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.decode(*self.encode(x))
