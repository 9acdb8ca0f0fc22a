"""Fine-tuning: the pre-trained encoder becomes a classifier, of one label an image or of many (paper, section 3)."""

import dataclasses
import functools
import math
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from ..checkpoints.folder import Checkpoint, open_folder
from ..checkpoints.writing import round_as_stored
from ..data.image_files import subfolders
from ..data.image_set import ImageSet
from ..evaluation.classification import (
    accuracy,
    average_precisions,
    logits,
    logits_and_flip_average,
    mean_average_precision,
    ten_crop_scores,
)
from ..extras import require_installed
from ..factory import create_encoder
from ..models.scae import ScaeEncoder
from ..pixels import normalize
from ..training.augmentation import Mix, RandomCrop, StrongAugmentation, growing
from ..training.batches import Batches, Plain
from ..training.calibration import calibrate_batch_norm, require_several_values
from ..training.loop import fit
from ..training.precision import fast_forward
from ..training.settings import FIRST_CROP_HELP, Supervised, setting
from ..training.tasks import classification_task
from .pictures import mistakes
from .runs import RunOptions, by_class, configuration, configure, finish, is_finished, running, supervised_summary
from .tensorboard import tensorboard_writer, write_scalars


@dataclasses.dataclass(frozen=True, kw_only=True)
class FineTuning(Supervised):
    """Hyper-parameters of a classifier. The paper gives crops and flips (none with 4,000 labels)."""

    batch_size: int = setting(64, 'images a step, over all processes and accumulated parts', low=1)
    first_crop: int | None = setting(None, FIRST_CROP_HELP, low=17)
    layer_decay: float | None = setting(None, 'learning rate of a layer relative to the next one', above=0, high=1)
    pad: int = setting(0, 'pixels by which a crop may reach over the border', low=0)
    strength: float = setting(0., 'strength of random rotation, shear, scale and colour, 0-1', low=0, high=1)
    cutout: float = setting(0., 'side of a blanked square, as a share of the crop', low=0, high=1)
    mixup: float = setting(0., 'parameter of mixup; 0: none', low=0)
    cutmix: float = setting(0., 'parameter of CutMix; 0: none', low=0)
    label_smoothing: float = setting(0., 'label smoothing', low=0, high=1)
    drop_rate: float = setting(0., 'dropout before the classifier', low=0, high=1)
    in_drop_rate: float = setting(0., 'dropout on the image (All-CNN: 0.2)', low=0, high=1)
    down_drop_rate: float = setting(0., 'dropout after each down-sampling (All-CNN: 0.5)', low=0, high=1)
    freeze: bool = setting(False, 'train the classifier alone')


def finetune(
        name: str,
        source: Checkpoint | None,
        train: ImageSet,
        settings: FineTuning,
        options: RunOptions,
        test: ImageSet | None = None,
        validation: ImageSet | None = None,
) -> Checkpoint:
    """Train a classifier and write its checkpoint; goes on where an earlier run of the same configuration stopped.

    Args:
        name: ``<architecture>.<tag>`` of the checkpoint.
        source: The checkpoint whose encoder it starts from; None: from N(0, 0.01).
        train: Labelled images.
        settings: Hyper-parameters.
        options: Where and how.
        test: Images that the final figures are measured on.
        validation: Images that the accuracy is measured on up to 20 times during training, for the log alone.

    Returns:
        The checkpoint, in each of the processes.

    Raises:
        ValueError: The data or an option does not fit.
        TrainingError: The run cannot start or go on.
    """
    if train.targets is None or not train.classes:
        raise ValueError('fine-tuning needs labels: a sub-folder a class, or a labels.csv')
    if len(train.classes) < 2 and not train.multi_label:
        raise ValueError(f'there is one class only, {train.classes[0]}; fine-tuning needs two or more{_hint(train)}')
    for what, measured in (('test', test), ('validation', validation)):
        if measured is not None:
            measured.require_classes(train.classes, what)
            if measured.multi_label != train.multi_label:
                raise ValueError('an image has one label in the one set and any number of them in the other; '
                                 'train and measure on sets of one kind')
    if train.multi_label and (test or validation) is not None and not is_finished(options, name):
        require_installed('sklearn')
    if train.multi_label and settings.label_smoothing:
        raise ValueError('--label-smoothing is for images with one label each')
    torch.manual_seed(settings.seed)
    encoder = create_classifier(name.partition('.')[0], source, train.classes, settings)
    cfg = encoder.pretrained_cfg
    crop = settings.crop or cfg['input_size'][-1]
    world = options.world
    random_crop = growing(RandomCrop(crop, settings.flip, settings.pad, (settings.min_scale, settings.max_scale)),
                          settings.first_crop, settings.epochs)
    batches = Batches(train, settings, random_crop, _Prepare(settings, cfg, train), world)
    require_several_values(encoder, batches, settings)
    config = configuration(name, train, settings, world, source, test)
    with running(options, config, train, [test, validation]) as run, tensorboard_writer(options) as writer:
        # at most 20 times, and a tenth of the training's time: an image is measured in a third of the time of a step
        every = math.ceil(max(settings.epochs / 20, 10 / 3 * len(validation or ()) / len(train)))

        def on_epoch(row: dict[str, Any], model: torch.nn.Module) -> dict[str, float]:
            result = {}
            if validation is not None and (row['epoch'] % every == 0 or row['epoch'] == settings.epochs):
                with fast_forward(world.device):
                    value = score(model, validation, cfg, crop)
                result = {} if math.isnan(value) else {'validation': value}  # no image of any class was held back
            write_scalars(writer, {**row, **result})
            return result

        task = classification_task(encoder, train.multi_label, world.device, settings.label_smoothing)
        if not is_finished(options, name):
            trained = fit(task, batches, settings, run, world, on_epoch=on_epoch,
                          on_pass=options.on_pass, compile_model=options.compile_model,
                          save_seconds=options.save_seconds, layer_decay=settings.layer_decay)
            if not settings.freeze:
                calibrate_batch_norm(trained, batches.prepared(Plain(cfg['mean'], cfg['std'])), settings.epochs)
            if world.is_main:
                assert isinstance(trained, ScaeEncoder)
                configure(trained, train, crop, train.classes)
                metrics, figures, scores = _measure(trained, test, crop)
                finish(options, name, trained, None, kind='classifier', config=config,
                       summary=supervised_summary('Classifier', train, source, settings.epochs, options.budget),
                       metrics=metrics, figures=figures, multi_label=train.multi_label,
                       examples=None if test is None else functools.partial(mistakes, test, scores, crop))
    return open_folder(options.out / name)


