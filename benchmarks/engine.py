"""What the benchmarks share: the training engine's speed on made-up pixels, and the peak that it is set against."""

import json
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from scae_zoo import create_autoencoder
from scae_zoo.autoencoder import create_encoder
from scae_zoo.corruption import GaussianNoise
from scae_zoo.training.augmentation import RandomCrop
from scae_zoo.training.data import Batches, ImageSet, Plain, normalize
from scae_zoo.training.distributed import World
from scae_zoo.training.loop import fit
from scae_zoo.training.run_folder import RunFolder
from scae_zoo.training.settings import Optimization
from scae_zoo.training.tasks import DenoisingTask, classification_task

SIGMA = 25.
CLASSES = 10
TASKS = 'pre-training', 'fine-tuning'


class Speed(NamedTuple):
    """Images a second, and the most memory that PyTorch held on the GPU, in bytes (0 without one)."""

    images_per_second: float
    memory: int


def config(architecture: str) -> dict[str, Any]:
    """timm's settings of a network: mean, std and size of its images."""
    return create_encoder(architecture, None).pretrained_cfg


def create(task: str, architecture: str) -> nn.Module:
    return create_autoencoder(architecture) if task == 'pre-training' \
        else create_encoder(architecture, None, num_classes=CLASSES)


def speed(
        task: str,
        architecture: str,
        images: torch.Tensor,
        crop: int,
        settings: Optimization,
        device: torch.device,
        compile_model: bool,
) -> Speed:
    """Speed of the second of the two passes of ``settings`` over N x 3 x H x W uint8 images; the first one compiles."""
    torch.manual_seed(0)
    torch.compiler.reset()
    if device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats(device)
    model = create(task, architecture)
    cfg = config(architecture)
    mean, std = cfg['mean'], cfg['std']
    corrupt = GaussianNoise(SIGMA, mean, std)

    def noisy(crops: torch.Tensor, _: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        clean = normalize(crops, mean, std)
        return corrupt(clean, generator), clean

    prepare = noisy if task == 'pre-training' else Plain(mean, std)
    learning = DenoisingTask(model, device) if task == 'pre-training' else classification_task(model, False, device)
    data, world = ImageSet(images, torch.arange(len(images)) % CLASSES), World(0, 1, device)
    batches = Batches(data, settings, RandomCrop(crop), prepare, world)
    with tempfile.TemporaryDirectory() as folder:
        run = RunFolder(folder, {})
        with run.held():
            fit(learning, batches, settings, run, world, compile_model=compile_model)
        rows = (Path(folder) / 'log.jsonl').read_text().splitlines()
    memory = torch.cuda.max_memory_allocated(device) if device.type == 'cuda' else 0
    return Speed(json.loads(rows[-1])['images_per_second'], memory)


def flops_per_image(task: str, architecture: str, crop: int) -> int:
    """Floating-point operations of one forward and backward pass; a multiplication and an addition are two."""
    model = create(task, architecture)
    x = torch.randn(1, 3, crop, crop)
    with FlopCounterMode(display=False) as counter:
        output = model.eval()(x)  # a batch norm does not train on one image; it counts for nothing here
        F.mse_loss(output, torch.zeros_like(output)).backward()
    return counter.get_total_flops()


def convolution_peak(device: torch.device) -> float:
    """FLOP/s of the fastest of a few bfloat16 3 x 3 convolutions."""
    best = 0.
    for channels, side in ((96, 29), (192, 15), (256, 32), (512, 16)):
        conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False).to(device, torch.bfloat16)
        conv = conv.to(memory_format=torch.channels_last)
        x = torch.randn(128, channels, side, side, device=device, dtype=torch.bfloat16)
        x = x.contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            for _ in range(6):
                start = time.perf_counter()
                conv(x)
                if device.type == 'cuda':
                    torch.cuda.synchronize()
                best = max(best, 2 * 9 * channels ** 2 * x.numel() / channels / (time.perf_counter() - start))
    return best
