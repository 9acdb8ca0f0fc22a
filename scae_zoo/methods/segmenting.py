"""Segmentation: the auto-encoder, its last deconvolution replaced, learns to label pixels (paper, section 3.3)."""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from ..checkpoints.folder import Checkpoint, open_folder
from ..checkpoints.writing import round_as_stored
from ..data.cache import Source
from ..data.image_set import ImageSet, class_difference
from ..data.masks import IGNORED, MAPPING, require_class_indices, values_of
from ..data.sources import Pairs
from ..evaluation.segmentation import mean_iou
from ..extras import require_installed
from ..factory import create_segmenter
from ..models.segmenter import ScaeSegmenter
from ..training.augmentation import RandomCrop
from ..training.batches import Batches, Plain
from ..training.calibration import require_several_values
from ..training.loop import fit
from ..training.settings import Supervised, setting
from ..training.tasks import SegmentationTask
from .pictures import segmentations
from .runs import RunOptions, by_class, configuration, configure, finish, is_finished, running, supervised_summary
from .tensorboard import tensorboard_writer, write_scalars

MASK_VALUES = 'mask_values'  # in a checkpoint's recipe, where they were given


@dataclasses.dataclass(frozen=True, kw_only=True)
class Segmenting(Supervised):
    """Hyper-parameters of a segmenter."""

    batch_size: int = setting(16, 'images a step, over all processes and accumulated parts', low=1)
    init: str = setting('autoencoder', 'what to start from: both halves of the auto-encoder, its encoder, or nothing',
                        choices=('autoencoder', 'encoder', 'random'))


def segment(
        name: str,
        source: Checkpoint | None,
        train: ImageSet,
        settings: Segmenting,
        options: RunOptions,
        test: Pairs | None = None,
) -> Checkpoint:
    """Train a segmenter and write its checkpoint; goes on where an earlier run of the same configuration stopped.

    Args:
        name: ``<architecture>.<tag>`` of the checkpoint.
        source: What ``settings.init`` takes weights from: an auto-encoder, or for 'encoder' a classifier as well.
        train: Images with masks; the classes are numbered where they have no names.
        settings: Hyper-parameters.
        options: Where and how.
        test: Images with masks to be measured on, of any size or scaled.

    Returns:
        The checkpoint, in each of the processes.

    Raises:
        ValueError: The data or an option does not fit.
        TrainingError: The run cannot start or go on.
    """
    if train.targets is None or train.targets.ndim != 3:
        raise ValueError('segmentation needs a mask for each image')
    there = require_class_indices(train.mask_indices or values_of(train.targets), train.classes,
                                  train.place or train.identity)
    if test is not None:
        require_classes(test.source, train.classes)
    train = dataclasses.replace(train, classes=train.classes or tuple(map(str, range(there))))
    if source is None and settings.init != 'random':
        raise ValueError(f'--init {settings.init} needs an auto-encoder to start from; give --from, or --init random')
    torch.manual_seed(settings.seed)
    architecture = name.partition('.')[0]
    model = create_segmenter(
        architecture, len(train.classes), settings.init,  # type: ignore[arg-type]
        weights=str(source.folder.absolute()) if source else None)
    cfg = model.encoder.pretrained_cfg
    crop = settings.crop or cfg['input_size'][-1]
    world = options.world

    random_crop = RandomCrop(crop, settings.flip, scale=(settings.min_scale, settings.max_scale))
    batches = Batches(train, settings, random_crop, Plain(cfg['mean'], cfg['std']), world)
    require_several_values(model, batches, settings)
    config = configuration(name, train, settings, world, source, test)
    if train.mask_values:
        config[MASK_VALUES] = list(train.mask_values)
    if test is not None and not is_finished(options, name):
        require_installed('torchmetrics')
        if world.is_main:
            for _ in checked(test, len(train.classes)):
                pass
    with running(options, config, train, [test]) as run, tensorboard_writer(options) as writer:
        def on_epoch(row: dict[str, Any], _: torch.nn.Module) -> dict[str, float]:
            write_scalars(writer, row)
            return {}

        if not is_finished(options, name):
            trained = fit(SegmentationTask(model, world.device), batches, settings, run, world, on_epoch=on_epoch,
                          on_pass=options.on_pass, compile_model=options.compile_model,
                          save_seconds=options.save_seconds)
            if world.is_main:
                assert isinstance(trained, ScaeSegmenter)
                configure(trained.encoder, train, crop, train.classes)
                metrics, figures = _measure(trained, test, train.classes)
                finish(options, name, trained.encoder, trained.decoder, kind='segmenter', config=config,
                       metrics=metrics, figures=figures,
                       examples=None if test is None else functools.partial(segmentations, trained, test),
                       summary=supervised_summary('Segmenter', train, source, settings.epochs, options.budget))
    return open_folder(options.out / name)


def require_classes(source: Source, classes: Sequence[str]) -> None:
    """Refuse masks whose classes have other names than those that were learned, where both have names."""
    named = list(classes) != [str(i) for i in range(len(classes))]
    if named and source.classes and source.classes != tuple(classes):
        difference = class_difference(source.classes, classes, 'these masks have')
        raise ValueError(f'{source.place or source.identity}: the classes of these masks are not those that were '
                         f'learned ({difference}); number them likewise, with the same classes.txt')


def checked(test: Pairs, classes: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The pairs that a segmenter of so many classes is measured on, each mask looked at.

    Raises:
        ValueError: A mask has another class; or, after the last one, there is nothing to measure.
    """
    seen: set[int] = set()
    for sample, (image, mask) in zip(test.source.samples, test, strict=True):
        here = values_of(mask[None])
        if strange := [value for value in here if classes <= value != IGNORED]:
            ways = '' if test.source.codes else f'; {MAPPING}'
            raise ValueError(f'{sample.mask}: has class {strange[-1]}, but the training masks, or the classes.txt '
                             f'beside them, only 0 to {classes - 1}{ways}')
        seen.update(here)
        yield image, mask
    where = test.source.place or test.identity
    if seen == {IGNORED}:
        raise ValueError(f'{where}: no pixel of these masks is counted (all are {IGNORED}), so that nothing '
                         'can be measured on them')
    if seen == {0, IGNORED} and not test.source.codes:
        raise ValueError(f'{where}: these masks have no class but 0 ({IGNORED} stands for pixels that are not '
                         f'counted), so that nothing can be measured on them; {MAPPING}, such as --mask-values 0,255')


def _measure(
        model: ScaeSegmenter,
        test: Pairs | None,
        classes: tuple[str, ...],
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Figures of the model in the precision that is stored, which it has from here on."""
    round_as_stored(model)
    if test is None:
        return {}, []
    cfg = model.encoder.pretrained_cfg
    result = mean_iou(model, test, len(classes), cfg['mean'], cfg['std'])
    metrics = {
        'mean_iou': {'value': result.miou, 'pixel_accuracy': result.pixel_accuracy, 'images': result.images,
                     **({'size': test.size} if test.size else {})},
        'iou': by_class(classes, result.per_class)}
    scaled = f', shorter side {test.size},' if test.size else ''
    return metrics, [{'type': 'mean_iou', 'name': f'mean IoU on {result.images} images{scaled} (%)',
                      'value': round(result.miou, 2)}]
