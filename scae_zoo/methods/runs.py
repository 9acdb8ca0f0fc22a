"""What the three kinds of training share: where a run goes, how it is watched, and how it ends in a checkpoint."""

import dataclasses
import json
import shutil
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from ..checkpoints.card import model_card
from ..checkpoints.finding import split_name
from ..checkpoints.folder import Checkpoint
from ..checkpoints.writing import write
from ..data.image_set import ImageSet
from ..data.sources import Pairs
from ..errors import TrainingError
from ..models.decoder import ScaeDecoder
from ..models.scae import ScaeEncoder
from ..places import expand_path, sync
from ..training.distributed import World
from ..training.loop import SAVE_SECONDS, OnPass
from ..training.provenance import describe_environment, git_revision
from ..training.run_folder import ENVIRONMENTS, LOG, STATE, RunFolder
from ..training.settings import Settings
from ..training.streaming import TrainingImages
from .pictures import CURVE, EXAMPLES, curve, draw

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LONGEST_NAME = 200  # of a checkpoint: file systems take 255 bytes, and ours has a few more while it is written


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """How a run is done; but for the number of processes, none of this changes its result.

    Args:
        out: Folder of the run; the checkpoint is written into it.
        world: This process's place among those of ``torchrun``.
        command: The command that makes the checkpoint again.
        dataset: What it is trained on, for the card.
        test_dataset: What it is measured on, where that is something else.
        budget: The recipe's budget, where a recipe runs.
        compile_model: Use ``torch.compile``.
        tensorboard: Write scalars and pictures to ``out/tensorboard``.
        save_seconds: Time between saved states.
        wait: Wait where another process trains in the folder, and take what it makes; otherwise that is an error.
        on_pass: Called in the main process after each pass over the images with its row of the log: ``epoch``,
            ``loss``, ``lr``, ``images_per_second``, ``seconds`` and, where it was measured, ``validation``. What it
            raises ends the run, which goes on when it is started again.
    """

    out: Path
    world: World
    command: str = ''
    dataset: str = ''
    test_dataset: str = ''
    budget: str = ''
    compile_model: bool = False
    tensorboard: bool = False
    save_seconds: float = SAVE_SECONDS
    wait: bool = False
    on_pass: OnPass | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, 'out', expand_path(self.out))


def configuration(
        name: str,
        data: TrainingImages,
        settings: Settings,
        world: World,
        source: Checkpoint | None = None,
        test: ImageSet | Pairs | None = None,
) -> dict[str, Any]:
    """All that a run's result depends on, to tell a run that goes on from another one."""
    return {'checkpoint': name, 'data': data.identity, 'images': len(data), 'from': source and source.identity,
            'test': test.identity if test else None, **dataclasses.asdict(settings),
            **several(world)}


def several(world: World) -> dict[str, int]:
    """The number of processes, where there are more than one: each draws its own crops."""
    return {'processes': world.size} if world.size > 1 else {}


def is_finished(options: RunOptions, name: str) -> bool:
    """Whether the run ended earlier; its checkpoint's folder is written last and as a whole."""
    return bool(name) and (options.out / name / 'manifest.json').is_file()  # probes, without a name, make none


def _tidy(out: Path, name: str) -> None:
    """Remove what a process that was killed while it wrote the checkpoint or a picture, or just after, has left."""
    if not name:  # probes write none
        return
    for scratch in out.glob(f'.{name}.*'):
        shutil.rmtree(scratch, ignore_errors=True)
    for partial in out.glob('.*.partial'):  # a picture's has a name of its own
        partial.unlink()
    if (out / name / 'manifest.json').is_file():
        (out / STATE).unlink(missing_ok=True)


def _meet(folder: RunFolder, world: World) -> None:
    """Wait until the main process holds the folder. It may have waited for another run, whose end all must see.

    Raises:
        TrainingError: The folder of one of the processes is another one.
    """
    mark, path = [uuid.uuid4().hex], folder.folder / '.meeting'
    try:
        if world.is_main:
            path.write_text(mark[0])
        dist.broadcast_object_list(mark, device=world.device)
        is_same = path.is_file() and path.read_text() == mark[0]
        shared = world.mean(torch.tensor(float(is_same), device=world.device)).item()  # waits until all have looked
    finally:
        if world.is_main:
            path.unlink(missing_ok=True)
    if shared < 1:
        raise TrainingError(f'{folder.folder}: is not the same folder on all machines; give an --out that they share')


