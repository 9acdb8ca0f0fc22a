"""What the recipes share: their options, their data, and how they run, report and ship."""

import argparse
import dataclasses
import json
import shlex
import shutil
import statistics
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from filelock import FileLock
from timm.data import ImageNetInfo

from ..checkpoints.finding import WEIGHTS
from ..checkpoints.folder import Checkpoint
from ..checkpoints.writing import copy, update_manifest
from ..console import STOPPED, console, fault_of
from ..data.cache import Source, load
from ..data.image_set import ImageSet
from ..data.sources import PREFIXES, Pairs, dataset_name, dataset_title, few, find_source, only, pairs_of
from ..data.splits import split_name
from ..errors import CheckpointError, TrainingError
from ..extras import require_installed
from ..methods.finetuning import FineTuning, finetune
from ..methods.pretraining import Pretraining, pretrain
from ..methods.runs import RunOptions
from ..methods.segmenting import Segmenting, segment
from ..places import expand, expand_path
from ..training.distributed import World, world

BUDGETS = ('smoke', 'cpu', 'gpu')
SMOKE_IMAGES = 24
ValueT = TypeVar('ValueT')


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A recipe's run. Its options are documented by ``--help``."""

    name: str
    args: argparse.Namespace
    out: Path
    world: World
    results: dict[str, dict[int, float]] = dataclasses.field(default_factory=dict)

    @property
    def budget(self) -> str:
        return self.args.budget

    @property
    def seeds(self) -> list[int]:
        return self.args.seeds

    @property
    def makes_images(self) -> bool:
        """Whether the recipe is tried on images that it made itself, which stand in for all of its data sets."""
        return self.budget == 'smoke' and self.args.data_dir.parent == self.out / 'data'

    def pick(self, **by_budget: ValueT) -> ValueT:
        """The value for this run's budget."""
        return by_budget[self.budget]

    def images(self, split: str, size: int | None, data: str | None = None, masks: bool = False,
               only_classes: Collection[str] = ()) -> ImageSet:
        """The images of a split of the recipe's data set, or of another; a few of them for ``smoke``.

        Args:
            split: 'train', 'val', 'test', or a name that the data set knows.
            size: Side in pixels of the squares that they are made.
            data: Another data set's name or folder.
            masks: Whether to read masks.
            only_classes: Leave out all other classes, where the classes are in sub-folders or known by name.

        Raises:
            ValueError: What ships would not be trained on ImageNet, the other data set, whose name it has.
        """
        source = self.find(split, data, masks)
        if only_classes and not self.makes_images:
            source = only(source, only_classes)
        return load(self._tried(source), size)

    def find(self, split: str, data: str | None = None, masks: bool = False) -> Source:
        """What ``images`` reads, before anything is decoded; the arguments and errors are those of ``images``."""
        place, root = self._place(data or self.args.data)
        source = find_source(place, split, masks=masks, root=root)
        if self.args.ship and data is not None and not 0 < len(source.classes) == len(
                set(source.classes) & set(ImageNetInfo().label_names())):
            raise ValueError(f'--ship: {data} is not known to be ImageNet, whose name the checkpoints have: its images '
                             'are not in folders named by WordNet id')
        return source

    def _place(self, data: str) -> tuple[str, Path | None]:
        """The folder or name to load, and where a named set lies."""
        folder = self.args.data_dir
        if data == self.args.data and self.has_folders:
            return str(folder), None
        if folder is None or Path(data).is_dir():
            return data, None
        return (str(folder), None) if self.makes_images else (data, folder)

    @property
    def has_folders(self) -> bool:
        """Whether ``--data-dir`` is not where a named data set lies, but has folders of images, which need not be the
        data set that the recipe is named for."""
        return self.args.data_dir is not None and (
            not self.args.data.startswith(PREFIXES)
            or split_name(self.args.data_dir, 'train', in_classes=False) is not None)

    @property
    def dataset(self) -> str:
        """What the images are called, as a tag can have it."""
        return dataset_name(str(self.args.data_dir) if self.has_folders else self.args.data)

    def options(self, run: str, data: str | None = None, test_data: str | None = None) -> RunOptions:
        given = [option for option in sys.argv[1:] if option != '--ship']
        budget = [] if '--budget' in given else ['--budget', self.budget]
        command = [*(self.world.launcher or ['python']), f'recipes/{self.name}.py', *budget, *given]
        return RunOptions(
            self.out / run, self.world, command=shlex.join(command),
            dataset=dataset_title(data) if data else self.dataset,
            test_dataset=dataset_title(test_data) if test_data else self.dataset, budget=self.budget,
            compile_model=self.args.compile, wait=True)

    def pretrain(self, name: str, images: ImageSet, settings: Pretraining, test: ImageSet | None = None,
                 data: str | None = None, test_data: str | None = None) -> Checkpoint:
        """Pre-train in a sub-folder of that name, or take what an earlier start of the recipe made there; ``data`` and
        ``test_data`` name the images, where they are not the recipe's own."""
        return pretrain(name, images, settings, self.options(name, data, test_data), test)

    def finetune(self, name: str, source: Checkpoint | None, train: ImageSet, settings: FineTuning, test: ImageSet,
                 run: str, validation: ImageSet | None = None) -> Checkpoint:
        """Likewise fine-tune in the sub-folder ``run``."""
        return finetune(name, source, train, settings, self.options(run), test, validation)

    def segment(self, name: str, source: Checkpoint | None, train: ImageSet, settings: Segmenting,
                test: Pairs, run: str) -> Checkpoint:
        """Likewise train a segmenter."""
        return segment(name, source, train, settings, self.options(run), test)

    def pairs(self, split: str, size: int | None = None) -> Pairs:
        """The images of a split, each in its own size or with its shorter side scaled, and their masks."""
        return pairs_of(self._tried(self.find(split, masks=True)), size)

    def _tried(self, source: Source) -> Source:
        """The images, or a few of them for ``smoke``: of ten classes as many each as any recipe asks for."""
        return few(source, max(SMOKE_IMAGES, 8 * min(len(source.classes), 10) * source.labelled)) \
            if self.budget == 'smoke' else source

    def add(self, row: str, seed: int, value: float) -> None:
        self.results.setdefault(row, {})[seed] = value

    def report(self, paper: Mapping[str, str], unit: str = '%') -> None:
        """Print the table, and write it to ``results.md`` and ``results.json``."""
        if not self.world.is_main:
            return
        lines = [f'| | ours ({unit}), `{self.budget}` budget | seeds | paper |', '| --- | --- | --- | --- |']
        for row, values in self.results.items():
            lines.append(f'| {row} | {mean_and_std(values.values())} | {len(values)} | {paper.get(row, "")} |')
        (self.out / 'results.json').write_text(json.dumps(self.results, indent=2) + '\n')
        self.write_table(lines)

    def write_table(self, lines: Sequence[str]) -> None:
        """Print a table, and write it to ``results.md``."""
        if self.world.is_main:
            (self.out / 'results.md').write_text('\n'.join(lines) + '\n')
            print('\n'.join(lines))

    def show(self, checkpoints: Iterable[Checkpoint]) -> None:
        """Say where the checkpoints are, and how well the auto-encoders undo corruption."""
        for checkpoint in checkpoints if self.world.is_main else ():
            figure = checkpoint.headline if checkpoint.kind == 'autoencoder' else ''
            print(f'checkpoint  {checkpoint.folder}  {figure}'.rstrip())

    def ship(self, checkpoints: Collection[Checkpoint]) -> None:
        """Say where the checkpoints are, and with ``--ship`` write them into the package."""
        self.show(checkpoints)
        if self.args.ship and self.world.is_main:
            for checkpoint in checkpoints:
                copy(checkpoint, WEIGHTS)
            update_manifest()


