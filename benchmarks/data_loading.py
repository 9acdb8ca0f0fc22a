"""Reading a folder of photographs for training: through the cache, its first pass included, and with --stream, against
timm's own loader, in one run.

    python benchmarks/data_loading.py --data-dir imagenette2-160

All three scale an image's shorter side to the same size, take random crops, mirror half of them and normalise them to
float32 on the CPU, with as many processes; timm's loader has torchvision's transforms for that in place of its random
resized crops. The cache is a new one each time: its first pass decodes the files. The files were all read once before.
The loaders alternate; the ratio of the medians over all passes is what counts.
"""

import argparse
import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from engine import add_json, benchmark, write_json
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, add_img_extensions, create_dataset, create_loader
from timm.data.transforms import ToNumpy
from torchvision import transforms

from scae_zoo.cli.arguments import whole_number
from scae_zoo.data.cache import Source, load
from scae_zoo.data.cache_folder import ENVIRONMENT
from scae_zoo.data.image_files import extensions
from scae_zoo.data.sources import few, find_source
from scae_zoo.places import expand_path
from scae_zoo.training.augmentation import RandomCrop
from scae_zoo.training.batches import BaseBatches, Batches, Plain
from scae_zoo.training.distributed import World
from scae_zoo.training.settings import Optimization
from scae_zoo.training.streaming import StreamedBatches

TIMM = "timm's loader"


def seconds(passes: int, begin: Callable[[], Callable[[int], Iterable[Any]]]) -> list[float]:
    """What each of the passes takes; ``begin`` belongs to the first, and gives what a pass goes through."""
    times, start = [], time.perf_counter()
    loader = begin()
    for number in range(passes):
        for _ in loader(number):
            pass
        now = time.perf_counter()
        times.append(now - start)
        start = now
    return times


def timms(folder: Path, args: argparse.Namespace) -> Callable[[int], Iterable[Any]]:
    dataset = create_dataset('', root=str(folder))
    loader = create_loader(
        dataset, (3, args.crop, args.crop), args.batch_size, is_training=True, num_workers=args.workers,
        device=torch.device('cpu'))
    dataset.transform = transforms.Compose([
        transforms.Resize(args.size, transforms.InterpolationMode.BICUBIC), transforms.RandomCrop(args.crop),
        transforms.RandomHorizontalFlip(), ToNumpy()])
    return lambda number: loader


def ours(source: Source, args: argparse.Namespace, where: World, stream: bool) -> Callable[[int], Iterable[Any]]:
    settings = Optimization(batch_size=args.batch_size)
    common = settings, RandomCrop(args.crop), Plain(IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD), where
    batches: BaseBatches = StreamedBatches(source, args.size, *common, workers=args.workers) if stream \
        else Batches(load(source, args.size), *common)
    return batches.epoch


def link(source: Source, folder: Path) -> None:
    """A folder of links to the source's files, a sub-folder a class."""
    for number, sample in enumerate(source.samples):
        file = Path(sample.image).absolute()
        path = folder / str(sample.label or 0) / f'{number}{file.suffix}'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(file)
        path.read_bytes()


@contextlib.contextmanager
def new_cache(folder: Path):
    """The cache in another folder, which is empty."""
    before = os.environ.get(ENVIRONMENT)
    with tempfile.TemporaryDirectory(dir=folder) as cache:
        os.environ[ENVIRONMENT] = cache
        try:
            yield
        finally:
            if before is None:
                del os.environ[ENVIRONMENT]
            else:
                os.environ[ENVIRONMENT] = before


def arguments() -> argparse.Namespace:
    count = whole_number(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data-dir', type=expand_path, required=True, help='folder of photographs, such as imagenette')
    parser.add_argument('--images', type=count, default=2000, help='(default: %(default)s)')
    parser.add_argument('--size', type=count, default=160, help='of the shorter side (default: %(default)s)')
    parser.add_argument('--crop', type=count, default=145, help='(default: %(default)s)')
    parser.add_argument('--batch-size', type=count, default=128, help='(default: %(default)s)')
    parser.add_argument('--workers', type=count, default=2, help='processes that decode (default: %(default)s)')
    parser.add_argument('--passes', type=count, default=3, help='(default: %(default)s)')
    parser.add_argument('--repeats', type=count, default=3, help='measurements of each (default: %(default)s)')
    add_json(parser)
    return parser.parse_args()


def main() -> None:
    args = arguments()
    add_img_extensions(tuple(extensions()))
    with benchmark('cpu') as where, tempfile.TemporaryDirectory() as scratch:
        source = few(find_source(str(args.data_dir)), args.images)
        folder = Path(scratch) / 'images'
        link(source, folder)
        source = find_source(str(folder))
        loaders = {TIMM: lambda: timms(folder, args),
                   'cache': lambda: ours(source, args, where, False),
                   '--stream': lambda: ours(source, args, where, True)}
        times: dict[str, list[list[float]]] = {name: [] for name in loaders}
        for _ in range(args.repeats):
            for name, begin in loaders.items():
                with new_cache(Path(scratch)):
                    times[name].append(seconds(args.passes, begin))
    report(times, len(source.samples), args)  # type: ignore[arg-type]


def report(times: dict[str, list[list[float]]], images: int, args: argparse.Namespace) -> None:
    total = {name: statistics.median(map(sum, runs)) for name, runs in times.items()}
    print(f'| loader | ratio | images/s over {args.passes} passes | first pass | later passes |')
    print('| --- | --- | --- | --- | --- |')
    figures = {}
    for name, runs in times.items():
        first = images / statistics.median(run[0] for run in runs)
        later = images / statistics.median(each for run in runs for each in run[1:]) if args.passes > 1 else None
        ratio, speed = total[TIMM] / total[name], images * args.passes / total[name]
        figures[name] = dict(ratio=ratio, images_per_second=speed, first_pass=first, later_passes=later, seconds=runs)
        print(f'| {name} | {ratio:.2f} | {speed:.0f} | {first:.0f} | {"-" if later is None else f"{later:.0f}"} |')
    write_json(args, figures)


if __name__ == '__main__':
    main()
