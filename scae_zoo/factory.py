"""From a name, a folder or a repository to a network: auto-encoders, segmenters and encoders."""

import os
from pathlib import Path
from typing import Any, Literal

from .checkpoints.finding import find, means_a_folder, open_elsewhere, resolve, split_name
from .checkpoints.folder import Checkpoint, open_folder
from .errors import CheckpointError
from .models.architectures import ARCHITECTURES
from .models.autoencoder import Scae
from .models.loading import create_encoder as create_encoder  # here for those who create the other two here
from .models.loading import halves, layer_arguments, require_classes, require_known
from .models.segmenter import ScaeSegmenter

OWN_WEIGHTS = "weights of your own: weights='FOLDER' or 'hf-hub:USER/REPOSITORY'"
Init = Literal['autoencoder', 'encoder', 'random']  # what a segmenter starts from
UNTRAINED = 'for one still to be trained: pretrained=False'


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
    layers = layer_arguments(kwargs)
    architecture, checkpoint = resolve(
        name, weights, 'autoencoder', ARCHITECTURES, needed=bool(pretrained or weights), cache_dir=cache_dir,
        way_out=f'{OWN_WEIGHTS}; {UNTRAINED}')
    return Scae(*halves(architecture, checkpoint, shortcuts=shortcuts, in_chans=in_chans, layers=layers))


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
    layers = layer_arguments(kwargs)
    if init not in ('autoencoder', 'encoder', 'random'):
        raise ValueError(f"init must be 'autoencoder', 'encoder' or 'random', not {init!r}")
    if num_classes is None and not pretrained:
        raise ValueError(
            'num_classes is needed for a segmenter that is not trained yet; pretrained=True loads a trained one')
    require_classes(num_classes)
    if weights and init == 'random' and not pretrained:
        raise ValueError("init='random' takes no weights; leave one of the two out")
    any_encoder = init == 'encoder' and (weights or '.' in name)
    without = f"{UNTRAINED}, num_classes=N and init='random'" if pretrained else "without any: init='random'"
    architecture, checkpoint = resolve(
        name, weights, 'segmenter' if pretrained else None if any_encoder else 'autoencoder', ARCHITECTURES,
        needed=pretrained or init != 'random', cache_dir=cache_dir, way_out=f'{OWN_WEIGHTS}; {without}')
    return ScaeSegmenter(*halves(
        architecture, checkpoint, shortcuts=shortcuts, num_classes=num_classes, in_chans=in_chans, layers=layers,
        with_decoder=pretrained or init == 'autoencoder'))


def find_checkpoint(model: str, kind: str | None = None, option: str = '', way_out: str = '') -> Checkpoint:
    """The checkpoint that a name, an architecture, a checkpoint's folder, a run's folder, or ``hf-hub:USER/REPOSITORY``
    means.

    Args:
        model: That.
        kind: 'autoencoder', 'classifier' or 'segmenter', where it matters.
        option: The option of the command line that it was given with, for messages.
        way_out: What can be done besides where there is none, likewise.

    Raises:
        CheckpointError: There is none, or more than one, or it is not of the kind asked for.
    """
    try:
        return _found(model, kind, way_out)
    except CheckpointError as error:
        raise CheckpointError(f'{option} {error}'.strip()) from None


def _found(model: str, kind: str | None, way_out: str) -> Checkpoint:
    is_name = split_name(model)[0] in ARCHITECTURES
    checkpoint = None
    if Path(os.path.expanduser(model)).is_dir() or ':' in model:
        checkpoint = open_elsewhere(model) or (None if is_name else open_folder(model))
    if checkpoint is not None:
        require_known(checkpoint)
        checkpoint.require(kind)
        return checkpoint
    if not is_name:
        raise CheckpointError(f'{model}: is neither a folder nor a model; `scae list` shows what there is')
    return find(model, kind=kind, way_out='; '.join(filter(None, (
        'give the folder of one that you trained, or hf-hub:USER/REPOSITORY', way_out,
        '`scae list` shows what there is'))))


def find_start(model: str, kind: str | None = None, option: str = '', way_out: str = '') -> Checkpoint:
    """What training starts from or is probed: as ``find_checkpoint``, but an architecture's name alone means its
    auto-encoder, not its default, which may be a classifier that has seen labels."""
    alone = model in ARCHITECTURES and not means_a_folder(model)
    return find_checkpoint(model, kind or ('autoencoder' if alone else None), option, way_out)
