"""``scae evaluate`` and ``scae probe``: how good a network is, and what each of its layers knows."""

import argparse
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
import yaml

from ..checkpoints.folder import Checkpoint
from ..corruption import parse_corruption
from ..data.cache import Source, load
from ..data.image_set import ImageSet, class_difference, few_names
from ..data.masks import joined
from ..data.sources import few, find_source, load_images, pairs_of, with_mask_values
from ..evaluation.classification import (
    TEN_CROPS,
    accuracies,
    average_precisions,
    mean_average_precision,
    ten_crop_scores,
)
from ..evaluation.restoration import EVALUATION_SIGMA, measure, measured_by
from ..evaluation.segmentation import mean_iou
from ..factory import create_encoder, create_segmenter, find_checkpoint, find_start
from ..inference.batching import central_crop
from ..methods.pretraining import CORRUPTION_HELP
from ..methods.probing import LayerQuality, Probing, probe
from ..methods.runs import RunOptions
from ..methods.segmenting import MASK_VALUES, checked, require_classes
from ..places import expand
from ..training.distributed import world
from ..training.settings import add_options, from_options
from .arguments import Command, add_json, whole_number
from .figures import evaluation_lines, print_json
from .options import (
    DATA_HELP,
    add_data_options,
    add_mask_values,
    add_needed,
    add_run_options,
    add_test_options,
    default_crop,
    default_size,
    load_autoencoder,
    test_data,
)


def evaluate_command(args: argparse.Namespace) -> int:
    if args.sigma is not None and not 0 <= args.sigma < float('inf'):
        raise ValueError(f'--sigma must be a finite number, at least 0, not {args.sigma}')
    if args.corruption is not None:
        if args.sigma is not None:
            raise ValueError(f'--sigma: --corruption {args.corruption} is given; leave one of the two out')
        try:  # a wrong option is refused before anything is loaded
            parse_corruption(args.corruption, (0.,), (1.,))
        except ValueError as error:
            raise ValueError(f'--corruption: {error}') from None
    checkpoint = find_checkpoint(args.name)
    for option, given, kind in (
            ('--crop', args.crop, 'autoencoder'), ('--corruption', args.corruption, 'autoencoder'),
            ('--sigma', args.sigma is not None, 'autoencoder'), ('--mask-values', args.mask_values, 'segmenter')):
        if given and checkpoint.kind != kind:
            raise ValueError(f'{option}: for {kind.replace("autoe", "auto-e")}s; {checkpoint.name} is a '
                             f'{checkpoint.kind}')
    with world(args.device) as place:
        found = {'autoencoder': _evaluate_autoencoder, 'classifier': _evaluate_classifier,
                 'segmenter': _evaluate_segmenter}[checkpoint.kind](args, checkpoint, place.device)
    if args.json:
        print_json(found)
    else:
        print('\n'.join(evaluation_lines(found)))
    return 0


def _found(checkpoint: Checkpoint, args: argparse.Namespace, images: int, measured: dict[str, Any],
           comparable: bool = True, **conditions: Any) -> dict[str, Any]:
    """What was measured, by the keys of metrics.json, under which conditions, and the card's entries beside it where
    they are ``comparable``."""
    recorded = {key: checkpoint.metrics[key] for key in measured if key in checkpoint.metrics and comparable}
    none = dict.fromkeys(('corruption', 'sigma', 'seed', 'size', 'crop', 'crops'))
    return {'name': checkpoint.name, 'kind': checkpoint.kind, 'data': args.data, 'images': images, **none, **conditions,
            'measured': measured, 'card': recorded or None}


def _source(args: argparse.Namespace, checkpoint: Checkpoint, masks: bool = False, labels: bool = True) -> Source:
    source = find_source(args.data, args.split, masks=masks, root=args.root, labels=labels)
    ours, learned = (f' {each} '.replace(',', ' ') for each in (source.identity, _recorded(checkpoint, 'data')))
    if ours in learned:  # or a part of them
        print(f'{checkpoint.name} was trained on these images ({source.identity}): this does not say how good it is on '
              'others', file=sys.stderr)
    return few(source, args.limit) if args.limit else source


def _recorded(checkpoint: Checkpoint, key: str) -> Any:
    """What a checkpoint's recipe says; None where it does not."""
    with suppress(OSError, KeyError, TypeError, ValueError, yaml.YAMLError):  # others may write what they like there
        return yaml.safe_load((checkpoint.folder / 'recipe.yaml').read_text('utf-8'))[key]
    return None


