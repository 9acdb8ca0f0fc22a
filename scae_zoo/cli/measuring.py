"""``scae evaluate`` and ``scae probe``: how good a network is, and what each of its layers knows."""

import argparse
from contextlib import suppress
from pathlib import Path

import torch

from ..autoencoder import create_encoder
from ..checkpoints import Checkpoint
from ..segmentation import create_segmenter
from ..training.cache import Source, load
from ..training.data import ImageSet
from ..training.distributed import world
from ..training.evaluation import (
    average_precisions,
    central_crop,
    denoising_quality,
    mean_average_precision,
    mean_iou,
    ten_crop_scores,
)
from ..training.finetuning import accuracies
from ..training.pretraining import EVALUATION_SIGMA
from ..training.probing import LayerQuality, Probing, probe
from ..training.runs import RunOptions, find_checkpoint, find_start
from ..training.segmenting import require_classes
from ..training.settings import add_options, from_options
from ..training.sources import Pairs, few, find_source, load_images
from .options import (
    DATA_HELP,
    Command,
    add_data_options,
    add_run_options,
    default_size,
    load_autoencoder,
    test_data,
    whole_number,
)


def evaluate_command(args: argparse.Namespace) -> int:
    checkpoint = find_checkpoint(args.name)
    if args.crop and checkpoint.kind != 'autoencoder':
        raise ValueError(f'--crop: for auto-encoders; {checkpoint.name} is a {checkpoint.kind}')
    with world(args.device) as place:
        {'autoencoder': _evaluate_autoencoder, 'classifier': _evaluate_classifier, 'segmenter': _evaluate_segmenter}[
            checkpoint.kind](args, checkpoint, place.device)
    return 0


def _source(args: argparse.Namespace, masks: bool = False, labels: bool = True) -> Source:
    source = find_source(args.data, args.split, masks=masks, root=args.root, labels=labels)
    return few(source, args.limit) if args.limit else source


def _images(args: argparse.Namespace, size: int, labels: bool = True) -> ImageSet:
    return load(_source(args, labels=labels), args.size or size, args.max_unreadable)


def _print_card(checkpoint: Checkpoint, key: str, text: str) -> None:
    with suppress(KeyError, TypeError, ValueError):  # others may write what they like there, or nothing
        print('  card      ' + text.format(**checkpoint.metrics[key]))


def _evaluate_autoencoder(args: argparse.Namespace, checkpoint: Checkpoint, device: torch.device) -> None:
    model, _ = load_autoencoder(args.name)
    cfg = model.encoder.pretrained_cfg
    images = _images(args, default_size(cfg, args.crop), labels=False).images  # as training measured them
    if args.crop:
        images = central_crop(images, args.crop)
    result = denoising_quality(model.to(device), images, args.sigma, cfg['mean'], cfg['std'], seed=args.seed)
    crops = f'central crops of {args.crop} x {args.crop}, ' if args.crop else ''
    print(f'{checkpoint.name}: {result.images} images, {crops}Gaussian noise of sigma {args.sigma} (of 255), clipped')
    for label, mean, pooled, ssim in (
            ('noisy   ', result.noisy, result.noisy_pooled, result.noisy_ssim),
            ('denoised', result.denoised, result.denoised_pooled, result.denoised_ssim)):
        print(f'  {label}  {mean:.2f} dB mean over images, {pooled:.2f} dB from the mean squared error, '
              f'SSIM {ssim:.4f}')
    recorded = checkpoint.metrics.get('denoising_psnr')
    if isinstance(recorded, dict) and recorded.get('sigma') == args.sigma and not args.crop:
        _print_card(checkpoint, 'denoising_psnr', '{denoised:.2f} dB mean over {images} images')


def _evaluate_classifier(args: argparse.Namespace, checkpoint: Checkpoint, device: torch.device) -> None:
    model = create_encoder(checkpoint.architecture, checkpoint).to(device)
    cfg = model.pretrained_cfg
    crop = cfg['input_size'][-1]
    images = _images(args, default_size(cfg, None))
    names = cfg.get('label_names') or (
        images.classes if len(images.classes) == model.num_classes else tuple(map(str, range(model.num_classes))))
    fault = 'the images have no labels' if images.targets is None else f'what differs: {images.difference(names)}'
    if images.targets is None or tuple(names) != images.classes:
        raise ValueError(f'{args.data}: needs the {len(names)} classes that {checkpoint.name} was trained on, '
                         f'a sub-folder each or in a labels.csv; {fault}')
    images.require_classes(tuple(names))
    if images.multi_label:
        scores = ten_crop_scores(model, images.images, cfg['mean'], cfg['std'], crop)
        precisions = average_precisions(scores, images.targets)
        print(f'{checkpoint.name}: {len(images)} images, 10 random crops of {crop} x {crop}')
        for name, value in zip(images.classes, precisions, strict=True):
            print(f'  {name:<16}{value:.2f} % average precision')
        print(f'  mean      {mean_average_precision(precisions):.2f} %')
        _print_card(checkpoint, 'mean_average_precision', '{value:.2f} % mean over {images} images')
        return
    central, flipped = accuracies(model, images, cfg, crop)
    print(f'{checkpoint.name}: {len(images)} images, central crops of {crop} x {crop}')
    print(f'  accuracy  {central:.2f} %, {flipped:.2f} % averaged with the mirrored crop')
    _print_card(checkpoint, 'accuracy', '{value:.2f} %, {flip_average:.2f} % with the mirrored crop, {images} images')


