"""How good a classifier is: accuracy, and average precision by the VOC protocol."""

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn as nn
from timm.utils import accuracy as top_k_accuracy

from ..data.image_set import ImageSet
from ..extras import training_extra
from ..inference.batching import BATCH_PIXELS, BATCH_SIZE, batches_of, central_crop, check_fits
from ..pixels import normalize
from ..training.augmentation import RandomCrop
from ..winograd import Winograd

TEN_CROPS = 10


@torch.inference_mode()
def logits(
        model: nn.Module,
        images: torch.Tensor,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        *,
        crop: int,
        mirrored: bool = False,
        batch_size: int | None = None,
) -> torch.Tensor:
    """Logits (or features), N x K float32 on the CPU, of the central crops of N x C x H x W uint8 images.

    Args:
        model: The network, on the device to use.
        images: At least as large as the crop.
        mean: Channel means of the model's normalisation, in 0-1 units.
        std: Channel standard deviations of the same.
        crop: Side of the crops in pixels.
        mirrored: Mirror the crops.
        batch_size: Images at a time; by default as ``denoising_quality`` has it.

    Raises:
        ValueError: The images are smaller than the crop.
    """
    model.eval()
    device = next(model.parameters()).device
    rows = []
    for batch in batches_of(images, crop, batch_size):
        x = normalize(central_crop(batch, crop).to(device), mean, std).contiguous(memory_format=torch.channels_last)
        with Winograd():
            rows.append(model(x.flip(3) if mirrored else x).float().cpu())
    return torch.cat(rows)


def logits_and_flip_average(
        model: nn.Module,
        images: torch.Tensor,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        crop: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The ``logits`` of the central crops, and their mean with those of the mirrored crops."""
    plain, mirrored = (logits(model, images, mean, std, crop=crop, mirrored=mirrored) for mirrored in (False, True))
    return plain, (plain + mirrored) / 2


def accuracy(output: torch.Tensor, targets: torch.Tensor) -> float:
    """Share in percent of N x K logits whose largest is the one of the N class indices."""
    return top_k_accuracy(output, targets)[0].item()


def accuracies(model: torch.nn.Module, data: ImageSet, cfg: dict[str, Any], crop: int) -> tuple[float, float]:
    """Accuracy in percent on central crops, and with the logits averaged over each and its mirror."""
    assert data.targets is not None
    plain, averaged = logits_and_flip_average(model, data.images, cfg['mean'], cfg['std'], crop)
    return accuracy(plain, data.targets), accuracy(averaged, data.targets)


def average_precisions(scores: torch.Tensor, targets: torch.Tensor) -> list[float]:
    """Average precision of each class in percent: the area under its precision-recall curve, as scikit-learn and the
    code that Context Encoder's figures come from (philkr/voc-classification) have it; not VOC 2007's mean of 11 points.

    Args:
        scores: N x K.
        targets: N x K of 1, 0, and -1 for what is not counted. A class without a positive has NaN.
    """
    with training_extra():
        from sklearn.metrics import average_precision_score
    precisions = []
    for score, target in zip(scores.T, targets.T, strict=True):
        counted = target >= 0
        some = bool((target == 1).any())
        precisions.append(
            100 * float(average_precision_score(target[counted].numpy(), score[counted].numpy())) if some
            else float('nan'))
    return precisions


def mean_average_precision(precisions: Iterable[float]) -> float:
    """Their mean, classes without a positive image left out; NaN where all are."""
    return torch.tensor(list(precisions)).nanmean().item()


@torch.inference_mode()
def ten_crop_scores(
        model: nn.Module,
        images: torch.Tensor,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        crop: int,
        *,
        batch_size: int | None = None,
) -> torch.Tensor:
    """Logits averaged over ten random, randomly mirrored crops (paper, section 2.5), N x K float32 on the CPU; the same
    crops each time. The arguments and errors are those of ``logits``; an image counts as ten at a time."""
    check_fits(images, crop)
    model.eval()
    device = next(model.parameters()).device
    random_crop = RandomCrop(crop)
    generator = torch.Generator().manual_seed(0)
    rows = []
    at_once = batch_size or max(1, min(BATCH_SIZE, BATCH_PIXELS // crop ** 2) // TEN_CROPS)
    for index in torch.arange(len(images)).split(at_once):
        index = index.repeat_interleave(TEN_CROPS)
        crops, _ = random_crop(images, index, index, generator)
        with Winograd():
            output = model(normalize(crops.to(device), mean, std)).float()
        rows.append(output.unflatten(0, (-1, TEN_CROPS)).mean(1).cpu())
    return torch.cat(rows)