def _images(args: argparse.Namespace, checkpoint: Checkpoint, size: int, crop: int | None,
            labels: bool = True) -> ImageSet:
    return load(_source(args, checkpoint, labels=labels), args.size or size, args.max_unreadable, crop)


def _evaluate_autoencoder(args: argparse.Namespace, checkpoint: Checkpoint, device: torch.device) -> dict[str, Any]:
    model, _ = load_autoencoder(args.name)
    cfg = model.encoder.pretrained_cfg
    corruption = args.corruption or _measured_by(args.sigma, checkpoint)
    images = _images(args, checkpoint, default_size(cfg, args.crop), args.crop,
                     labels=False).images  # as training measured them
    if args.crop:
        images = central_crop(images, args.crop)
    result = measure(model.to(device), images, corruption, seed=args.seed)
    recorded = checkpoint.metrics.get(result.key)
    comparable = isinstance(recorded, dict) and result.corruption.items() <= recorded.items() and not args.crop
    figures = result.quality._asdict()
    return _found(checkpoint, args, figures.pop('images'), {result.key: figures}, comparable, corruption=corruption,
                  sigma=result.corruption.get('sigma'), seed=args.seed, crop=args.crop)


def _measured_by(sigma: float | None, checkpoint: Checkpoint) -> str:
    """What an auto-encoder is measured with where no --corruption is given: Gaussian noise of that sigma, else what
    training measured it with."""
    if sigma is None:
        with suppress(TypeError, ValueError):  # others may write what they like there, or nothing
            return measured_by(_recorded(checkpoint, 'corruption'))
    return f'gaussian:{EVALUATION_SIGMA if sigma is None else sigma}'


def _evaluate_classifier(args: argparse.Namespace, checkpoint: Checkpoint, device: torch.device) -> dict[str, Any]:
    model = create_encoder(checkpoint.architecture, checkpoint).to(device)
    cfg = model.pretrained_cfg
    crop = cfg['input_size'][-1]
    images = _images(args, checkpoint, default_size(cfg, None), crop)
    names = tuple(cfg.get('label_names') or ())
    fault = ''
    if images.targets is None:
        fault = 'the images have no labels'
    elif names and names != images.classes:
        fault = class_difference(images.classes, names)
    elif len(images.classes) != model.num_classes:
        fault = f'the images have {few_names(images.classes)}; the network knows {model.num_classes}, without names'
    if fault:
        raise ValueError(f'{args.data}: needs the {model.num_classes} classes that {checkpoint.name} was trained on, '
                         f'a sub-folder each or in a labels.csv; {fault}')
    images.require_classes(images.classes)
    assert images.targets is not None
    if images.multi_label:
        scores = ten_crop_scores(model, images.images, cfg['mean'], cfg['std'], crop)
        precisions = average_precisions(scores, images.targets)
        return _found(checkpoint, args, len(images), {
            'mean_average_precision': {'value': mean_average_precision(precisions)},
            'average_precision': dict(zip(images.classes, precisions, strict=True)),
        }, seed=0, crop=crop, crops=TEN_CROPS)
    central, flipped = accuracies(model, images, cfg, crop)
    return _found(checkpoint, args, len(images), {'accuracy': {'value': central, 'flip_average': flipped}}, crop=crop)


def _evaluate_segmenter(args: argparse.Namespace, checkpoint: Checkpoint, device: torch.device) -> dict[str, Any]:
    model = create_segmenter(checkpoint.architecture, pretrained=True, weights=str(checkpoint.folder.absolute()))
    cfg = model.encoder.pretrained_cfg
    names = cfg.get('label_names') or tuple(map(str, range(checkpoint.config['decoder']['num_classes'])))
    source = _source(args, checkpoint, masks=True)
    source = with_mask_values(source, args.mask_values or (() if source.codes else _mask_values_of(checkpoint)))
    require_classes(source, cfg.get('label_names') or ())
    pairs = checked(pairs_of(source, args.size), len(names))
    result = mean_iou(model.to(device), pairs, len(names), cfg['mean'], cfg['std'])
    card = checkpoint.metrics.get('mean_iou')
    return _found(checkpoint, args, result.images, {
        'mean_iou': {'value': result.miou, 'pixel_accuracy': result.pixel_accuracy},
        'iou': dict(zip(names, result.per_class, strict=True))},
        isinstance(card, dict) and card.get('size') == args.size, size=args.size)