def _evaluate_segmenter(args: argparse.Namespace, checkpoint: Checkpoint, device: torch.device) -> None:
    model = create_segmenter(checkpoint.architecture, pretrained=True, weights=str(checkpoint.folder.absolute()))
    cfg = model.encoder.pretrained_cfg
    names = cfg.get('label_names') or tuple(map(str, range(checkpoint.config['decoder']['num_classes'])))
    if args.size:
        raise ValueError('--size: a segmenter is measured on images of their own size')
    source = _source(args, masks=True)
    require_classes(source, cfg.get('label_names') or ())
    result = mean_iou(model.to(device), Pairs(source), len(names), cfg['mean'], cfg['std'])
    print(f'{checkpoint.name}: {result.images} images')
    for name, value in zip(names, result.per_class, strict=True):
        print(f'  {name:<16}{value:.2f} % IoU')
    print(f'  mean IoU  {result.miou:.2f} %, pixel accuracy {result.pixel_accuracy:.2f} %')
    _print_card(checkpoint, 'mean_iou', '{value:.2f} % over {images} images')


def probe_command(args: argparse.Namespace) -> int:
    settings = from_options(Probing, args)
    found = [find_start(name) for name in args.names]
    out = args.out or Path('runs/probes')
    test_images = test_data(args)
    if test_images is None:
        raise ValueError(f'{args.data}: has no split to measure on; give --test with images that are not trained on')
    results: dict[str, list[LayerQuality]] = {}
    with world(args.device) as place:
        for checkpoint in found:
            size = args.size or default_size(checkpoint.pretrained_cfg.to_dict(), settings.crop)
            train, test = (load_images(data, split, size=size, root=args.root, max_unreadable=args.max_unreadable)
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
        from ..training.plots import report_probes  # with matplotlib, which is slow to import
        report_probes(results, out)
    return 0


def add_commands(command: Command) -> None:
    sub = command('evaluate', evaluate_command, (
        'Measure a checkpoint on images.\n\n'
        "An auto-encoder's denoising (PSNR, SSIM; labels are not looked at), a classifier's accuracy on central\n"
        "crops or its mean average precision over 10 random crops, a segmenter's mean IoU; the card's figure is\n"
        'printed beside it.'))
    sub.add_argument('name', metavar='NAME',
                     help='a checkpoint or architecture of `scae list`, the folder of a checkpoint or a run, or '
                          'hf-hub:USER/REPOSITORY')
    sub.add_argument('--data', metavar='DATA', required=True, help=DATA_HELP)
    sub.add_argument('--split', default='test', help='split of DATA, where it has some (default: %(default)s)')
    sub.add_argument('--sigma', type=float, default=EVALUATION_SIGMA,
                     help="noise that an auto-encoder is measured with, of 255 (default: %(default)s)")
    sub.add_argument('--seed', type=whole_number(0), default=0, help='seed of the noise (default: %(default)s)')
    sub.add_argument('--crop', type=whole_number(17),
                     help='measure an auto-encoder on the central CROP x CROP pixels, without the card beside it '
                          '(default: on whole images)')
    sub.add_argument('--limit', type=whole_number(1), help='use only LIMIT images, spread over the classes')
    sub.add_argument('--device', help='cpu, cuda, cuda:1, ... (default: the GPU if there is one)')
    add_data_options(sub)

    sub = command('probe', probe_command, (
        "Train a linear classifier and a reconstruction of the image on each layer's frozen output.\n\n"
        'Writes probes.png (Figure 2 of the paper), probes.md and probes.json.'))
    sub.add_argument('names', metavar='NAME', nargs='+',
                     help='checkpoints of `scae list`, architectures, which mean their auto-encoders, folders of '
                          'checkpoints or runs, or hf-hub:USER/REPOSITORY')
    sub.add_argument('--data', metavar='DATA', required=True, help=DATA_HELP)
    sub.add_argument('--split', default='train', help='split of DATA to train on (default: %(default)s)')
    sub.add_argument('--test', metavar='DATA', help='images to measure on (default: the split of DATA beside SPLIT)')
    sub.add_argument('--test-split', metavar='SPLIT', default='test', help='split of these (default: %(default)s)')
    sub.add_argument('--labels-per-class', metavar='N', type=whole_number(1),
                     help='use only N images of each class, drawn by --seed (default: all)')
    add_options(sub.add_argument_group('hyper-parameters'), Probing())
    add_data_options(sub)
    add_run_options(sub, tensorboard=False)
