"""How good an auto-encoder is: PSNR and SSIM of what it makes of corrupted images."""

from typing import NamedTuple, cast

import torch

from ..corruption import GaussianNoise
from ..extras import training_extra
from ..models.autoencoder import Scae
from ..pixels import denormalize, normalize
from .tiling import batches_of


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