def require_disjoint(train: TrainingImages, measured: Iterable[ImageSet | Pairs | None]) -> None:
    """Refuse to measure on what is trained on: on the same files, by whatever paths and links, or the same images of a
    data set that has a name."""
    for test in measured:
        if test is None or train.origins is None or test.origins is None:
            continue
        both = test.origins.among(train.origins)
        if len(both):
            raise ValueError(
                f'{test.origins.file(both[0])}: would be trained on and measured on as well ({len(both):,} such images '
                f'of {len(test):,}); give other images to --test, or another --test-split')


@contextmanager
def running(
        options: RunOptions,
        config: dict[str, Any],
        train: TrainingImages,
        measured: Iterable[ImageSet | Pairs | None],
) -> Iterator[RunFolder]:
    """The run's folder, held by the main process until all have ended.

    Args:
        options: Where and how.
        config: All that the result depends on.
        train: What is trained on.
        measured: What is measured on, during the training or after it.

    Raises:
        ValueError: Something is both trained and measured on.
        TrainingError: Another run is in it, or it is not one folder for all processes.
    """
    if len(name := config.get('checkpoint', '')) > LONGEST_NAME:
        raise ValueError(f'{name}: is too long for the name of a folder; give a shorter --tag')
    require_disjoint(train, measured)
    folder = RunFolder(options.out, config)
    if not options.world.is_main:
        _meet(folder, options.world)
        with folder.status_kept(options.world.rank):
            yield folder
        dist.barrier()
        return
    git_revision()  # of the code that trains: another commit may be checked out while this waits
    with folder.held(options.wait):
        _tidy(options.out, config.get('checkpoint', ''))
        finished = is_finished(options, config.get('checkpoint', ''))
        if finished:
            folder.note_ended()
            print(f'{options.out}: this run has ended before; nothing is trained again', file=sys.stderr)
        else:
            folder.note_environment(describe_environment(options.world.device))
        if options.world.size > 1:
            _meet(folder, options.world)
        with nullcontext() if finished else folder.status_kept():
            yield folder
        if options.world.size > 1:
            dist.barrier()


def configure(
        encoder: ScaeEncoder,
        data: TrainingImages,
        crop: int,
        names: Sequence[str] | None = None,
) -> None:
    """Make timm's configuration of an encoder that of the crops and the classes that it was trained on."""
    pool = -(-crop // encoder.feature_info[-1]['reduction'])
    cfg = {**encoder.pretrained_cfg, 'input_size': (3, crop, crop), 'pool_size': (pool, pool),
           'crop_pct': crop / data.side}
    encoder.pretrained_cfg = cfg if names is None else {**cfg, 'label_names': list(names)}


def by_class(classes: Sequence[str], values: Sequence[float]) -> dict[str, float | None]:
    """Each class's figure as JSON can have it: None for NaN."""
    return {name: None if value != value else value for name, value in zip(classes, values, strict=True)}


def supervised_summary(what: str, data: ImageSet, source: Checkpoint | None, epochs: int, budget: str) -> str:
    """The card's sentence on how such a network was made."""
    start = f'started from {source.name}' if source else 'trained from random weights'
    images = data.description or f'{len(data):,} labelled images'
    return (f'{what} of {len(data.classes)} classes, {start}, with {images}: {epochs} passes'
            f'{f" (`{budget}` budget)" * bool(budget)}.')


def finish(
        options: RunOptions,
        name: str,
        encoder: ScaeEncoder,
        decoder: ScaeDecoder | None,
        *,
        kind: str,
        config: dict[str, Any],
        summary: str,
        metrics: dict[str, Any],
        figures: Sequence[dict[str, Any]],
    examples: Callable[[], 'Figure'] | None,
    multi_label: bool = False,
) -> None:
    """Write the checkpoint of a run that has ended, and then its pictures: ``examples`` only if there are some."""
    *earlier, environment = json.loads((options.out / ENVIRONMENTS).read_text())
    log = [json.loads(line) for line in (options.out / LOG).read_text().splitlines()]
    metrics = {**metrics, 'training_loss': log[-1]['loss'], 'training_seconds': round(log[-1]['seconds'])}
    recipe = {
        'command': options.command,
        **({'budget': options.budget} if options.budget else {}),
        **config,
        **environment,
        **({'earlier_environments': earlier} if earlier else {}),
    }
    dataset = options.dataset or 'images'
    card = model_card(
        name, split_name(name)[0], kind, summary=summary, dataset=dataset, test_dataset=options.test_dataset or dataset,
        figures=figures, command=options.command)
    write(options.out / name, encoder, decoder, recipe=recipe, metrics=metrics, card=card,
          multi_label=multi_label)
    sync(options.out)  # the checkpoint is there before the state goes
    (options.out / STATE).unlink()  # several times the checkpoint's size, and of no more use
    draw(options.out / CURVE, lambda: curve(log, figures))
    if examples is not None:
        draw(options.out / EXAMPLES, examples)
