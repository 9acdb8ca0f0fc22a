"""Pre-training throughput of scae_springenberg9 (29 x 29 crops, batch 128) against a plain PyTorch loop, in one run.

    python benchmarks/pretrain_throughput.py --compile

The plain loop is what a tutorial has: float32 (TF32 convolutions on a GPU, PyTorch's default), torchvision's CIFAR10
class in a DataLoader with a worker process a core, Adam. Its first third, in which the workers are ahead, is not timed.
Ours is the training engine as `scae pretrain --opt adam` runs it, with noise of one sigma, not clipped. The two
alternate; the ratio of the medians is what counts. The achieved FLOP/s are set against the fastest convolution that
this machine was seen to do in the same run.
"""

import argparse
import os
import statistics
import time

import numpy as np
import torch
import torch.nn.functional as F
from engine import SIGMA, add_options, benchmark, convolution_peak, flops_per_image, speed, steps
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import CIFAR10

from scae_zoo import create_autoencoder
from scae_zoo.training.distributed import World
from scae_zoo.training.precision import precision
from scae_zoo.training.settings import Optimization

ARCHITECTURE, CROP = 'scae_springenberg9', 29


class Cifar10(CIFAR10):
    """torchvision's class over images that are in memory already: the speed does not depend on what they show."""

    def __init__(self, pixels: np.ndarray, transform: transforms.Compose) -> None:
        self.data, self.targets = pixels, [0] * len(pixels)
        self.transform, self.target_transform = transform, None


def plain(pixels: np.ndarray, batch_size: int, workers: int, device: torch.device) -> float:
    """Images a second of the plain loop."""
    torch.manual_seed(0)
    model = create_autoencoder(ARCHITECTURE).to(device).train()
    cfg = model.encoder.pretrained_cfg
    transform = transforms.Compose([
        transforms.RandomCrop(CROP), transforms.RandomHorizontalFlip(), transforms.ToTensor(),
        transforms.Normalize(cfg['mean'], cfg['std'])])
    loader: DataLoader = DataLoader(
        Cifar10(pixels, transform), batch_size, shuffle=True, num_workers=workers, drop_last=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    sigma = SIGMA / 255 / torch.tensor(cfg['std'], device=device).view(3, 1, 1)
    seen = 0
    for step, (batch, _) in enumerate(loader):
        clean = batch.to(device)
        loss = F.mse_loss(model(clean + sigma * torch.randn_like(clean)), clean)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()
        end = time.perf_counter()  # not after the loop, at whose end the workers are stopped
        if step == len(loader) // 3:
            start, seen = end, 0
        else:
            seen += len(clean)
    return seen / (end - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--workers', type=int, default=os.cpu_count(),
                        help="the plain loop's processes (default: one a core, here %(default)s)")
    add_options(parser)
    args = parser.parse_args()
    with benchmark(args.device) as where:
        measure(args, where)


def measure(args: argparse.Namespace, where: World) -> None:
    number = args.batch_size * (steps(args, where.device) + 1)
    pixels = np.random.default_rng(0).integers(0, 256, (number, 32, 32, 3), np.uint8)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    settings = Optimization(batch_size=args.batch_size, opt='adam', lr=1e-3)

    def ours(compile_model: bool) -> float:
        measured = speed('pre-training', ARCHITECTURE, images, CROP, settings, where, compile_model)
        return measured.images_per_second[0]

    runs = {'plain float32 loop': lambda: plain(pixels, args.batch_size, args.workers, where.device),
            'ours': lambda: ours(False)}
    if args.compile:
        runs['ours, compiled'] = lambda: ours(True)
    speeds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(args.repeats):
        for name, run in runs.items():
            speeds[name].append(run())
    peak, flops = convolution_peak(where.device), flops_per_image('pre-training', ARCHITECTURE, CROP)
    base = statistics.median(speeds['plain float32 loop'])
    for name, values in speeds.items():
        median = statistics.median(values)
        print(f'{name:<20}{median:7.0f} images/s ({min(values):.0f}-{max(values):.0f}), ratio {median / base:.2f}, '
              f'{median * flops / 1e12:.3f} TFLOP/s, {median * flops / peak:.0%} of the convolution peak')
    print(f'{"convolution":<20}{peak / 1e12:.3f} TFLOP/s, the fastest seen in this run, in {precision(where.device)}')


if __name__ == '__main__':
    main()
