"""Reconstruction of large photographs as `scae reconstruct` computes it: what it makes of the machine, and its memory.

    python benchmarks/large_images.py
    python benchmarks/large_images.py --network scae_springenberg9 --megapixels 0.5 2 8

Each size is a fresh process, whose memory is counted above what it has with the network loaded. The plain path is the
network as it is created, in float32, the image whole; it is measured up to --plain megapixels. The peak is that of the
fastest convolution in the same process, in the precision that the command computes in.
"""

import argparse
import math
import multiprocessing
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from copy import deepcopy

import torch
from engine import add_json, benchmark, convolution_peak, write_json
from torch.utils.flop_counter import FlopCounterMode

from scae_zoo import create_autoencoder
from scae_zoo.cli.arguments import whole_number
from scae_zoo.inference.network import Network
from scae_zoo.memory import keep_freed_memory
from scae_zoo.models.architectures import ARCHITECTURES

SIDES = 3, 2  # of a photograph


def most_memory() -> int:
    """The most memory that this process had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def flops_per_pixel(network: str, side: int = 512) -> float:
    model = create_autoencoder(network, device='meta').eval()
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, side, side, device='meta'))
    return counter.get_total_flops() / side ** 2


def measured(network: str, megapixels: float, plain: bool, repeats: int) -> dict[str, float]:
    """Seconds, memory in MB and share of the peak of one size; of the plain path seconds and the largest difference."""
    keep_freed_memory()
    torch.manual_seed(0)
    unit = math.sqrt(megapixels * 1e6 / math.prod(SIDES))
    width, height = (round(side * unit) for side in SIDES)
    image = torch.randint(256, (3, height, width), dtype=torch.uint8)
    model = create_autoencoder(network).eval()
    found: dict[str, float] = {'megapixels': megapixels, 'width': width, 'height': height}
    answers = Network(deepcopy(model) if plain else model, torch.device('cpu'))
    before, seconds = most_memory(), []
    for _ in range(repeats):
        start = time.perf_counter()
        result = answers.of_images(lambda y: y, [image])[0]
        seconds.append(time.perf_counter() - start)
    found |= {'seconds': min(seconds), 'memory_mb': (most_memory() - before) / 1e6}
    if plain:
        x = answers.input(image[None]).contiguous()
        with torch.inference_mode():
            start = time.perf_counter()
            expected = model(x)[0]
            found['plain_seconds'] = time.perf_counter() - start
        found['difference'] = ((result - expected).abs().max() / expected.abs().max()).item()
    peak = convolution_peak(torch.device('cpu'))
    found['share'] = flops_per_pixel(network) * width * height / found['seconds'] / peak
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--network', choices=list(ARCHITECTURES), default='scae_vgg16', help='(default: %(default)s)')
    parser.add_argument('--megapixels', type=float, nargs='+', default=[0.5, 1, 2, 4, 12, 24],
                        help='sizes (default: 0.5 to 24)')
    parser.add_argument('--plain', type=float, default=1, help=(
        'the largest size that goes the plain way, too, in megapixels (default: %(default)s)'))
    parser.add_argument('--repeats', type=whole_number(1), default=1,
                        help='measurements, of which the fastest counts (default: %(default)s)')
    add_json(parser)
    args = parser.parse_args()
    with benchmark('cpu'):
        print('| megapixels | of the peak | seconds | the plain way | difference from it | memory |')
        print('| --- | --- | --- | --- | --- | --- |')
        rows = []
        for megapixels in args.megapixels:
            with ProcessPoolExecutor(1, multiprocessing.get_context('spawn')) as fresh:
                row = fresh.submit(
                    measured, args.network, megapixels, megapixels <= args.plain, args.repeats).result()
            rows.append(row)
            plain = f'{row["plain_seconds"] / row["seconds"]:.2f} times as long | {row["difference"]:.1e}' \
                if 'plain_seconds' in row else '- | -'
            print(f'| {megapixels:g} | {row["share"]:.0%} | {row["seconds"]:.1f} | {plain} | '
                  f'{row["memory_mb"]:.0f} MB |', flush=True)
        write_json(args, rows)


if __name__ == '__main__':
    main()