def headline(checkpoint: Checkpoint) -> float:
    """The figure of a classifier or segmenter, in percent."""
    metrics = checkpoint.metrics
    key = next(key for key in ('accuracy', 'mean_average_precision', 'mean_iou') if key in metrics)
    return metrics[key]['value']


def mean_and_std(values: Iterable[float]) -> str:
    """``80.22 ± 0.37``; of a single value no deviation."""
    values = list(values)
    spread = f' ± {statistics.stdev(values):.2f}' if len(values) > 1 else ''
    return f'{statistics.mean(values):.2f}{spread}'


def smoke_data(kind: str, out: Path, side: int, classes: Sequence[str]) -> Path:
    """A few small real images below ``out/data`` in the form of a recipe's data set; made once."""
    folder = out / 'data' / f'{kind}{side}'
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix('.lock')):
        if (folder / 'whole').exists():
            return folder
        shutil.rmtree(folder, ignore_errors=True)
        from . import sample_images  # which is slow, and for this alone
        writers: dict[str, Callable[[Path, int, int, Sequence[str]], None]] = {
            'classes': sample_images.write_classes, 'multi_label': sample_images.write_multi_label,
            'masks': sample_images.write_masks}
        writers[kind](folder, side, SMOKE_IMAGES, classes)
        (folder / 'whole').touch()
    return folder


