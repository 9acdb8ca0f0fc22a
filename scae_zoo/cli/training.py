"""``scae pretrain``, ``finetune`` and ``segment``: training on the user's own images."""

import argparse
import sys
from pathlib import Path
from typing import Any

from ..checkpoints.bare import means_a_file, open_bare, refuse_pickle
from ..checkpoints.folder import Checkpoint, shapes
from ..console import is_main_process
from ..data.cache import Source, load
from ..data.found import say_found
from ..data.image_set import ImageSet, few_names
from ..data.sources import dataset_name, find_source, load_images, pairs_of, with_mask_values
from ..factory import create_encoder, find_start
from ..methods.finetuning import FineTuning, finetune
from ..methods.pictures import CURVE, EXAMPLES
from ..methods.pretraining import Pretraining, pretrain
from ..methods.runs import RunOptions
from ..methods.segmenting import Segmenting, segment
from ..models.architectures import ARCHITECTURES
from ..places import expand
from ..training.settings import Settings, add_options, from_options
from ..training.streaming import ImageStream
from .arguments import Command, share, tag, whole_number
from .figures import metric_lines
from .options import (
    DATA_HELP,
    Options,
    add_data_options,
    add_mask_values,
    add_needed,
    add_run_options,
    add_test_options,
    default_crop,
    default_size,
    load_test_images,
    run_options,
    test_data,
)

DEFAULT_MODEL = 'scae_springenberg9'


def _configuration(architecture: str, source: Checkpoint | None) -> dict[str, Any]:
    """timm's configuration of the network that a run starts from."""
    if source is not None:
        return source.pretrained_cfg.to_dict()
    return create_encoder(architecture, None, device='meta').pretrained_cfg


def _bare_encoder(args: argparse.Namespace) -> Checkpoint | None:
    """The encoder in a file that another trainer wrote, where --from names a file."""
    if not args.source or not means_a_file(args.source):
        return None
    path = Path(args.source)
    refuse_pickle(path)
    if args.model is None:
        raise ValueError(f'--from {args.source}: give --model with the architecture whose encoder the file holds')
    encoder = create_encoder(args.model, None, num_classes=0, device='meta')
    source, others = open_bare(path, shapes(encoder.state_dict()), encoder.pretrained_cfg)
    if others and is_main_process():
        print(f'{path}: left out, as it is not of the encoder: {few_names(others)}', file=sys.stderr)
    return source


def _start(
        args: argparse.Namespace,
        kind: str | None,
        tag: str,
        source: Checkpoint | None = None,
) -> tuple[Checkpoint | None, str]:
    """What a run starts from, if it is not known yet, and its checkpoint's name."""
    alone = '--init random with --model' if hasattr(args, 'init') else '--model alone'
    if source is None and args.source:
        source = find_start(args.source, kind, '--from', f'{alone} starts from random weights')
    if source is None and not args.model:
        raise ValueError('give --from with what to start from, or --model to start from random weights')
    if source is not None and args.model not in (None, source.architecture):
        raise ValueError(f'--model {args.model} does not fit --from {args.source}, which is {source.architecture}')
    architecture = source.architecture if source else args.model
    return source, f'{architecture}.{args.tag or tag}'


