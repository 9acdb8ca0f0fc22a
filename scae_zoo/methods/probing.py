"""What each layer knows: linear and reconstruction probes on frozen features, k-NN (paper, section 2.4, Figure 2)."""

import dataclasses
from typing import Any, NamedTuple, cast

import torch
import torch.nn as nn
import torch.nn.functional as F
from timm.task import ClassificationTask

from ..checkpoints.folder import ENCODER, Checkpoint
from ..data.image_set import ImageSet
from ..evaluation.classification import accuracy
from ..evaluation.denoising import psnr
from ..evaluation.features import knn_accuracy, linear_accuracy
from ..extras import require_installed
from ..factory import create_encoder
from ..inference.batching import batches_of, central_crop
from ..models.scae import ScaeBlock, ScaeEncoder
from ..pixels import denormalize, normalize
from ..training.augmentation import RandomCrop
from ..training.batches import Batches, Plain
from ..training.calibration import require_several_values
from ..training.loop import fit
from ..training.settings import Optimization, setting
from .runs import RunOptions, running, several


@dataclasses.dataclass(frozen=True, kw_only=True)
class Probing(Optimization):
    """Hyper-parameters of the probes; the paper gives their kind only."""

    epochs: int = setting(40, 'passes over the images', low=1)
    opt: str = setting('adam', "optimiser, a name of timm's (adam, adamw, sgd, lamb, ...)")
    lr: float = setting(1.5e-3, 'peak learning rate', above=0)
    batch_size: int = setting(64, 'images a step, over all processes and accumulated parts', low=1)
    flip: bool = setting(False, 'mirror half of the crops')
    grid: int = setting(8, 'a feature map is averaged to at most GRID x GRID positions before the linear probe', low=1)
    width: int = setting(64, 'channels of the reconstruction probes', low=1)


class LayerQuality(NamedTuple):
    """What was measured on one layer's output: accuracy in percent of a linear probe of the feature map, of a linear
    probe and of 20 nearest neighbours of the pooled features, and the reconstruction's mean PSNR in dB."""

    layer: int
    channels: int
    reduction: int
    linear: float
    pooled: float
    knn: float
    psnr: float


class LinearProbe(nn.Module):
    """Linear classifier of a feature map, averaged to at most ``grid`` x ``grid`` positions and standardised."""

    def __init__(self, channels: int, side: int, grid: int, num_classes: int) -> None:
        super().__init__()
        self.grid = min(side, grid)
        features = channels * self.grid ** 2
        self.norm = nn.BatchNorm1d(features, affine=False)  # so that one learning rate suits all layers
        self.fc = nn.Linear(features, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.norm(F.adaptive_avg_pool2d(x, self.grid).flatten(1).float()))


class ReconstructionProbe(nn.Module):
    """A stack of up-sampling layers from a feature map back to the image, in normalised units."""

    def __init__(self, channels: int, reduction: int, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.ups = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(reduction.bit_length() - 1))
        self.last = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, x: torch.Tensor, sizes: list[tuple[int, int]]) -> torch.Tensor:
        """The image; ``sizes`` are those of the feature maps from the image's own down to that of ``x``."""
        x = self.first(self.norm(x.float()))
        for up, size in zip(self.ups, reversed(sizes[:len(self.ups)]), strict=True):
            x = up(F.interpolate(x.relu(), size=size, mode='nearest'))
        return self.last(x.relu())


def layer_outputs(encoder: ScaeEncoder, x: torch.Tensor) -> list[torch.Tensor]:
    """Each block's output for N x C x H x W images in normalised units."""
    outputs = []
    for block in encoder.blocks:
        x = block(x)
        outputs.append(x)
    return outputs


