"""Semantic segmentation: the auto-encoder, its last deconvolution replaced by a convolution (paper, section 3.3)."""

import os
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F

from .autoencoder import (
    OWN_WEIGHTS,
    UNTRAINED,
    EncoderDecoder,
    agreed_shortcuts,
    check_arguments,
    check_tag,
    create_halves,
    decoder_tensors,
    given,
    known_architecture,
)
from .checkpoints import find
from .decoder import ScaeDecoder
from .models.scae import ScaeEncoder

Init = Literal['autoencoder', 'encoder', 'random']


class ScaeSegmenter(EncoderDecoder):
    """An auto-encoder whose last deconvolution is a 3 x 3 convolution to the classes; no image is added at the end.

    Maps N x C x H x W images in normalised units to N x num_classes x H x W logits. Where the replaced deconvolution
    had stride 2, the logits are up-sampled to the image's size bilinearly.
    """

    def __init__(self, encoder: ScaeEncoder, decoder: ScaeDecoder) -> None:
        super().__init__(encoder, decoder)
        self.num_classes = cast(int, decoder.num_classes)
        self.upsample = encoder.blocks[0].conv.stride != (1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = self.decoder(*self.encoder.forward_shortcuts(x))
        if self.upsample:
            logits = F.interpolate(logits, size=x.shape[-2:], mode='bilinear', align_corners=False)
        return logits


def create_segmenter(
        name: str,
        num_classes: int | None = None,
        init: Init = 'autoencoder',
        pretrained: bool = False,
        *,
        shortcuts: bool | None = None,
        weights: str | os.PathLike[str] | None = None,
        in_chans: int = 3,
        cache_dir: str | None = None,
        **kwargs: Any,
) -> ScaeSegmenter:
    """Create a segmenter, to be trained from an auto-encoder's weights or trained already.

    Args:
        name: An architecture or a checkpoint, ``'scae_vgg16'`` or ``'scae_vgg16.dae_photos'``.
        num_classes: Number of classes. Needed but for ``pretrained``, where another number than the checkpoint's
            starts the last layer anew.
        init: What a segmenter that is still to be trained starts from (paper, Figure 3): both halves of an
            auto-encoder, its encoder alone or that of a classifier, or N(0, 0.01) everywhere.
        pretrained: Load a trained segmenter; ``init`` then has no effect.
        shortcuts: Whether to add the shortcuts. None: as the checkpoint was trained, with them where there is none.
        weights: A tag, the path of a checkpoint's folder, or a repository, ``'hf-hub:USER/REPOSITORY'``, of the kind
            that ``init`` and ``pretrained`` ask for. Without it, and without a tag in ``name``, the architecture's
            default segmenter or auto-encoder.
        in_chans: Channels of the image. Weights made for three are adapted to any other number.
        cache_dir: The Hub's cache, where it is not the usual one.
        kwargs: ``act_layer``, ``norm_layer``, ``device`` and ``dtype``, as for the encoder.

    Raises:
        CheckpointError: The weights are missing, damaged, or do not belong to the architecture.
        ValueError: The architecture or ``init`` is unknown, ``num_classes`` is missing or not positive, ``shortcuts``
            contradicts the checkpoint, or ``weights`` are given where ``init='random'`` takes none.
        TypeError: There is no such argument.
    """
    kwargs = given(kwargs)
    check_arguments(kwargs)
    if init not in ('autoencoder', 'encoder', 'random'):
        raise ValueError(f"init must be 'autoencoder', 'encoder' or 'random', not {init!r}")
    if num_classes is None and not pretrained:
        raise ValueError(
            'num_classes is needed for a segmenter that is not trained yet; pretrained=True loads a trained one')
    if num_classes is not None and num_classes < 1:
        raise ValueError(f'num_classes must be at least 1, not {num_classes}')
    if weights and init == 'random' and not pretrained:
        raise ValueError("init='random' takes no weights; leave one of the two out")
    architecture = known_architecture(name)
    checkpoint = None
    if pretrained or init != 'random':
        any_encoder = init == 'encoder' and (weights or name != architecture)
        kind = 'segmenter' if pretrained else None if any_encoder else 'autoencoder'
        without = f"{UNTRAINED}, num_classes=N and init='random'" if pretrained else "without any: init='random'"
        checkpoint = find(name, weights, kind, cache_dir, f'{OWN_WEIGHTS}; {without}')
        num_classes = checkpoint.config['decoder']['num_classes'] if num_classes is None else num_classes
    else:
        check_tag(name)
    shortcuts = agreed_shortcuts(checkpoint, shortcuts)
    encoder, decoder = create_halves(architecture, checkpoint, shortcuts, num_classes, in_chans, **kwargs)
    if not (pretrained and checkpoint and checkpoint.config['decoder']['num_classes'] == num_classes):
        encoder.pretrained_cfg = {key: value for key, value in encoder.pretrained_cfg.items() if key != 'label_names'}
    if checkpoint is not None and (pretrained or init == 'autoencoder'):
        tensors = decoder_tensors(checkpoint, **kwargs)
        if checkpoint.config['decoder']['num_classes'] != num_classes:
            tensors |= {f'head.{key}': value for key, value in decoder.head.state_dict().items()}
        decoder.load_state_dict(tensors)
    return ScaeSegmenter(encoder, decoder)
