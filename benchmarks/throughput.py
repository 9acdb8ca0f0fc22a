"""Pre-training and fine-tuning throughput of each network with the zoo's training engine, and what it makes of the
machine: the share of the fastest bfloat16 convolution that was seen in the same run, and the GPU's memory.

    python benchmarks/throughput.py --compile
    python benchmarks/throughput.py --networks scae_vgg16 --batch-size 8 --steps 2    # two CPU cores

Crops have each network's own size (29, 29, 89 and 225 pixels), the optimiser is the default of training. The line of a
network is the median of the repeats.
"""

import argparse
import statistics

import torch
from engine import TASKS, config, convolution_peak, flops_per_image, speed

from scae_zoo.models.scae import ARCHITECTURES
from scae_zoo.training.settings import Optimization


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--networks', nargs='+', choices=list(ARCHITECTURES), default=list(ARCHITECTURES))
    parser.add_argument('--batch-size', type=int, default=128)
    parser.add_argument('--steps', type=int, default=12, help='steps of one measurement (default: %(default)s)')
    parser.add_argument('--repeats', type=int, default=3, help='measurements of each (default: %(default)s)')
    parser.add_argument('--compile', action='store_true', help='measure with torch.compile as well')
    parser.add_argument('--device', type=torch.device, default='cuda' if torch.cuda.is_available() else 'cpu')
    args = parser.parse_args()
    settings = Optimization(epochs=2, batch_size=args.batch_size)
    peak = convolution_peak(args.device)
    print(f'fastest bf16 convolution: {peak / 1e12:.3f} TFLOP/s')
    print('| network | task | crop | compiled | images/s | TFLOP/s | of the peak | GPU memory |')
    print('| --- | --- | --- | --- | --- | --- | --- | --- |')
    for network in args.networks:
        crop = config(network)['input_size'][-1]
        images = torch.randint(0, 256, (args.batch_size * args.steps, 3, crop + 3, crop + 3), dtype=torch.uint8)
        for task in TASKS:
            flops = flops_per_image(task, network, crop)
            for compiled in (False, True)[:1 + args.compile]:
                measured = [speed(task, network, images, crop, settings, args.device, compiled)
                            for _ in range(args.repeats)]
                rate = statistics.median(each.images_per_second for each in measured)
                memory = max(each.memory for each in measured)
                print(f'| {network} | {task} | {crop} | {"yes" if compiled else "no"} | {rate:.1f} | '
                      f'{rate * flops / 1e12:.3f} | {rate * flops / peak:.0%} | '
                      f'{f"{memory / 2 ** 30:.1f} GiB" if memory else "-"} |', flush=True)


if __name__ == '__main__':
    main()