class Probes(nn.Module):
    """Both probes on the output of each of a frozen encoder's blocks; no gradient passes from one to another."""

    def __init__(self, encoder: ScaeEncoder, crop: int, num_classes: int, grid: int, width: int) -> None:
        super().__init__()
        self.encoder = encoder.requires_grad_(False)
        self.channels, self.reductions = [], []
        reduction = 1
        for block in encoder.blocks:
            conv = cast(ScaeBlock, block).conv
            reduction *= conv.stride[0]
            self.channels.append(conv.out_channels)
            self.reductions.append(reduction)
        layers = list(zip(self.channels, self.reductions, strict=True))
        self.linear = nn.ModuleList(LinearProbe(c, -(-crop // r), grid, num_classes) for c, r in layers)
        self.reconstruction = nn.ModuleList(ReconstructionProbe(c, r, width) for c, r in layers)

    def forward(self, x: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Each layer's logits, N x K, and reconstruction, N x 3 x H x W, of N x 3 x H x W images."""
        with torch.no_grad():
            outputs = layer_outputs(self.encoder.eval(), x)
        sizes = [(-(-x.shape[2] // 2 ** i), -(-x.shape[3] // 2 ** i)) for i in range(self.reductions[-1].bit_length())]
        return (
            [probe(y) for probe, y in zip(self.linear, outputs, strict=True)],
            [probe(y, sizes) for probe, y in zip(self.reconstruction, outputs, strict=True)])


class ProbingTask(ClassificationTask):
    """Trains all probes at once: their losses are summed, which mixes none of their gradients."""

    def __init__(self, model: Probes, device: torch.device) -> None:
        super().__init__(model, _loss, device=device, verbose=False)

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> dict[str, torch.Tensor]:
        logits, images = self.trainable_module(input)
        return {'loss': self.criterion(logits, images, target, input), 'output': logits[-1]}


def _loss(
        logits: list[torch.Tensor],
        images: list[torch.Tensor],
        target: torch.Tensor,
        clean: torch.Tensor,
) -> torch.Tensor:
    classification = sum(F.cross_entropy(y.float(), target) for y in logits)
    reconstruction = sum(F.mse_loss(y.float(), clean) for y in images)
    return cast(torch.Tensor, classification + reconstruction)


def probe(
        checkpoint: Checkpoint,
        train: ImageSet,
        test: ImageSet,
        settings: Probing,
        options: RunOptions,
) -> list[LayerQuality]:
    """Train the probes on ``train``, or go on with that, and measure them on ``test``; a list with an entry a layer.

    Args:
        checkpoint: Whose encoder is probed; it stays as it is.
        train: Images with one label each.
        test: Likewise.
        settings: Hyper-parameters.
        options: Where and how.

    Raises:
        ValueError: The data or an option does not fit.
        TrainingError: The run cannot start or go on.
    """
    require_installed('sklearn')
    if any(data.targets is None or data.targets.ndim != 1 for data in (train, test)):
        raise ValueError('probes need images with one label each: a sub-folder a class')
    assert train.targets is not None
    test.require_classes(train.classes)
    if len(train.targets.unique()) < 2:
        raise ValueError('probes need images of two classes or more to learn from')
    torch.manual_seed(settings.seed)
    encoder = create_encoder(checkpoint.architecture, checkpoint)
    cfg = encoder.pretrained_cfg
    crop = settings.crop or cfg['input_size'][-1]
    world = options.world
    model = Probes(encoder, crop, len(train.classes), settings.grid, settings.width)

    batches = Batches(train, settings, RandomCrop(crop, settings.flip), Plain(cfg['mean'], cfg['std']), world)
    require_several_values(model, batches, settings)
    config: dict[str, Any] = {
        'probed': {'name': checkpoint.name, 'sha256': checkpoint.sha256(ENCODER)[:16]},
        'data': train.identity, 'images': len(train), **dataclasses.asdict(settings), **several(world)}
    with running(options, config, train, [test]) as run:
        trained = fit(ProbingTask(model, world.device), batches, settings, run, world, on_pass=options.on_pass,
                      compile_model=options.compile_model, save_seconds=options.save_seconds)
    return _measure(cast(Probes, trained), train, test, crop)


@torch.inference_mode()
def _measure(model: Probes, train: ImageSet, test: ImageSet, crop: int) -> list[LayerQuality]:
    assert train.targets is not None
    assert test.targets is not None
    cfg = model.encoder.pretrained_cfg
    model.eval()
    device = next(model.parameters()).device
    logits: list[list[torch.Tensor]] = [[] for _ in model.channels]
    decibels: list[list[torch.Tensor]] = [[] for _ in model.channels]
    for batch in batches_of(test.images, crop):
        x = normalize(central_crop(batch, crop).to(device), cfg['mean'], cfg['std'])
        x = x.contiguous(memory_format=torch.channels_last)
        clean = denormalize(x, cfg['mean'], cfg['std'])
        for i, (y, image) in enumerate(zip(*model(x), strict=True)):
            logits[i].append(y.cpu())
            decibels[i].append(psnr(denormalize(image, cfg['mean'], cfg['std']), clean).cpu())
    layers = []
    for i, (pooled, knn) in enumerate(pooled_quality(model.encoder, train, test, crop)):
        linear = accuracy(torch.cat(logits[i]), test.targets)
        layers.append(LayerQuality(
            i + 1, model.channels[i], model.reductions[i], linear, pooled, knn, torch.cat(decibels[i]).mean().item()))
    return layers


def pooled_quality(encoder: ScaeEncoder, train: ImageSet, test: ImageSet, crop: int) -> list[tuple[float, float]]:
    """For each layer the accuracy in percent of a linear classifier and of 20 nearest neighbours on its features of the
    central crops, averaged over positions."""
    assert train.targets is not None
    assert test.targets is not None
    features = [_pooled(encoder, data.images, crop) for data in (train, test)]
    return [
        (linear_accuracy(ours, train.targets, theirs, test.targets),
         knn_accuracy(ours, train.targets, theirs, test.targets))
        for ours, theirs in zip(*features, strict=True)]


@torch.inference_mode()
def _pooled(encoder: ScaeEncoder, images: torch.Tensor, crop: int) -> list[torch.Tensor]:
    """Each layer's pooled features, N x C float32 on the CPU."""
    cfg = encoder.pretrained_cfg
    encoder.eval()
    device = next(encoder.parameters()).device
    rows: list[list[torch.Tensor]] = [[] for _ in encoder.blocks]
    for batch in batches_of(images, crop):
        x = normalize(central_crop(batch, crop).to(device), cfg['mean'], cfg['std'])
        for row, y in zip(rows, layer_outputs(encoder, x.contiguous(memory_format=torch.channels_last)), strict=True):
            row.append(y.mean((2, 3)).float().cpu())
    return [torch.cat(row) for row in rows]
