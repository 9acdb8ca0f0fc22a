"""Pre-training: an auto-encoder learns to undo corruption, without labels (paper, sections 2.2 to 2.5)."""

import dataclasses
import functools
from typing import Any

import torch

from ..checkpoints.folder import Checkpoint, open_folder
from ..checkpoints.writing import round_as_stored
from ..corruption import BlockMask, parse_corruption
from ..data.image_set import ImageSet
from ..evaluation.restoration import measure, measured_by
from ..extras import require_installed
from ..factory import create_autoencoder
from ..models.autoencoder import Scae
from ..pixels import denormalize, normalize
from ..training.augmentation import RandomCrop, growing
from ..training.calibration import require_several_values
from ..training.loop import fit
from ..training.settings import FIRST_CROP_HELP, Optimization, setting
from ..training.streaming import TrainingImages, make_batches, watched_workers
from ..training.tasks import DenoisingTask
from .pictures import restored
from .runs import RunOptions, configuration, configure, finish, is_finished, running
from .tensorboard import tensorboard_writer, write_scalars

CORRUPTION_HELP = (
    'gaussian:SIGMA or gaussian:LOW-HIGH (of 255), or block:SHARE[:SIZE] (share of the area 0-1, side of a block in '
    'pixels)')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pretraining(Optimization):
    """The paper gives crops, flips, the loss and Adam at 1e-4 (``--opt adam --lr 1e-4``); the rest is ours."""

    first_crop: int | None = setting(None, FIRST_CROP_HELP, low=17)
    corruption: str = setting('gaussian:5-50', CORRUPTION_HELP)
    clip_noise: bool = setting(True, 'clip noisy pixels to the valid range')
    shortcuts: bool = setting(True, 'shortcuts from the encoder to the decoder')

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            parse_corruption(self.corruption, (0.,), (1.,))
        except ValueError as error:
            raise ValueError(f'--corruption: {error}') from None


def pretrain(
        name: str,
        images: TrainingImages,
        settings: Pretraining,
        options: RunOptions,
        test: ImageSet | None = None,
        held_back: int = 0,
) -> Checkpoint:
    """Train an auto-encoder and write its checkpoint; goes on where an earlier run of the same configuration stopped.

    Args:
        name: ``<architecture>.<tag>`` of the checkpoint.
        images: What to train on; labels are not looked at.
        settings: Hyper-parameters.
        options: Where and how.
        test: Images to measure the auto-encoder on: how well it undoes the corruption that it was trained with.
        held_back: How many of ``images`` take the place of ``test``, and are not trained on.

    Returns:
        The checkpoint, in each of the processes.

    Raises:
        ValueError: The data or an option does not fit.
        TrainingError: The run cannot start or go on.
    """
    what = 'test images'
    if held_back:
        if test is not None or not isinstance(images, ImageSet):
            raise ValueError(f'--held-back {held_back}: ' + (
                'there are test images to measure on; leave it out' if test is not None else
                'not of images that are streamed; give others to --test'))
        test, images = images.held_back(held_back)
        what = 'held-back training images'
    if test is not None and not is_finished(options, name):
        require_installed('torchmetrics')
    torch.manual_seed(settings.seed)
    model = create_autoencoder(name.partition('.')[0], shortcuts=settings.shortcuts)
    cfg = model.encoder.pretrained_cfg
    mean, std = cfg['mean'], cfg['std']
    crop = settings.crop or cfg['input_size'][-1]
    corrupt = parse_corruption(settings.corruption, mean, std, clip=settings.clip_noise)

    if isinstance(corrupt, BlockMask) and not corrupt.blocks(
            torch.zeros(64, 1, crop, crop), torch.Generator().manual_seed(0)).any():
        raise ValueError(f'--corruption {settings.corruption}: masks no pixel of crops of {crop}x{crop}; give a larger '
                         'share, or smaller blocks')

    def prepare(crops: torch.Tensor, _: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        clean = normalize(crops, mean, std)
        return corrupt(clean, generator), clean

    world = options.world
    random_crop = growing(RandomCrop(crop, settings.flip), settings.first_crop, settings.epochs)
    batches = make_batches(images, settings, random_crop, prepare, world)
    require_several_values(model, batches, settings)
    config = configuration(name, images, settings, options.world, test=test)
    if held_back:
        config['held_back'] = held_back
    with watched_workers(), running(options, config, images, [test]) as run, tensorboard_writer(options) as writer:
        @functools.cache
        def examples() -> list[torch.Tensor]:
            return [x[:8].clone() for x in next(batches.epoch(0))]

        def on_epoch(row: dict[str, Any], trained: torch.nn.Module) -> dict[str, float]:
            if writer is not None:
                _draw(writer, row, trained, examples(), mean, std)
            return {}

        if not is_finished(options, name):
            trained = fit(DenoisingTask(model, world.device), batches, settings, run, world, on_epoch=on_epoch,
                          on_pass=options.on_pass, compile_model=options.compile_model,
                          save_seconds=options.save_seconds)
            if world.is_main:
                assert isinstance(trained, Scae)
                configure(trained.encoder, images, crop)
                metrics, figures = _measure(trained, test, settings.corruption, what)
                finish(options, name, trained.encoder, trained.decoder, kind='autoencoder', config=config,
                       summary=_summary(images, settings, crop, options.budget), metrics=metrics, figures=figures,
                       examples=None if test is None else functools.partial(
                           restored, trained, test.images, corrupt, f'{what}, corrupted by {settings.corruption}'))
    return open_folder(options.out / name)


def _summary(images: TrainingImages, settings: Pretraining, crop: int, budget: str) -> str:
    return (
        f'Denoising auto-encoder {"with" if settings.shortcuts else "without"} symmetric shortcuts, trained on '
        f'{len(images):,} images without labels: {settings.epochs} passes, random {crop} x {crop} crops'
        f'{f" that grow from {settings.first_crop} x {settings.first_crop}" if settings.first_crop else ""}'
        f'{", flips" if settings.flip else ""}, corruption {settings.corruption}'
        f'{f" (`{budget}` budget)" * bool(budget)}.')


def _measure(
        model: Scae,
        test: ImageSet | None,
        corruption: str,
        what: str,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Figures of the model in the precision that is stored, which it has from here on."""
    if test is None:
        round_as_stored(model)
        return {}, []
    before = measure(model, test.images, measured_by(corruption), what=what)
    round_as_stored(model)
    after = measure(model, test.images, measured_by(corruption), what=what)
    metrics = {after.key: after.entry, f'{after.key}_before_fp16_storage': before.headline}
    return metrics, after.card


@torch.inference_mode()
def _draw(writer: Any, row: dict[str, Any], model: torch.nn.Module, examples: list[torch.Tensor], mean, std) -> None:
    """The log's row, and the clean, corrupted and reconstructed examples below each other."""
    write_scalars(writer, row)
    corrupted, clean = examples
    model.eval()
    rows = [denormalize(x, mean, std).byte() for x in (clean, corrupted, model(corrupted))]
    writer.add_images('clean, corrupted, reconstructed', torch.cat(rows), row['epoch'])
    model.train()
