"""``scae predict`` and ``embed``: what a trained network says of photographs."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from ..checkpoints.folder import Checkpoint
from ..data.image_files import extensions
from ..factory import create_encoder, create_segmenter, find_checkpoint
from ..inference.asking import held, identity, say_found
from ..inference.classes import classify, table
from ..inference.features import FORMATS, Features, embed, load_features, nearest, save_features
from ..inference.masks import segment_photographs
from ..inference.network import Network
from ..inference.outputs import Outputs
from ..inference.photographs import find_photographs
from ..inference.unfinished import Unfinished, unfinished_file, unfinished_folder
from ..models.architectures import ARCHITECTURES
from ..models.scae import ScaeEncoder
from ..places import expand, expand_path, written_whole
from ..training.distributed import world
from .arguments import Command, whole_number
from .options import add_photograph_options, exit_status


def predict_command(args: argparse.Namespace) -> int:
    checkpoint = find_checkpoint(args.model, option='--model')
    if checkpoint.kind == 'autoencoder':
        raise ValueError(f'--model {args.model}: {checkpoint.name} is an auto-encoder, which knows no classes; '
                         '`scae reconstruct` and `scae embed` use it, `scae finetune` and `scae segment` start from it')
    for option, given, kind in (('--top', args.top, 'classifier'), ('--json', args.json, 'classifier'),
                                ('--size', args.size, 'segmenter'), ('--overlay', args.overlay, 'segmenter')):
        if given and checkpoint.kind != kind:
            raise ValueError(f'{option}: for {kind}s; {checkpoint.name} is a {checkpoint.kind}')
    if args.top and checkpoint.multi_label:
        raise ValueError(f'--top: {checkpoint.name} gives each of its classes a probability of its own; leave it out')
    return (_predict_classes if checkpoint.kind == 'classifier' else _predict_masks)(args, checkpoint)


def _predict_classes(args: argparse.Namespace, checkpoint: Checkpoint) -> int:
    output: Path | None = args.out
    if output is not None and output.is_dir():
        raise ValueError(f'-o {output}: is a folder; give a file for the table, such as {output / "predictions.csv"}')
    if output is not None and output.suffix.lower() in extensions():
        raise ValueError(f'-o {output}: would be written over by the table; give it another name, such as '
                         'predictions.csv')
    found = find_photographs(args.images)
    say_found(found)
    with world(args.device) as place:
        network = Network(create_encoder(checkpoint.architecture, checkpoint), place.device)
        first = args.top or 1
        kept = None if output is None else unfinished_file(
            output, identity(checkpoint, network, found, command='predict', first=first))
        with held(kept):
            classes, result = classify(network, found, checkpoint.multi_label, first, kept)
            if result.photographs:
                _write_lines(table(classes, checkpoint.multi_label, args.json), output)
        if output is not None and result.photographs:
            print(f'table       {output}: {len(result.photographs):,} photographs, by {checkpoint.name}')
    return exit_status(result)


def _write_lines(lines: Any, output: Path | None) -> None:
    if output is None:
        sys.stdout.writelines(lines)
        return
    with written_whole(output) as file:
        for line in lines:
            file.write(line.encode('utf-8', 'surrogateescape'))  # names of files may be no text


def _predict_masks(args: argparse.Namespace, checkpoint: Checkpoint) -> int:
    output: Path | None = args.out
    if output is None:
        raise ValueError(f'-o: give a folder for the masks; {checkpoint.name} is a segmenter')
    found = find_photographs(args.images, output)
    say_found(found)
    model = create_segmenter(checkpoint.architecture, pretrained=True, weights=str(checkpoint.folder.absolute()))
    for photograph in found.photographs:
        if photograph.path.absolute().parent == output.absolute():
            raise ValueError(f'-o {output}: {photograph.path} lies there, so that a second start would take the masks '
                             'for photographs; give another folder')
    outputs = Outputs(output, found.photographs, ['', *['overlay'] * args.overlay])
    with world(args.device) as place:
        network = Network(model, place.device)
        names = network.class_names(model.num_classes)
        with unfinished_folder(output, identity(
                checkpoint, network, found, command='predict', size=args.size, overlay=args.overlay)).held() as kept:
            result = segment_photographs(network, found, names, outputs, kept, args.size, args.overlay)
        if result.photographs:
            with written_whole(output / 'classes.txt') as file:  # as `scae segment` takes it
                file.writelines(f'{name}\n'.encode('utf-8', 'backslashreplace') for name in names)
            print(f'masks       {output}: {len(result.photographs):,} PNGs, the numbers of the classes in classes.txt, '
                  f'by {checkpoint.name}')
    return exit_status(result)


def embed_command(args: argparse.Namespace) -> int:
    is_file = len(args.images) == 1 and Path(args.images[0]).suffix in FORMATS and Path(args.images[0]).is_file()
    if is_file and args.like is None:
        raise ValueError(f'{args.images[0]}: holds features; give --like with a photograph to find the nearest ones of')
    if args.out is None and args.like is None:
        raise ValueError('give -o with a file for the features, or --like with a photograph to find the nearest ones')
    if args.out is not None and args.out.suffix not in FORMATS:
        raise ValueError(f'-o {args.out}: give a file that ends in {", ".join(FORMATS)}')
    return _search_file(args) if is_file else _embed_photographs(args)


def _embed_photographs(args: argparse.Namespace) -> int:
    if args.model is None:
        raise ValueError('--model: give the network whose features are wanted')
    checkpoint = find_checkpoint(args.model, option='--model')
    _check_layer(args.layer, checkpoint)
    found = find_photographs(args.images)
    say_found(found)
    with world(args.device) as place:
        network = bare_encoder(checkpoint, place.device)
        kept: Unfinished | None = None if args.out is None else unfinished_file(
            args.out, identity(checkpoint, network, found, command='embed', layer=args.layer))
        with held(kept):
            result = embed(network, found, args.layer, kept)
            features = Features([str(each.path) for each in result.photographs], result.tensors['features'], {
                'model': os.path.abspath(args.model) if os.path.exists(args.model) else args.model,
                'checkpoint': checkpoint.identity, 'layer': args.layer, 'crop': network.crop,
                'size': network.size}) if result.photographs else None
            if features is not None and args.out is not None:
                save_features(features, args.out)
        if features is not None and args.out is not None:
            rows, columns = features.values.shape
            print(f'features    {args.out}: {rows:,} photographs, {columns} numbers each, by {checkpoint.name}')
        if features is not None and args.like is not None:
            _print_nearest(network, features, args)
    return exit_status(result)


def _search_file(args: argparse.Namespace) -> int:
    if args.out is not None:
        raise ValueError(f'-o: nothing is written where the features are there already, in {args.images[0]}')
    features, checkpoint = opened_features(Path(args.images[0]), args.model)
    if args.layer not in (None, features.made_by.get('layer')):
        raise _of_another(args.images[0], features)
    args.layer = features.made_by.get('layer')
    with world(args.device) as place:
        _print_nearest(bare_encoder(checkpoint, place.device), features, args)
    return 0


def opened_features(path: Path, model: str | None = None) -> tuple[Features, Checkpoint]:
    """The features in a file that ``scae embed`` wrote, and the checkpoint that they were made with, which ``model``
    finds where it was moved."""
    features = load_features(path)
    checkpoint = find_checkpoint(model or str(features.made_by.get('model')), option='--model')
    if features.made_by.get('checkpoint') != checkpoint.identity:
        raise _of_another(path, features)
    return features, checkpoint


def _of_another(path: Path | str, features: Features) -> ValueError:
    made_by = features.made_by
    return ValueError(f'{path}: has features of another network or layer ({made_by.get("model")}, layer '
                      f'{made_by.get("layer")}); give the --model that they were made with')


def bare_encoder(checkpoint: Checkpoint, device: Any) -> Network[ScaeEncoder]:
    return Network(create_encoder(checkpoint.architecture, checkpoint, num_classes=0), device)


def _check_layer(layer: int | None, checkpoint: Checkpoint) -> None:
    last = len(ARCHITECTURES[checkpoint.architecture])
    if layer is not None and not 1 <= layer <= last:
        raise ValueError(f'--layer {layer}: {checkpoint.name} has the convolutions 1 to {last}')


def _print_nearest(network: Network[ScaeEncoder], features: Features, args: argparse.Namespace) -> None:
    """The nearest photographs, the most alike first; a photograph is not its own neighbour."""
    found = find_photographs([args.like])
    if Path(args.like).is_dir() or len(found.photographs) > 1:
        raise ValueError(f'--like {args.like}: give one photograph')
    result = embed(network, found, args.layer, None)
    if not result.photographs:
        raise ValueError(f'--like {args.like}: cannot be read')
    others = nearest(features, result.tensors['features'][0], args.nearest + 1)
    others = [each for each in others if os.path.realpath(each[0]) != os.path.realpath(args.like)][:args.nearest]
    print(f'most like {args.like}, from -1 to 1:', file=sys.stderr)
    for file, cosine in others:
        print(f'{cosine:.4f}  {file}')


def add_commands(command: Command) -> None:
    sub = command('predict', predict_command)
    add_photograph_options(sub, 'a classifier or a segmenter: ')
    sub.add_argument('-o', '--out', metavar='OUT', type=expand_path, help=(
        "a classifier's table, a CSV file (default: it is printed); a segmenter's folder for the masks"))
    sub.add_argument('--top', metavar='K', type=whole_number(1),
                     help='of a classifier of one label an image, the K most probable classes (default: 1)')
    sub.add_argument('--json', action='store_true', help="a classifier's answers as lines of JSON, not as CSV")
    sub.add_argument('--size', type=whole_number(17), help=(
        'scale images so that their shorter side has SIZE pixels before a segmenter sees them, as it was trained; the '
        'masks have the size of the photographs all the same (default: they stay)'))
    sub.add_argument('--overlay', action='store_true',
                     help="besides each mask a picture NAME_overlay.png: the photograph under its classes' colours")

    sub = command('embed', embed_command)
    add_photograph_options(sub, '', needed=False, images=(
        'photographs, folders of them or globs; or, with --like, one file that `scae embed` wrote'))
    sub.add_argument('-o', '--out', metavar='FILE', type=expand_path,
                     help='where the features go: a file that ends in .safetensors, .npz or .csv')
    sub.add_argument('--layer', metavar='N', type=whole_number(1), help=(
        "the mean over all places of the N-th convolution's output, N from 1 (default: the pooled features that a "
        'classifier sees)'))
    sub.add_argument('--like', metavar='PHOTO', type=expand, help='print the photographs nearest to this one')
    sub.add_argument('--nearest', metavar='K', type=whole_number(1), default=5,
                     help='how many of them (default: %(default)s)')
