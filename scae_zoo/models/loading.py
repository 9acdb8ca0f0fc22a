"""From a checkpoint's files to the two halves of a network."""

from collections.abc import Mapping
from typing import Any, cast

import timm
import torch

from ..checkpoints.folder import DECODER, ENCODER, Checkpoint, misfit, shapes
from ..errors import CheckpointError
from .architectures import ARCHITECTURES
from .decoder import ScaeDecoder
from .scae import ScaeEncoder


def halves(
        architecture: str,
        checkpoint: Checkpoint | None = None,
        *,
        layers: Mapping[str, Any],
        shortcuts: bool | None = None,
        num_classes: int | None = None,
        in_chans: int | None = None,
        with_decoder: bool = True,
) -> tuple[ScaeEncoder, ScaeDecoder]:
    """Both halves of a network: the encoder has no classifier.

    Args:
        architecture: Its name.
        checkpoint: Where the weights are from; without one they are random.
        layers: What ``layer_arguments`` gives.
        shortcuts: Whether to add the shortcuts. None: as the checkpoint was trained, with them where there is none.
        num_classes: Of a segmenter. Another number than the checkpoint's starts the last layer anew.
        in_chans: Channels of the image. None: those of the checkpoint, three where there is none.
        with_decoder: Whether the decoder has the checkpoint's weights, too.

    Raises:
        ValueError: ``shortcuts`` contradicts the checkpoint.
        CheckpointError: A file is damaged, or holds another network.
    """
    source = checkpoint if with_decoder else None
    learned = source.config['decoder']['num_classes'] if source else None
    if in_chans is None:
        in_chans = checkpoint.in_chans if checkpoint else 3
    encoder, decoder = _build(architecture, checkpoint, shortcuts, num_classes or learned, in_chans, layers)
    if decoder.num_classes != learned:  # these classes are not those whose names the configuration has
        encoder.pretrained_cfg = {key: value for key, value in encoder.pretrained_cfg.items() if key != 'label_names'}
    if source is not None:
        _load(decoder, source, layers)
    return encoder, decoder


def layer_arguments(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """What both halves are made with besides; None means, as to timm, that it is not given.

    Raises:
        TypeError: There is no such argument.
    """
    layers = given(kwargs)
    unknown = sorted(layers.keys() - {'act_layer', 'norm_layer', 'device', 'dtype'})
    if unknown:
        raise TypeError(f'{unknown[0]}: no such argument; beside those that are documented there are act_layer, '
                        'norm_layer, device and dtype')
    return layers


def require_classes(num_classes: int | None) -> None:
    """Refuse a number of classes that a segmenter cannot have.

    Raises:
        ValueError: It is not positive.
    """
    if num_classes is not None and num_classes < 1:
        raise ValueError(f'num_classes must be at least 1, not {num_classes}')


def require_known(checkpoint: Checkpoint) -> None:
    """Refuse a checkpoint of none of our architectures.

    Raises:
        CheckpointError: It is one.
    """
    if checkpoint.architecture not in ARCHITECTURES:
        raise CheckpointError(f'{checkpoint.folder / "config.json"}: is for {checkpoint.architecture}, not one of this '
                              f'zoo ({", ".join(ARCHITECTURES)}); give another folder')


def require_loadable(checkpoint: Checkpoint) -> None:
    """Refuse a checkpoint whose weights are not those of the network that its configuration describes.

    Raises:
        CheckpointError: A file is missing or damaged, or holds another network.
    """
    if checkpoint.kind == 'classifier':
        create_encoder(checkpoint.architecture, checkpoint)
    else:
        halves(checkpoint.architecture, checkpoint, layers={})


def given(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that are not None."""
    return {key: value for key, value in kwargs.items() if value is not None}


def _build(
        architecture: str,
        checkpoint: Checkpoint | None,
        shortcuts: bool | None,
        num_classes: int | None,
        in_chans: int,
        layers: Mapping[str, Any],
) -> tuple[ScaeEncoder, ScaeDecoder]:
    """Both halves: a headless encoder, which timm gives the checkpoint's weights as it builds it, and a random decoder
    that mirrors it. That adds the shortcuts as the checkpoint was trained, else, also where there is no decoder in it,
    as wanted, else it does.

    Raises:
        ValueError: ``shortcuts`` contradicts the checkpoint.
        CheckpointError: The encoder's file is damaged, or holds another one.
    """
    described = checkpoint.config.get('decoder') if checkpoint else None
    if checkpoint and described and shortcuts not in (None, described['shortcuts']):
        raise ValueError(
            f'{checkpoint.name} was trained with shortcuts={described["shortcuts"]}, not shortcuts={shortcuts}')
    adds = described['shortcuts'] if described else shortcuts in (None, True)
    layers = {**_layers_of(checkpoint), **layers}
    decoder = ScaeDecoder(ARCHITECTURES[architecture], in_chans, num_classes, adds, **layers)
    return create_encoder(architecture, checkpoint, num_classes=0, in_chans=in_chans, **layers), decoder


def _layers_of(checkpoint: Checkpoint | None) -> dict[str, Any]:
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


def _load(decoder: ScaeDecoder, checkpoint: Checkpoint, layers: Mapping[str, Any]) -> None:
    """Give a decoder the checkpoint's weights, which must be those of the decoder that its configuration describes,
    adapted to the image's channels; a last layer for another number of classes stays as it is.

    Raises:
        CheckpointError: The file is damaged, or holds another decoder.
    """
    described = checkpoint.config['decoder']
    expected = ScaeDecoder(
        ARCHITECTURES[checkpoint.architecture], checkpoint.in_chans, described['num_classes'], described['shortcuts'],
        **{**_layers_of(checkpoint), **layers, 'device': 'meta'})
    tensors = checkpoint.tensors(DECODER)
    fault = misfit(shapes(tensors), shapes(expected.state_dict()))
    if fault:
        raise checkpoint.error(DECODER, fault)
    if described['num_classes'] != decoder.num_classes:
        tensors |= {f'head.{key}': value for key, value in decoder.head.state_dict().items()}
    elif decoder.num_classes is None:
        tensors = adapt_image_channels(tensors, shapes(decoder.state_dict())['head.weight'][1])
    decoder.load_state_dict(tensors)


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
