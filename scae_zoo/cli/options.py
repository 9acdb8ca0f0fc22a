"""What the commands' options have in common."""

import argparse
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..checkpoints.folder import Checkpoint
from ..data.cache import MAX_UNREADABLE
from ..data.image_set import ImageSet
from ..data.masks import MAX_CLASSES
from ..data.sources import dataset_title, load_images
from ..data.splits import split_name
from ..factory import create_autoencoder, find_checkpoint
from ..inference.asking import Result
from ..methods.runs import RunOptions
from ..models.autoencoder import Scae
from ..places import expand, expand_path
from ..training.distributed import world
from ..training.loop import SAVE_SECONDS
from .arguments import share, whole_number

Options = argparse._ActionsContainer  # a parser, or a group of its options
DATA_HELP = (
    "a folder of images (flat, a sub-folder a class, or with a labels.csv), or a data set's name: torch/cifar10, "
    'torch/cifar100, torch/stl10, torch/voc2007, torch/voc2012, hfds/NAME, wds/NAME')


def load_autoencoder(model: str, option: str = '') -> tuple[Scae, Checkpoint]:
    checkpoint = find_checkpoint(model, 'autoencoder', option)
    weights = str(checkpoint.folder.absolute())
    return create_autoencoder(checkpoint.architecture, weights=weights), checkpoint


def add_needed(parser: argparse.ArgumentParser, positionals: str) -> Options:
    """The group that the help shows first. All options of the parser belong into groups, then, and the usage names them
    no more: there are too many."""
    parser.usage = f'%(prog)s {positionals} [options]'
    return parser.add_argument_group('options that most runs need')


def add_data_options(parser: argparse.ArgumentParser, needed: Options, whole: str = '') -> Options:
    """How images are read; ``whole`` says of which it is not the middle square that is taken."""
    group = parser.add_argument_group('images')
    group.add_argument('--root', metavar='DIR', type=expand_path,
                       help='where a named data set lies or is downloaded to (default: in the cache)')
    needed.add_argument('--size', type=whole_number(17),
                        help="scale images so that their shorter side has SIZE pixels, and take the middle square "
                             f"(default: in proportion to the crop, as the network's configuration has it){whole}")
    group.add_argument('--max-unreadable', metavar='SHARE', type=share, default=MAX_UNREADABLE,
                       help='share of the image files that may be unreadable and are left out, but not of those that a '
                            'segmenter is measured on (default: %(default)s)')
    return group


def mask_values(text: str) -> tuple[int, ...]:
    """An argument type: the values of masks, in the order of their classes."""
    values = re.split(r'\s*,\s*', text.strip())
    if not all(value.isdecimal() and int(value) < 2 ** 16 for value in values):
        raise argparse.ArgumentTypeError(f'{text!r} are no values of masks: whole numbers up to 65535, such as 0,170')
    numbers = tuple(map(int, values))
    if len(set(numbers)) < len(numbers) or not 2 <= len(numbers) <= MAX_CLASSES:
        raise argparse.ArgumentTypeError(f'{text!r} must be from 2 to {MAX_CLASSES} values, no one twice')
    return numbers


def add_mask_values(parser: Options, default: str) -> None:
    parser.add_argument('--mask-values', metavar='VALUE,VALUE,...', type=mask_values, default=(), help=(
        "values of the masks' pixels, in the order of the classes, such as 0,170: the first one is class 0; 255 is not "
        f'counted, unless it is one of them (default: {default})'))


def add_test_options(parser: argparse.ArgumentParser) -> Options:
    group = parser.add_argument_group('measuring')
    group.add_argument('--test', metavar='DATA', type=expand, help=(
        'images that the result is measured on (default: the split beside the training split, if any)'))
    group.add_argument('--test-split', metavar='SPLIT', default='test', help='split of these (default: %(default)s)')
    return group


def add_run_options(parser: argparse.ArgumentParser, needed: Options, tensorboard: bool = True) -> Options:
    """How a run is done, none of which changes its result."""
    group = parser.add_argument_group('run')
    needed.add_argument('-o', '--out', metavar='DIR', type=expand_path,
                        help='folder of the run; a run that was stopped goes on with the same command '
                             '(default: runs/ and the name of the checkpoint)')
    group.add_argument('--device', help='cpu, cuda, cuda:1, ... (default: the GPU if there is one)')
    group.add_argument('--compile', action='store_true',
                       help='use torch.compile: faster once it is warm; needs a C++ compiler')
    if tensorboard:
        group.add_argument('--tensorboard', action='store_true', help='write scalars and pictures for TensorBoard')
    group.add_argument('--save-seconds', type=float, default=SAVE_SECONDS,
                       help='seconds between saved states (default: %(default)s)')
    return group


def add_photograph_options(
        parser: argparse.ArgumentParser,
        kind: str,
        needed: bool = True,
        images: str = 'photographs of any size, folders of them, or globs',
        default: str | None = None,
) -> None:
    """What the commands have in common that ask a trained network about photographs."""
    parser.add_argument('images', metavar='IMAGES', type=expand, nargs='+', help=images)
    parser.add_argument('--model', metavar='RUN_OR_CHECKPOINT', type=expand, required=needed and default is None,
                        default=default, help=(
        f'{kind}the folder of a run or a checkpoint, a checkpoint or architecture of `scae list`, or '
        f'hf-hub:USER/REPOSITORY{" (default: %(default)s)" * bool(default)}'))
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ... (default: the GPU if there is one)')


def exit_status(result: Result) -> int:
    """1 where some photographs could not be used, which are named already; 2 where none could."""
    if result.failed:
        print(f'scae: {result.failed:,} of {result.failed + len(result.photographs):,} images were left out; they are '
              'named above', file=sys.stderr)
    return 0 if not result.failed else 1 if result.photographs else 2


@contextmanager
def run_options(args: argparse.Namespace, name: str) -> Iterator[RunOptions]:
    """This process's place in the run that the options describe."""
    with world(args.device) as place:
        program = [*place.launcher, '-m', 'scae_zoo'] if place.launcher else ['scae']
        yield RunOptions(
            args.out or Path('runs') / name, place, command=shlex.join([*program, *args.argv]),
            dataset=dataset_title(args.data), test_dataset=dataset_title(test_data(args) or args.data),
            compile_model=args.compile, tensorboard=args.tensorboard,
            save_seconds=args.save_seconds)


def default_size(cfg: dict[str, Any], crop: int | None) -> int:
    """Side that images are scaled to before they are cropped."""
    return round(default_crop(cfg, crop) / cfg['crop_pct'])


def default_crop(cfg: dict[str, Any], crop: int | None) -> int:
    """Side of the crops."""
    return crop or cfg['input_size'][-1]


def load_test_images(args: argparse.Namespace, size: int, crop: int | None, labels: bool = True) -> ImageSet | None:
    """The images to measure on: those asked for, else the test split that lies beside the training split, if any."""
    data = test_data(args)
    return None if data is None else load_images(
        data, args.test_split, size=size, root=args.root, max_unreadable=args.max_unreadable, labels=labels, crop=crop)


def test_data(args: argparse.Namespace) -> str | None:
    """The folder or name of the images to measure on, None where there are none."""
    if args.test:
        return args.test
    folder = Path(args.data)
    if folder.is_dir():
        ours, beside = (split_name(folder, split) for split in (args.split, args.test_split))
        return args.data if ours and beside and beside != ours else None  # without ours, all below is trained on
    # of a named set only beside its own training split: what another one shares with the test split is not known here
    return args.data if args.data.startswith('torch/') and args.split == 'train' else None