def _held_back(args: argparse.Namespace, source: Source) -> int:
    """How many images are measured on where there are no others: few, and none of a set that is small."""
    if args.held_back is not None:
        return args.held_back
    total = source.total or 0
    return 0 if args.stream or total < 100 or test_data(args) is not None else min(200, max(8, total // 50))


def _report(checkpoint: Checkpoint, options: RunOptions, hint: str) -> int:
    if options.world.is_main:
        print(f'checkpoint  {checkpoint.folder}')
        for line in metric_lines(checkpoint.metrics):
            print(line)
        if not any(isinstance(value, dict) for value in checkpoint.metrics.values()):
            print('not measured, and no examples drawn: there are no images beside those of training; give --test'
                  f'{", or hold some back with --validation" * (checkpoint.kind == "classifier")}')
        pictures = [str(options.out / name) for name in (CURVE, EXAMPLES) if (options.out / name).is_file()]
        if pictures:
            print(f'pictures    {", ".join(pictures)}')
        print(f'next: {hint}')
    return 0


def pretrain_command(args: argparse.Namespace) -> int:
    settings = from_options(Pretraining, args)
    name = f'{args.model}.{args.tag or ("dae_" if settings.shortcuts else "dae_noskip_") + dataset_name(args.data)}'
    cfg = _configuration(args.model, None)
    size, crop = args.size or default_size(cfg, settings.crop), default_crop(cfg, settings.crop)
    with run_options(args, name) as options:
        images: ImageStream | ImageSet
        source = find_source(args.data, args.split, root=args.root, labels=False)
        held_back = _held_back(args, source)
        if args.stream:
            say_found(source, size, crop)
            images = ImageStream(source, size, args.max_unreadable)
        else:
            images = load(source, size, args.max_unreadable, crop, held_back)
        test = load_test_images(args, size, None, labels=False)
        checkpoint = pretrain(name, images, settings, options, test, held_back)
        return _report(checkpoint, options, f'scae finetune LABELLED_IMAGES --from {options.out}')


def finetune_command(args: argparse.Namespace) -> int:
    settings = from_options(FineTuning, args)
    source, name = _start(args, None, f'{"dae_" * bool(args.source)}ft_{dataset_name(args.data)}', _bare_encoder(args))
    cfg = _configuration(args.model, source)
    size, crop = args.size or default_size(cfg, settings.crop), default_crop(cfg, settings.crop)
    with run_options(args, name) as options:
        train = load_images(args.data, args.split, size=size, root=args.root, max_unreadable=args.max_unreadable,
                            crop=crop)
        if args.labels_per_class:
            train = train.labelled(args.labels_per_class, settings.seed)
        validation = None
        if args.validation:
            validation, train = train.split(args.validation, settings.seed)
        test = load_test_images(args, size, crop)
        checkpoint = finetune(name, source, train, settings, options, test, validation)
        return _report(checkpoint, options, f'scae predict PHOTOS --model {options.out} -o predictions.csv')


def segment_command(args: argparse.Namespace) -> int:
    settings = from_options(Segmenting, args)
    if settings.init == 'random' and args.source:
        raise ValueError('--init random takes nothing from --from; give --model instead')
    kind = 'autoencoder' if settings.init == 'autoencoder' else None
    source, name = _start(args, kind, f'{"dae_" * bool(args.source)}seg_{dataset_name(args.data)}')
    cfg = _configuration(args.model, source)
    size, crop = args.size or default_size(cfg, settings.crop), default_crop(cfg, settings.crop)
    with run_options(args, name) as options:
        def masked(data: str, split: str) -> Source:
            return with_mask_values(find_source(data, split, masks=True, root=args.root), args.mask_values)

        train = load(masked(args.data, args.split), size, args.max_unreadable, crop)
        test = test_data(args)
        pairs = None if test is None else pairs_of(masked(test, args.test_split))
        checkpoint = segment(name, source, train, settings, options, pairs)
        return _report(checkpoint, options, f'scae predict PHOTOS --model {options.out} -o masks/')


def add_commands(command: Command) -> None:
    sub = command('pretrain', pretrain_command)
    sub.add_argument('data', metavar='DATA', type=expand, help=f'{DATA_HELP}; labels are not looked at')
    needed = add_needed(sub, 'DATA')
    needed.add_argument('--model', choices=sorted(ARCHITECTURES), default=DEFAULT_MODEL,
                        help='architecture (default: %(default)s)')
    images, measuring = _add_options(sub, needed, Pretraining())
    images.add_argument('--stream', action='store_true',
                        help='decode the images anew each time, by a process a core, where they fit neither memory nor '
                             'the cache on the disk; not for wds/')
    measuring.add_argument('--held-back', metavar='N', type=whole_number(0),
                           help='keep N images from the training and measure on them; 0: none (default: 2 %% of 100 '
                                'images or more, from 8 up to 200, where there are no test images)')

    sub = command('finetune', finetune_command)
    sub.add_argument('data', metavar='DATA', type=expand, help=DATA_HELP)
    needed = add_needed(sub, 'DATA')
    _add_source_options(needed, "; or a safetensors file of another trainer's with the state-dict of our encoder")
    needed.add_argument('--labels-per-class', metavar='N', type=whole_number(1),
                        help='use only N images of each class, drawn by --seed (default: all)')
    _, measuring = _add_options(sub, needed, FineTuning())
    measuring.add_argument('--validation', metavar='SHARE', type=share, default=0.,
                           help='hold back a share of the training images and measure on them during training; all of '
                                'them must fit into memory then (default: %(default)s)')

    sub = command('segment', segment_command)
    sub.add_argument('data', metavar='DATA', type=expand, help='a folder with images/ and masks/, or torch/voc2012')
    needed = add_needed(sub, 'DATA')
    _add_source_options(needed)
    images, _ = _add_options(sub, needed, Segmenting())
    add_mask_values(images, 'they are 0, 1, 2, ... already')


def _add_source_options(needed: Options, more: str = '') -> None:
    needed.add_argument('--from', dest='source', metavar='RUN_OR_CHECKPOINT', type=expand,
                        help='what to start from: the folder of a run or a checkpoint, a name of `scae list`, or '
                             f'hf-hub:USER/REPOSITORY; an architecture alone means its auto-encoder{more}')
    needed.add_argument('--model', choices=sorted(ARCHITECTURES),
                        help='architecture: to start with random weights, where --from is not given'
                             f'{", or that of the file that it names" * bool(more)}')


def _add_options(parser: argparse.ArgumentParser, needed: Options, settings: Settings) -> tuple[Options, Options]:
    """What all training has; returns the groups of the images, and of what is measured on."""
    add_options(parser.add_argument_group('hyper-parameters'), settings, needed)
    images = add_data_options(parser, needed)
    images.add_argument('--split', default='train', help='split of DATA to train on, where it has some '
                                                         '(default: %(default)s)')
    measuring = add_test_options(parser)
    add_run_options(parser, needed).add_argument(
        '--tag', type=tag, help="the checkpoint's name after the architecture's (default: made from DATA's name)")
    return images, measuring
