"""What the benchmarks share: the training engine's speed on made-up pixels, and the peak that it is set against."""

import argparse
import contextlib
import gc
import json
import math
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn as nn
import torch.nn.functional as F
from timm.optim import create_optimizer_v2
from torch.utils.flop_counter import FlopCounterMode

from scae_zoo import create_autoencoder
from scae_zoo.cli.arguments import whole_number
from scae_zoo.console import console, fault_of
from scae_zoo.corruption import GaussianNoise
from scae_zoo.data.image_set import ImageSet
from scae_zoo.errors import CheckpointError, TrainingError
from scae_zoo.factory import create_encoder
from scae_zoo.pixels import normalize
from scae_zoo.training.augmentation import RandomCrop
from scae_zoo.training.batches import Batches, Plain
from scae_zoo.training.distributed import World, world
from scae_zoo.training.loop import fit
from scae_zoo.training.muon import FITTED
from scae_zoo.training.precision import precision
from scae_zoo.training.run_folder import RunFolder
from scae_zoo.training.settings import Optimization
from scae_zoo.training.tasks import DenoisingTask, classification_task

SIGMA = 25.
CLASSES = 10
PEAK_BATCH = 128  # images of a convolution that keeps the device busy
TASKS = 'pre-training', 'fine-tuning'


class Speed(NamedTuple):
    """Images a second of each measured pass, and the most GPU memory that was taken for model, optimiser and steps, in
    bytes (0 without a GPU; the images are not counted)."""

    images_per_second: list[float]
    memory: int


def add_options(parser: argparse.ArgumentParser) -> None:
    """What the two benchmarks of throughput both have."""
    count = whole_number(1)
    parser.add_argument('--batch-size', type=count, default=128, help='(default: %(default)s)')
    parser.add_argument('--steps', type=count, help='steps of one measurement (default: 12, on a GPU 100)')
    parser.add_argument('--repeats', type=count, default=3, help='measurements of each (default: %(default)s)')
    parser.add_argument('--compile', action='store_true', help='measure with torch.compile as well')
    parser.add_argument('--device', help='(default: the GPU if there is one)')


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the figures there, too')


def write_json(args: argparse.Namespace, figures: Any) -> None:
    """What a benchmark found, where --json asks for it."""
    if args.json is not None:
        args.json.write_text(json.dumps(figures, indent=1) + '\n')


def steps(args: argparse.Namespace, device: torch.device) -> int:
    return args.steps or (100 if device.type == 'cuda' else 12)


@contextlib.contextmanager
def benchmark(device: str | None) -> Iterator[World]:
    """Where to measure; a fault inside the block ends the script with one line."""
    try:
        with console(), world(device) as where:
            if where.size > 1:
                raise ValueError('a benchmark is one process, not for torchrun')
            yield where
    except (CheckpointError, TrainingError, ValueError, OSError) as error:
        raise SystemExit(f'{Path(sys.argv[0]).stem}: error: {fault_of(error)}') from None


def config(architecture: str) -> dict[str, Any]:
    """timm's settings of a network: mean, std and size of its images."""
    return create_encoder(architecture, None, device='meta').pretrained_cfg


def create(task: str, architecture: str) -> nn.Module:
    return create_autoencoder(architecture) if task == 'pre-training' \
        else create_encoder(architecture, None, num_classes=CLASSES)


def speed(
        task: str,
        architecture: str,
        images: torch.Tensor,
        crop: int,
        settings: Optimization,
        where: World,
        compile_model: bool,
        repeats: int = 1,
        capture: bool = False,
) -> Speed:
    """Speed of ``repeats`` passes over N x 3 x H x W uint8 images, after one that compiles and warms up. There is
    no augmentation but crops and flips, no moving average, and the noise has one sigma."""
    torch.manual_seed(0)
    torch.compiler.reset()  # or it would compile for any size, having seen another network's
    on_gpu, device = where.device.type == 'cuda', where.device
    if on_gpu:
        gc.collect()  # what earlier runs left
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_reserved(device)
    model, cfg = create(task, architecture), config(architecture)
    mean, std = cfg['mean'], cfg['std']
    corrupt = GaussianNoise(SIGMA, mean, std)

    def noisy(crops: torch.Tensor, _: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        clean = normalize(crops, mean, std)
        return corrupt(clean, generator), clean

    prepare = noisy if task == 'pre-training' else Plain(mean, std)
    learning = DenoisingTask(model, device) if task == 'pre-training' else classification_task(model, False, device)
    data = ImageSet(images, torch.arange(len(images)) % CLASSES)
    settings = settings.replace(epochs=1 + repeats)
    batches = Batches(data, settings, RandomCrop(crop), prepare, where)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        run = RunFolder(folder, {})
        with run.held():
            fit(learning, batches, settings, run, where, compile_model=compile_model, capture=capture,
                save_seconds=math.inf)
        rows = [json.loads(line) for line in (Path(folder) / 'log.jsonl').read_text().splitlines()]
    held = batches.images.nbytes if batches.images.is_cuda else 0
    memory = torch.cuda.max_memory_reserved(device) - before - held if on_gpu else 0
    return Speed([row['images_per_second'] for row in rows[1:]], memory)


def optimizer_seconds(
        task: str, architecture: str, settings: Optimization, device: torch.device, repeats: int = 3) -> float:
    """Seconds of the optimiser's step alone, whose gradients are noise; the fastest of the repeats, after one that
    makes its state."""
    model = create(task, architecture).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = create_optimizer_v2(
        model, FITTED.get(settings.opt, settings.opt), settings.lr, settings.weight_decay)
    for param in model.parameters():
        param.grad = torch.randn_like(param)
    best = math.inf
    for repeat in range(1 + repeats):
        start = time.perf_counter()
        optimizer.step()
        if device.type == 'cuda':
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - start) if repeat else best
    return best


def flops_per_image(task: str, architecture: str, crop: int) -> int:
    """Floating-point operations of one forward and backward pass; a multiplication and an addition are two."""
    model = create(task, architecture).to('meta')
    with FlopCounterMode(display=False) as counter:
        output = model(torch.randn(1, 3, crop, crop, device='meta'))
        F.mse_loss(output, torch.zeros_like(output)).backward()
    return counter.get_total_flops()


def convolution_peak(device: torch.device) -> float:
    """FLOP/s of the fastest of a few 3 x 3 convolutions in the precision of training, forward."""
    wait = torch.cuda.synchronize if device.type == 'cuda' else lambda: None
    calls = 50 if device.type == 'cuda' else 1  # a GPU does one in less time than it takes to start it
    best, dtype = 0., precision(device)
    for channels, side in ((96, 29), (192, 15), (256, 32), (512, 16)):
        conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False).to(device, dtype)
        conv = conv.to(memory_format=torch.channels_last)
        x = torch.randn(PEAK_BATCH, channels, side, side, device=device, dtype=dtype)
        x = x.contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            for _ in range(6):
                wait()
                start = time.perf_counter()
                for _ in range(calls):
                    conv(x)
                wait()
                flops = calls * 2 * 9 * channels ** 2 * x.numel() / channels
                best = max(best, flops / (time.perf_counter() - start))
    return best