@contextmanager
def experiment(
        description: str | None,
        data: str,
        *,
        seeds: Sequence[int] = (0, 1, 2),
        smoke: tuple[str, int, Sequence[str]] = ('classes', 32, ('a', 'b', 'c')),
        rows: bool = False,
        one_seed: bool = False,
        ships: bool = True,
        any_data: bool = False,
        data_help: str = "data set's name",
        options: Callable[[argparse.ArgumentParser], Any] | None = None,
) -> Iterator[Experiment]:
    """Parse a recipe's options; a fault inside the block ends the script with one line.

    Args:
        description: The script's docstring.
        data: The data set's name.
        seeds: Where ``--seeds`` does not say; ``smoke`` takes the first one.
        smoke: Kind, side in pixels and classes of the images that are made for ``--budget smoke`` without a --data-dir.
        rows: Whether it can make some rows of its table only.
        one_seed: Whether it takes a single seed.
        ships: Whether it makes checkpoints that may ship.
        any_data: Whether its checkpoints are named for the data that it is given, not for ``data`` alone.
        data_help: What ``--data`` is, for ``--help``.
        options: Adds the recipe's own options.
    """
    name = Path(sys.argv[0]).stem
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     allow_abbrev=False)
    parser.add_argument('--data', default=data, type=expand, help=f'{data_help} (default: %(default)s)')
    parser.add_argument('--data-dir', metavar='DIR', type=expand_path, help=(
        'folder with train/ and test/ (or val/) to take in place of --data, or where a data set with a name lies '
        '(default: what --data says, which is downloaded if it is such a name)'))
    parser.add_argument('--budget', choices=BUDGETS, default='gpu' if torch.cuda.is_available() else 'cpu',
                        help='size of the runs; smoke: a few images, to try the script (default here: %(default)s)')
    parser.add_argument('--seeds', type=int, nargs=1 if one_seed else '+', metavar='SEED',
                        help=f'seeds of {"all training" if one_seed else "the training with labels, a run each"} '
                             f'(default: {" ".join(map(str, seeds))}{"" if one_seed else "; smoke: the first"})')
    if rows:
        parser.add_argument('--rows', nargs='+', metavar='ROW', help=(
            'rows of the table to make, by the names of their runs (default: all; a wrong name lists them); several '
            'processes can share the work so, in one --out'))
    parser.add_argument('--out', metavar='DIR', type=expand_path,
                        help=f'folder of the runs and tables (default: runs/{name}/BUDGET)')
    parser.add_argument('--device', help='cpu, cuda, ... (default: the GPU if there is one)')
    parser.add_argument('--compile', action='store_true', help='use torch.compile; needs a C++ compiler')
    if ships:
        parser.add_argument('--ship', action='store_true', help="write the checkpoints into the package's weights")
    parser.set_defaults(ship=False)
    if options is not None:
        options(parser)
    args = parser.parse_args()
    if args.data_dir is not None and not args.data_dir.is_dir():
        ways = '; make it to have the data downloaded there' if args.data.startswith(PREFIXES) else ''
        parser.error(f'--data-dir {args.data_dir}: there is no such folder{ways}')
    if args.ship and args.budget == 'smoke':
        parser.error('--ship: the smoke budget makes nothing that is worth it')
    args.seeds = args.seeds or list(seeds[:1] if args.budget == 'smoke' else seeds)
    out = args.out or Path('runs') / name / args.budget
    try:
        require_installed('sklearn', 'torchmetrics')
        with console(), world(args.device) as place:
            if args.budget == 'smoke' and args.data_dir is None:
                args.data_dir = smoke_data(smoke[0], out, *smoke[1:])
            e = Experiment(name, args, out, place)
            given_name = e.dataset if e.has_folders else dataset_name(Path(args.data).name)  # hfds/OWNER/NAME as NAME
            if args.ship and not any_data and given_name != dataset_name(Path(data).name):
                given = args.data_dir if e.has_folders else args.data
                raise ValueError(f'--ship: {given} is not {data}, whose name the checkpoints have')
            yield e
    except (CheckpointError, TrainingError, ValueError, OSError) as error:
        raise SystemExit(f'{name}: error: {fault_of(error)}') from None
    except KeyboardInterrupt:
        print(f'{name}: {STOPPED}', file=sys.stderr)
        raise SystemExit(130) from None
