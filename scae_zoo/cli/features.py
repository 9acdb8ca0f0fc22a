"""``scae features``: what an encoder's layers answer to photographs."""

import argparse
import sys
from itertools import accumulate
from operator import mul
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ..factory import create_encoder, find_start
from ..images import ImageError, open_rgb
from ..models.architectures import ARCHITECTURES
from ..places import expand, expand_path
from ..training.distributed import world
from .arguments import Command, whole_number

MODEL = 'scae_springenberg9'
REDUCTION = 8  # the image's side to that of the maps, as in the paper's Figure 4: parts of objects answer there
SIZE = 256  # a map is drawn in fewer than 200 pixels, and the networks have learned from images no larger
LONGEST = 4  # times SIZE: a panorama's longer side
PANELS = 400  # more take minutes to draw, and are no longer seen


def scaled_down(pixels: np.ndarray, size: int) -> torch.Tensor:
    """An image, H x W x 3 uint8, as 3 x H x W, with a shorter side of at most ``size`` and a longer one of at most
    ``LONGEST`` times as many pixels."""
    image = Image.fromarray(pixels)
    scale = min(1, size / min(image.size), LONGEST * size / max(image.size))
    width, height = (max(1, round(side * scale)) for side in image.size)
    return torch.from_numpy(np.array(image.resize((width, height), Image.Resampling.BICUBIC))).permute(2, 0, 1)


def _require_drawable(args: argparse.Namespace) -> None:
    if args.output.suffix.lower() != '.png':
        raise ValueError(f'--out {args.output}: a PNG is written; give a name that ends in .png')
    if args.output.resolve() in {path.resolve() for path in args.images}:
        raise ValueError(f'--out {args.output}: is one of the images; give another name')
    if len(args.images) * (args.maps + 1) > PANELS:
        raise ValueError(f'{len(args.images)} images with {args.maps} maps each are more than the {PANELS} panels of a '
                         'picture; name fewer images, or give a smaller --maps')


def _reductions(architecture: str) -> list[int]:
    return list(accumulate((conv.stride for conv in ARCHITECTURES[architecture]), mul))


def default_layer(architecture: str) -> int:
    """The last one at 1/``REDUCTION`` of the size or more."""
    return sum(reduction <= REDUCTION for reduction in _reductions(architecture))


def described(architecture: str, layer: int) -> str:
    """What a layer is, counted from 1, in words."""
    convs, reduction = ARCHITECTURES[architecture], _reductions(architecture)[layer - 1]
    return f'layer {layer} of {len(convs)}, {convs[layer - 1].channels} maps at 1/{reduction} of the size'


def features_command(args: argparse.Namespace) -> int:
    from ..experiments.plots import draw_feature_maps  # with matplotlib, which complains where there is no home folder

    _require_drawable(args)
    checkpoint = find_start(args.model, option='--model')
    convs = ARCHITECTURES[checkpoint.architecture]
    layer = args.layer or default_layer(checkpoint.architecture)
    if layer > len(convs):
        raise ValueError(f'--layer {layer}: {checkpoint.architecture} has {len(convs)} layers')
    channels = convs[layer - 1].channels
    if args.maps > channels:
        raise ValueError(f'--maps {args.maps}: layer {layer} of {checkpoint.architecture} has {channels} maps')
    images = []
    for path in args.images:
        try:
            images.append(scaled_down(open_rgb(path), args.size))
        except ImageError as error:
            print(f'scae: error: {error}', file=sys.stderr)
    if not images:
        return 2
    words = described(checkpoint.architecture, layer)
    with world(args.device) as place:
        encoder = create_encoder(checkpoint.architecture, checkpoint, num_classes=0, in_chans=3).to(place.device)
        draw_feature_maps({'map': encoder}, images, layer, args.maps, args.output, f'{checkpoint.name}\n{words}')
    print(f'checkpoint  {checkpoint.name}')
    print(f'drawn       {words}; the {args.maps} strongest over {len(images)} image{"s" * (len(images) != 1)}')
    print(f'picture     {args.output.absolute()}')
    return 1 if len(images) < len(args.images) else 0


def add_commands(command: Command) -> None:
    sub = command('features', features_command)
    sub.add_argument('images', metavar='IMAGE', type=expand_path, nargs='+', help='image files of any size and mode')
    sub.add_argument('--model', default=MODEL, type=expand, help=(
        'whose encoder: a checkpoint of `scae list`, an architecture, which means its auto-encoder, the folder of a '
        'checkpoint or a run, or hf-hub:USER/REPOSITORY (default: %(default)s)'))
    sub.add_argument('-o', '--out', dest='output', metavar='PNG', type=expand_path, default=Path('feature_maps.png'),
                     help='the picture (default: %(default)s)')
    sub.add_argument('--layer', type=whole_number(1), help=(
        'convolution whose maps are drawn, counted from 1 as `scae probe` does (default: the last one at '
        f'1/{REDUCTION} of the size or more)'))
    sub.add_argument('--maps', type=whole_number(1), default=8, help=(
        'how many: those that are strongest over all images, the same for each (default: %(default)s)'))
    sub.add_argument('--size', type=whole_number(17), default=SIZE, help=(
        'scale images down so that their shorter side has at most SIZE pixels, and the longer one at most '
        f'{LONGEST} times as many (default: %(default)s)'))
    sub.add_argument('--device', help='cpu, cuda, cuda:1, ... (default: the GPU if there is one)')
