"""Pre-training and fine-tuning throughput of each network with the zoo's training engine, and what it makes of the
machine: the share of the fastest convolution that was seen in the same run, the optimiser's share of a step, and the
GPU's memory.

    python benchmarks/throughput.py --compile
    python benchmarks/throughput.py --compile --capture    # on a GPU: each step as one CUDA graph, too
    python benchmarks/throughput.py --networks scae_vgg16 --batch-size 8 --steps 2    # two CPU cores

Crops have each network's own size (29, 29, 89 and 225 pixels), the optimiser is the default of training. The speed is
the median of the repeats.
"""

import argparse
import statistics
from itertools import product

import numpy as np
import torch
from engine import (
    TASKS,
    add_json,
    add_options,
    benchmark,
    config,
    convolution_peak,
    flops_per_image,
    optimizer_seconds,
    speed,
    steps,
    write_json,
)

from scae_zoo.models.architectures import ARCHITECTURES
from scae_zoo.training.precision import precision
from scae_zoo.training.settings import Optimization


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--networks', nargs='+', choices=list(ARCHITECTURES), default=list(ARCHITECTURES))
    add_options(parser)
    parser.add_argument('--capture', action='store_true', help='measure with CUDA graphs as well; on a GPU alone')
    add_json(parser)
    args = parser.parse_args()
    settings = Optimization(batch_size=args.batch_size)
    with benchmark(args.device) as where:
        if args.capture and where.device.type != 'cuda':
            raise ValueError('--capture: CUDA graphs are for one process with a GPU')
        peak = convolution_peak(where.device)
        print(f'fastest {precision(where.device)} convolution: {peak / 1e12:.3f} TFLOP/s')
        print("| network | task | crop | compiled | captured | of the peak | optimiser's share "
              '| images/s | TFLOP/s | GPU memory |')
        print('| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |')
        rows = []
        for network in args.networks:
            crop = config(network)['input_size'][-1]
            shape = args.batch_size * steps(args, where.device), crop + 3, crop + 3, 3
            images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, np.uint8)).permute(0, 3, 1, 2)
            for task in TASKS:
                flops = flops_per_image(task, network, crop)
                optimizer = optimizer_seconds(task, network, settings, where.device)
                for compiled, captured in product((False, True)[:1 + args.compile], (False, True)[:1 + args.capture]):
                    measured = speed(task, network, images, crop, settings, where, compiled, args.repeats, captured)
                    rate = statistics.median(measured.images_per_second)
                    memory = f'{measured.memory / 2 ** 30:.2f} GiB' if measured.memory else '-'
                    share = rate * flops / peak
                    # timed by itself, it is started kernel by kernel
                    optimizer_share = None if captured else optimizer * rate / args.batch_size
                    said = '-' if optimizer_share is None else f'{optimizer_share:.1%}'
                    print(f'| {network} | {task} | {crop} | {"yes" if compiled else "no"} | '
                          f'{"yes" if captured else "no"} | {share:.0%} | {said} | {rate:.1f} | '
                          f'{rate * flops / 1e12:.3g} | {memory} |', flush=True)
                    rows.append({'network': network, 'task': task, 'crop': crop, 'compiled': compiled,
                                 'captured': captured, 'share': share, 'optimizer_share': optimizer_share,
                                 'images_per_second': rate, 'flops_per_second': rate * flops,
                                 'gpu_memory': measured.memory})
        write_json(args, rows)


if __name__ == '__main__':
    main()
