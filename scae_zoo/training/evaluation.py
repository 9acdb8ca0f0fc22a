"""How good a trained network is: PSNR and SSIM, accuracy, average precision by the VOC protocol, mean IoU, k-NN."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, cast

import torch
import torch.nn as nn
from timm.utils import accuracy as top_k_accuracy

from ..autoencoder import Scae
from ..corruption import GaussianNoise
from ..reconstruction import reconstruct
from ..segmentation import ScaeSegmenter
from .augmentation import RandomCrop
from .data import denormalize, normalize
from .extras import training_extra
from .tasks import IGNORED

BATCH_SIZE, BATCH_PIXELS = 250, 2 ** 21  # at most, of images measured at a time
TEN_CROPS = 10


def batches_of(images: torch.Tensor, crop: int | None = None, batch_size: int | None = None) -> Sequence[torch.Tensor]:
    """N x C x H x W images in parts of ``batch_size``, or of as many as leave room for a network's features of them
    (or of their crops)."""
    pixels = images.shape[2] * images.shape[3] if crop is None else crop ** 2
    return images.split(batch_size or max(1, min(BATCH_SIZE, BATCH_PIXELS // pixels)))


class DenoisingQuality(NamedTuple):
    """PSNR in dB over a set of images, as the mean over images and (pooled) from the mean squared error of them all;
    SSIM as the mean over images."""

    images: int
    noisy: float
    noisy_pooled: float
    noisy_ssim: float
    denoised: float
    denoised_pooled: float
    denoised_ssim: float


def psnr(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """PSNR in dB of each image of two N x C x H x W batches in 0-255 pixel units, as N float32 values."""
    return _decibel((a.float() - b.float()).square().flatten(1).mean(1))


def _decibel(mse: torch.Tensor) -> torch.Tensor:
    return 10 * torch.log10(255 ** 2 / mse)


@torch.inference_mode()
def denoising_quality(
        model: Scae,
        images: torch.Tensor,
        sigma: float,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        *,
        seed: int = 0,
        batch_size: int | None = None,
) -> DenoisingQuality:
    """Quality of a denoiser, float32, Gaussian noise clipped to the valid range, output clipped likewise.

    Args:
        model: The auto-encoder, on the device to use.
        images: N x C x H x W uint8, used whole, without a crop.
        sigma: Standard deviation of the noise in 0-255 pixel units.
        mean: Channel means of the model's normalisation, in 0-1 units.
        std: Channel standard deviations of the same.
        seed: Seed of the noise.
        batch_size: Images at a time; by default 250 of up to 91 x 91 pixels, fewer of larger ones.
    """
    with training_extra():
        from torchmetrics.functional.image import structural_similarity_index_measure as ssim
    model.eval()
    device = next(model.parameters()).device
    generator = torch.Generator(device).manual_seed(seed)
    corrupt = GaussianNoise(sigma, mean, std, clip=True)
    mse: tuple[list[torch.Tensor], ...] = ([], [])
    similarity: tuple[list[torch.Tensor], ...] = ([], [])
    for clean in batches_of(images, batch_size=batch_size):
        clean = clean.to(device)
        noisy = corrupt(normalize(clean, mean, std), generator)
        for i, x in enumerate((noisy, model(noisy))):
            pixels = denormalize(x, mean, std)
            mse[i].append((pixels - clean).square().flatten(1).mean(1))
            similarity[i].append(cast(torch.Tensor, ssim(pixels, clean.float(), data_range=255., reduction='none')))
    figures = []
    for errors, similarities in zip(map(torch.cat, mse), map(torch.cat, similarity), strict=True):
        figures += [_decibel(errors).mean().item(), _decibel(errors.mean()).item(), similarities.mean().item()]
    return DenoisingQuality(len(images), *figures)


def _check_fits(images: torch.Tensor, crop: int) -> None:
    if crop > min(images.shape[-2:]):
        raise ValueError(f'images of {images.shape[-2]}x{images.shape[-1]} have no crop of {crop} pixels; '
                         'give a larger --size or a smaller --crop')


def central_crop(images: torch.Tensor, size: int) -> torch.Tensor:
    """The middle ``size`` x ``size`` pixels of N x C x H x W images; a ValueError where they are smaller."""
    _check_fits(images, size)
    top, left = ((side - size) // 2 for side in images.shape[-2:])
    return images[..., top:top + size, left:left + size]


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


def by_class(classes: Sequence[str], values: Sequence[float]) -> dict[str, float | None]:
    """Each class's figure as JSON can have it: None for NaN."""
    return {name: None if value != value else value for name, value in zip(classes, values, strict=True)}


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
    _check_fits(images, crop)
    model.eval()
    device = next(model.parameters()).device
    random_crop = RandomCrop(crop)
    generator = torch.Generator().manual_seed(0)
    rows = []
    at_once = batch_size or max(1, min(BATCH_SIZE, BATCH_PIXELS // crop ** 2) // TEN_CROPS)
    for index in torch.arange(len(images)).split(at_once):
        index = index.repeat_interleave(TEN_CROPS)
        crops, _ = random_crop(images, index, index, generator)
        output = model(normalize(crops.to(device), mean, std)).float()
        rows.append(output.unflatten(0, (-1, TEN_CROPS)).mean(1).cpu())
    return torch.cat(rows)


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
        pairs: Images, C x H x W uint8, each with its mask of class indices, H x W uint8; of any size.
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
        prediction = (reconstruct(model, x) if isinstance(model, ScaeSegmenter) else model(x)).argmax(1)[0].cpu()
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


def knn_accuracy(
        train: torch.Tensor,
        train_targets: torch.Tensor,
        test: torch.Tensor,
        test_targets: torch.Tensor,
        neighbours: int = 20,
) -> float:
    """Accuracy in percent of a k-nearest-neighbour vote by cosine distance, on N x C features."""
    with training_extra():
        from sklearn.neighbors import KNeighborsClassifier
    vote = KNeighborsClassifier(min(neighbours, len(train)), metric='cosine', algorithm='brute')
    vote.fit(train.numpy(), train_targets.numpy())
    return 100 * float(vote.score(test.numpy(), test_targets.numpy()))


def linear_accuracy(
        train: torch.Tensor,
        train_targets: torch.Tensor,
        test: torch.Tensor,
        test_targets: torch.Tensor,
) -> float:
    """Accuracy in percent of a logistic regression on N x C features, standardised by those of training."""
    with training_extra():
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(train.double().numpy(), train_targets.numpy())
    return 100 * float(model.score(test.double().numpy(), test_targets.numpy()))
