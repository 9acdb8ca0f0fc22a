"""How good a segmenter is: mean IoU and pixel accuracy."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
import torch.nn as nn
import torch.nn.functional as F

from ..data.masks import IGNORED
from ..extras import training_extra
from ..inference.strips import reconstruct
from ..models.segmenter import ScaeSegmenter
from ..pixels import normalize
from ..winograd import Winograd


class SegmentationQuality(NamedTuple):
    """Mean IoU, pixel accuracy and the IoU of each class (NaN where it is in no mask and no prediction), in percent."""

    images: int
    miou: float
    pixel_accuracy: float
    per_class: list[float]


@torch.inference_mode()
def mean_iou(
        model: nn.Module,
        pairs: Iterable[tuple[torch.Tensor, torch.Tensor]],
        num_classes: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
) -> SegmentationQuality:
    """Intersection over union from one confusion matrix of all pixels (the VOC segmentation protocol), 255 left out.

    Args:
        model: The segmenter.
        pairs: Images, C x H x W uint8, each with its mask of class indices, H x W uint8; of any size. Where a mask has
            another, such as that of the photograph that was scaled, the prediction takes it, by the nearest pixel.
        num_classes: How many classes it knows.
        mean: Channel means of the model's normalisation, in 0-1 units.
        std: Channel standard deviations of the same.

    Raises:
        ValueError: A mask has a class that the model does not know, or no pixel is counted.
    """
    with training_extra():
        from torchmetrics.functional.classification import multiclass_confusion_matrix
    model.eval()
    device = next(model.parameters()).device
    matrix = torch.zeros(num_classes, num_classes, dtype=torch.long)
    images = 0
    for image, mask in pairs:
        x = normalize(image[None].to(device), mean, std).contiguous(memory_format=torch.channels_last)
        with Winograd():
            output = reconstruct(model, x) if isinstance(model, ScaeSegmenter) else model(x)
        prediction = output.argmax(1)[0].cpu()
        if prediction.shape != mask.shape:
            scaled = F.interpolate(prediction[None, None].float(), tuple(mask.shape), mode='nearest-exact')
            prediction = scaled[0, 0].long()
        highest = int(mask[mask != IGNORED].max()) if bool((mask != IGNORED).any()) else 0
        if highest >= num_classes:
            raise ValueError(f'a mask has class {highest}, but the segmenter knows only 0 to {num_classes - 1}')
        matrix += multiclass_confusion_matrix(prediction, mask.long(), num_classes, ignore_index=IGNORED)
        images += 1
    if not matrix.any():
        raise ValueError('there is no image with a pixel that is counted to measure the mean IoU on')
    hits = matrix.diag().double()
    per_class = 100 * hits / (matrix.sum(0) + matrix.sum(1) - hits)
    return SegmentationQuality(
        images, per_class.nanmean().item(), (100 * hits.sum() / matrix.sum()).item(), per_class.tolist())
