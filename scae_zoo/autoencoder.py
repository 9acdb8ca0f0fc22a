"""The auto-encoder: encoder, decoder and the shortcuts between them."""

import os
from collections.abc import Mapping
from typing import Any, cast

import timm
import torch
import torch.nn as nn

from .checkpoint_folder import DECODER, ENCODER, Checkpoint, CheckpointError, misfit, shapes
from .checkpoints import find, names, split_name, there_are
from .decoder import ScaeDecoder
from .models.scae import ARCHITECTURES, ScaeEncoder

OWN_WEIGHTS = "weights of your own: weights='FOLDER' or 'hf-hub:USER/REPOSITORY'"
UNTRAINED = 'for one still to be trained: pretrained=False'


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


def create_autoencoder(
        name: str,
        pretrained: bool = False,
        *,
        shortcuts: bool | None = None,
        weights: str | os.PathLike[str] | None = None,
        in_chans: int = 3,
        cache_dir: str | None = None,
        **kwargs: Any,
) -> Scae:
    """Create an auto-encoder, by architecture or by checkpoint.

    Args:
        name: ``'scae_vgg16'`` or, with a tag, ``'scae_vgg16.dae_photos'``. Without a tag, ``pretrained`` takes the
            architecture's default auto-encoder.
        pretrained: Load the weights of both halves.
        shortcuts: Whether to add the shortcuts. None: as the checkpoint was trained, with them where there is none.
        weights: A tag, or the path of a checkpoint's folder, or a repository, ``'hf-hub:USER/REPOSITORY'``; implies
            ``pretrained``.
        in_chans: Channels of the image. Weights made for three are adapted to any other number.
        cache_dir: The Hub's cache, where it is not the usual one.
        kwargs: ``act_layer``, ``norm_layer``, ``device`` and ``dtype``, as for the encoder.

    Raises:
        CheckpointError: The weights are missing, damaged, or do not belong to the architecture.
        ValueError: The architecture is unknown, or ``shortcuts`` contradicts the checkpoint.
        TypeError: There is no such argument; an auto-encoder has no classes.
    """
    kwargs = given(kwargs)
    check_arguments(kwargs)
    architecture = known_architecture(name)
    checkpoint = None
    if pretrained or weights:
        checkpoint = find(name, weights, 'autoencoder', cache_dir, f'{OWN_WEIGHTS}; {UNTRAINED}')
    else:
        check_tag(name)
    shortcuts = agreed_shortcuts(checkpoint, shortcuts)
    encoder, decoder = create_halves(architecture, checkpoint, shortcuts, in_chans=in_chans, **kwargs)
    if checkpoint is not None:
        decoder.load_state_dict(adapt_image_channels(decoder_tensors(checkpoint, **kwargs), in_chans))
    return Scae(encoder, decoder)