def _mask_values_of(checkpoint: Checkpoint) -> tuple[int, ...]:
    """Those that it was trained with, where its recipe says so."""
    values: tuple[int, ...] = ()
    with suppress(TypeError, ValueError):
        values = tuple(map(int, _recorded(checkpoint, MASK_VALUES)))
    if not values:
        return ()
    print(f'{checkpoint.name} was trained with --mask-values {joined(values)}: so these masks are read, too; of masks '
          'with other values give your own --mask-values', file=sys.stderr)
    return values


def probe_command(args: argparse.Namespace) -> int:
    from ..experiments.plots import report_probes  # with matplotlib, which complains where there is no home folder

    settings = from_options(Probing, args)
    found = [find_start(name) for name in args.names]
    out = args.out or Path('runs/probes')
    test_images = test_data(args)
    if test_images is None:
        raise ValueError(f'{args.data}: has no split to measure on; give --test with images that are not trained on')
    results: dict[str, list[LayerQuality]] = {}
    with world(args.device) as place:
        for checkpoint in found:
            cfg = checkpoint.pretrained_cfg.to_dict()
            size, crop = args.size or default_size(cfg, settings.crop), default_crop(cfg, settings.crop)
            train, test = (load_images(data, split, size=size, root=args.root, max_unreadable=args.max_unreadable,
                                       crop=crop)
                           for data, split in ((args.data, args.split), (test_images, args.test_split)))
            if args.labels_per_class:
                train = train.labelled(args.labels_per_class, settings.seed)
            name, number = checkpoint.name, 2
            while name in results:  # another checkpoint of the same name
                name, number = f'{checkpoint.name} ({number})', number + 1
            options = RunOptions(out / name, place, compile_model=args.compile,
                                 save_seconds=args.save_seconds)
            results[name] = probe(checkpoint, train, test, settings, options)
    if place.is_main:
        report_probes(results, out)
    return 0


def add_commands(command: Command) -> None:
    sub = command('evaluate', evaluate_command)
    sub.add_argument('name', metavar='NAME', type=expand,
                     help='a checkpoint or architecture of `scae list`, the folder of a checkpoint or a run, or '
                          'hf-hub:USER/REPOSITORY')
    needed = add_needed(sub, 'NAME --data DATA')
    needed.add_argument('--data', metavar='DATA', type=expand, required=True, help=DATA_HELP)
    images = add_data_options(
        sub, needed, '; a segmenter sees the whole of them, by default in their own size, and masks stay as they are')
    add_json(needed)
    images.add_argument('--split', default='test', help='split of DATA, where it has some (default: %(default)s)')
    images.add_argument('--limit', type=whole_number(1), help='use only LIMIT images, spread over the classes')
    group = sub.add_argument_group('auto-encoders')
    group.add_argument('--corruption', help=(
        f'what one is measured with: {CORRUPTION_HELP} (default: the blocks that it was trained to fill, else '
        f'gaussian:{EVALUATION_SIGMA})'))
    group.add_argument('--sigma', type=float, help='the same as --corruption gaussian:SIGMA')
    group.add_argument('--seed', type=whole_number(0), default=0, help='seed of the noise (default: %(default)s)')
    group.add_argument('--crop', type=whole_number(17), help=(
        'measure on the central CROP x CROP pixels, without the card beside it (default: on whole images)'))
    add_mask_values(sub.add_argument_group('segmenters'), 'those that the segmenter was trained with')
    sub.add_argument_group('run').add_argument(
        '--device', help='cpu, cuda, cuda:1, ... (default: the GPU if there is one)')

    sub = command('probe', probe_command)
    sub.add_argument('names', metavar='NAME', nargs='+', type=expand,
                     help='checkpoints of `scae list`, architectures, which mean their auto-encoders, folders of '
                          'checkpoints or runs, or hf-hub:USER/REPOSITORY')
    needed = add_needed(sub, 'NAME [NAME ...] --data DATA')
    needed.add_argument('--data', metavar='DATA', type=expand, required=True, help=DATA_HELP)
    needed.add_argument('--labels-per-class', metavar='N', type=whole_number(1),
                        help='use only N images of each class, drawn by --seed (default: all)')
    add_options(sub.add_argument_group('hyper-parameters'), Probing(), needed)
    images = add_data_options(sub, needed)
    images.add_argument('--split', default='train', help='split of DATA to train on (default: %(default)s)')
    add_test_options(sub)
    add_run_options(sub, needed, tensorboard=False)
