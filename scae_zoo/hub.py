"""torch.hub's entry points: the auto-encoder, the encoder and the segmenter of each architecture."""

import os
from collections.abc import Callable
from typing import Any

import timm
import torch.nn as nn

from .checkpoints import finding
from .factory import OWN_WEIGHTS, UNTRAINED, create_autoencoder, create_encoder, create_segmenter
from .models.autoencoder import Scae
from .models.segmenter import ScaeSegmenter

EntryPoint = Callable[..., nn.Module]
Weights = str | os.PathLike[str] | None


def entry_points(architecture: str) -> tuple[EntryPoint, EntryPoint, EntryPoint]:
    """``NAME_scae``, ``NAME_scae_encoder`` and ``NAME_scae_segmenter`` of one architecture."""

    def autoencoder(pretrained: bool = True, *, weights: Weights = None, **kwargs: Any) -> Scae:
        return create_autoencoder(architecture, pretrained, weights=weights, **kwargs)

    def encoder(pretrained: bool = True, *, weights: Weights = None, **kwargs: Any) -> nn.Module:
        if weights:
            found = finding.find(
                architecture, weights, cache_dir=kwargs.get('cache_dir'), way_out=f'{OWN_WEIGHTS}; {UNTRAINED}')
            return create_encoder(architecture, found, **kwargs)
        return timm.create_model(architecture, pretrained=pretrained, **kwargs)

    def segmenter(pretrained: bool = True, *, weights: Weights = None, **kwargs: Any) -> ScaeSegmenter:
        return create_segmenter(architecture, pretrained=pretrained, weights=weights, **kwargs)

    autoencoder.__doc__ = f"""{architecture}: the auto-encoder, encoder and decoder, N x 3 x H x W to N x 3 x H x W.

    pretrained: load the weights of both halves. weights: a checkpoint's tag, the path of its folder, or
    hf-hub:USER/REPOSITORY. Other arguments go to scae_zoo.create_autoencoder.
    """
    encoder.__doc__ = f"""{architecture}: the encoder as a timm model, N x 3 x H x W to pooled features or logits.

    pretrained: load the weights of the architecture's default, a classifier where there is one. weights: a checkpoint's
    tag, such as that of an auto-encoder, the path of its folder, or hf-hub:USER/REPOSITORY.
    Other arguments go to timm.create_model (num_classes, in_chans, features_only, ...).
    """
    segmenter.__doc__ = f"""{architecture}: the segmenter, N x 3 x H x W to N x num_classes x H x W logits.

    pretrained: load a trained segmenter; pretrained=False with num_classes and init='autoencoder', 'encoder' or
    'random' makes one to be trained. weights: a checkpoint's tag, the path of its folder, or hf-hub:USER/REPOSITORY.
    Other arguments go to scae_zoo.create_segmenter.
    """
    return autoencoder, encoder, segmenter
