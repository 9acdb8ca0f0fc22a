"""What is learned, as timm training tasks: denoising and segmentation; timm has the classification tasks."""

from functools import partial

import torch
import torch.nn as nn
import torch.nn.functional as F
from timm.task import ClassificationTask, TrainingTask

from ..data.masks import IGNORED


def reconstruction_loss(output: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    """Mean squared error in float32, of N x C x H x W images in normalised units (paper, equation 1)."""
    return F.mse_loss(output.float(), clean)


def segmentation_loss(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Cross-entropy a pixel, of N x K x H x W logits and N x H x W class indices, 255 not counted."""
    loss = F.cross_entropy(logits.float(), masks.long(), ignore_index=IGNORED, reduction='sum')
    return loss / (masks != IGNORED).sum().clamp(min=1)  # a batch may have no counted pixel at all


def multi_label_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy of N x K logits and targets of 1, 0 and -1, which is not counted."""
    counted = targets >= 0
    loss = F.binary_cross_entropy_with_logits(logits.float(), targets.clamp(min=0), reduction='none')
    return (loss * counted).sum() / counted.sum().clamp(min=1)


def counted(target: torch.Tensor) -> torch.Tensor:
    """How many values the loss of these targets is a mean of: pixels of masks but 255, labels but -1, else images."""
    if target.dtype == torch.uint8 and target.ndim == 3:
        return (target != IGNORED).sum()
    return (target >= 0).sum() if target.ndim == 2 else torch.tensor(len(target))


class DenoisingTask(ClassificationTask):
    """Reconstruct N x C x H x W clean images (``target``) from corrupted ones (``input``)."""

    def __init__(self, model: nn.Module, device: torch.device | None = None) -> None:
        super().__init__(model, reconstruction_loss, device=device, verbose=False)


class SegmentationTask(ClassificationTask):
    """Label each pixel of N x C x H x W images (``input``) with the classes of N x H x W masks (``target``)."""

    def __init__(self, model: nn.Module, device: torch.device | None = None) -> None:
        super().__init__(model, segmentation_loss, device=device, verbose=False)


def classification_task(
        model: nn.Module,
        multi_label: bool,
        device: torch.device,
        label_smoothing: float = 0.,
) -> TrainingTask:
    """timm's task for N x K logits, with class indices or shares of the classes, or many labels an image, as target."""
    criterion = multi_label_loss if multi_label else partial(F.cross_entropy, label_smoothing=label_smoothing)
    return ClassificationTask(model, criterion, device=device, verbose=False)