def _hint(train: ImageSet) -> str:
    """What to give in place of a folder that has a single one, in which the classes may be."""
    within = Path(train.origins.place if train.origins else '', train.classes[0])
    classes = subfolders(within) if within.is_dir() else []
    return f'; give {within}, which has the folders {", ".join(classes[:5])}, if that is meant' if classes else ''


def create_classifier(
        architecture: str,
        source: Checkpoint | None,
        classes: tuple[str, ...],
        settings: FineTuning,
) -> ScaeEncoder:
    """The encoder with a classifier on top, frozen but for that where the settings say so. The classifier is a new one,
    unless the source has one that is known to be of the same classes."""
    encoder = create_encoder(
        architecture, source, num_classes=len(classes), drop_rate=settings.drop_rate,
        in_drop_rate=settings.in_drop_rate, down_drop_rate=settings.down_drop_rate)
    if source is not None and source.kind == 'classifier' and source.pretrained_cfg.label_names != classes:
        encoder.reset_classifier(len(classes))  # it may have as many classes, and other ones
    if settings.freeze:
        encoder.blocks.requires_grad_(False)
    return encoder


class _Prepare:
    """uint8 crops and their labels to what the network is fed."""

    def __init__(self, settings: FineTuning, cfg: dict[str, Any], data: ImageSet) -> None:
        self.mean, self.std = cfg['mean'], cfg['std']
        self.classes = len(data.classes)
        self.strong = StrongAugmentation(settings.strength, settings.cutout)
        self.mix = Mix(settings.mixup, settings.cutmix) if settings.mixup or settings.cutmix else None
        if self.mix and data.multi_label:
            raise ValueError('--mixup and --cutmix are for images with one label each')

    def __call__(
            self,
            crops: torch.Tensor,
            targets: torch.Tensor,
            generator: torch.Generator,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.strong(normalize(crops, self.mean, self.std), generator)
        if self.mix is None:
            return x, targets
        return self.mix(x, F.one_hot(targets, self.classes).float(), generator)


def score(model: torch.nn.Module, data: ImageSet, cfg: dict[str, Any], crop: int) -> float:
    """Accuracy, or mean average precision for many labels, both in percent, on central crops."""
    assert data.targets is not None
    output = logits(model, data.images, cfg['mean'], cfg['std'], crop=crop)
    if data.multi_label:
        return mean_average_precision(average_precisions(output, data.targets))
    return accuracy(output, data.targets)


def _measure(
        model: ScaeEncoder,
        test: ImageSet | None,
        crop: int,
) -> tuple[dict[str, Any], list[dict[str, Any]], torch.Tensor]:
    """Figures of the model in the precision that is stored, which it has from here on, and its logits."""
    if test is None:
        round_as_stored(model)
        return {}, [], torch.empty(0)
    assert test.targets is not None
    cfg = model.pretrained_cfg
    if test.multi_label:
        round_as_stored(model)
        scores = ten_crop_scores(model, test.images, cfg['mean'], cfg['std'], crop)
        precisions = average_precisions(scores, test.targets)
        result = mean_average_precision(precisions)
        metrics: dict[str, Any] = {
            'mean_average_precision': {'value': result, 'images': len(test), 'crops': 10, 'seed': 0},
            'average_precision': by_class(test.classes, precisions)}
        return metrics, [{'type': 'mean_average_precision', 'name': f'mAP on {len(test)} images, 10 crops (%)',
                          'value': round(result, 2)}], scores
    before = score(model, test, cfg, crop)
    round_as_stored(model)
    scores, averaged = logits_and_flip_average(model, test.images, cfg['mean'], cfg['std'], crop)
    result, flipped = accuracy(scores, test.targets), accuracy(averaged, test.targets)
    metrics = {
        'accuracy': {'value': result, 'flip_average': flipped, 'images': len(test), 'crop': crop},
        'accuracy_before_fp16_storage': before}
    figures = [
        {'type': 'accuracy', 'name': f'accuracy on {len(test)} test images, central crop (%)',
         'value': round(result, 2)},
        {'type': 'accuracy', 'name': 'the same, averaged with the mirrored image (%)', 'value': round(flipped, 2)}]
    return metrics, figures, scores