def given(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that are not None, which means, as to timm, that they are not given."""
    return {key: value for key, value in kwargs.items() if value is not None}


def check_arguments(kwargs: Mapping[str, Any]) -> None:
    """Refuse what no network of two halves can be made with."""
    unknown = sorted(kwargs.keys() - {'act_layer', 'norm_layer', 'device', 'dtype'})
    if unknown:
        raise TypeError(f'{unknown[0]}: no such argument; beside those that are documented there are act_layer, '
                        'norm_layer, device and dtype')


def known_architecture(name: str) -> str:
    """The architecture of a name with or without a tag; a ValueError where there is none of that name."""
    architecture, _ = split_name(name)
    if architecture not in ARCHITECTURES:
        raise ValueError(f'unknown architecture {architecture!r}; there are {", ".join(ARCHITECTURES)}')
    return architecture


def check_tag(name: str) -> None:
    """Refuse the name of a network that is not trained yet where, as in timm, it has a tag that there is not."""
    if split_name(name)[1] not in ('', 'untrained') and name not in names():
        raise CheckpointError(f'{name}: no such checkpoint; {there_are(split_name(name)[0])}; for one still to be '
                              'trained: leave out the tag')


def agreed_shortcuts(checkpoint: Checkpoint | None, wanted: bool | None) -> bool:
    """Whether to add the shortcuts: as the checkpoint was trained, else, also where it has no decoder, as wanted, else
    yes."""
    if checkpoint is None or checkpoint.config.get('decoder') is None:
        return wanted in (None, True)
    trained_with = checkpoint.config['decoder']['shortcuts']
    if wanted not in (None, trained_with):
        raise ValueError(f'{checkpoint.name} was trained with shortcuts={trained_with}, not shortcuts={wanted}')
    return trained_with


def create_halves(
        architecture: str,
        checkpoint: Checkpoint | None,
        shortcuts: bool,
        num_classes: int | None = None,
        in_chans: int = 3,
        **kwargs: Any,
) -> tuple[ScaeEncoder, ScaeDecoder]:
    """A headless encoder, with the checkpoint's weights where one is given, and a random decoder that mirrors it."""
    kwargs = _layers(checkpoint) | kwargs
    decoder = ScaeDecoder(ARCHITECTURES[architecture], in_chans, num_classes, shortcuts, **kwargs)
    return create_encoder(architecture, checkpoint, num_classes=0, in_chans=in_chans, **kwargs), decoder


def _layers(checkpoint: Checkpoint | None) -> dict[str, Any]:
    """The activation and norm that a checkpoint was made with, where they are not the usual ones."""
    args = checkpoint.model_args if checkpoint else {}
    return {key: args[key] for key in ('act_layer', 'norm_layer') if key in args}


def create_encoder(architecture: str, checkpoint: Checkpoint | None, **kwargs: Any) -> ScaeEncoder:
    """timm's model, with the weights of exactly this checkpoint, whatever the environment says, if one is given;
    else with timm's configuration of the untrained network, not that of the architecture's default checkpoint."""
    source: dict[str, Any] = {'pretrained_cfg': 'untrained'}
    if checkpoint is not None:
        kwargs = checkpoint.model_args | given(kwargs)
        source = dict(
            pretrained=True,
            pretrained_cfg=checkpoint.pretrained_cfg,
            pretrained_cfg_overlay={'state_dict': checkpoint.tensors(ENCODER)},
        )
    encoder = cast(ScaeEncoder, timm.create_model(architecture, **source, **kwargs))
    encoder.pretrained_cfg.pop('state_dict', None)
    return encoder


def decoder_tensors(checkpoint: Checkpoint, **kwargs: Any) -> dict[str, torch.Tensor]:
    """The decoder's weights as they are stored, checked to be those of the decoder that the configuration describes."""
    described = checkpoint.config['decoder']
    decoder = ScaeDecoder(
        ARCHITECTURES[checkpoint.architecture], checkpoint.in_chans, described['num_classes'], described['shortcuts'],
        **{**_layers(checkpoint), **kwargs, 'device': 'meta'})
    tensors = checkpoint.tensors(DECODER)
    fault = misfit(shapes(tensors), shapes(decoder.state_dict()))
    if fault:
        raise checkpoint.error(DECODER, fault)
    return tensors


def adapt_image_channels(decoder: dict[str, torch.Tensor], in_chans: int) -> dict[str, torch.Tensor]:
    """A decoder's weights for images of another number of channels, as timm adapts the encoder's first layer:
    one channel is the mean of the three, more are the three repeated."""
    weight, bias = decoder['head.weight'], decoder['head.bias']
    channels = weight.shape[1]
    if in_chans == channels:
        return decoder
    if in_chans == 1:
        weight, bias = weight.mean(1, keepdim=True), bias.mean(0, keepdim=True)
    else:
        index = torch.arange(in_chans) % channels
        weight, bias = weight[:, index], bias[index]
    return {**decoder, 'head.weight': weight, 'head.bias': bias}
