"""How good a reconstruction is: peak signal-to-noise ratio in dB."""

from typing import NamedTuple

import torch

from ..autoencoder import Scae
from ..corruption import GaussianNoise
from .data import denormalize, normalize


class DenoisingPsnr(NamedTuple):
    """PSNR in dB over a set of images, as the mean over images and (pooled) from the mean squared error of them all."""

    images: int
    noisy: float
    noisy_pooled: float
    denoised: float
    denoised_pooled: float


def psnr(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """PSNR in dB of each image of two N x C x H x W batches in 0-255 pixel units, as N float32 values."""
    return _decibel((a.float() - b.float()).square().flatten(1).mean(1))


def _decibel(mse: torch.Tensor) -> torch.Tensor:
    return 10 * torch.log10(255 ** 2 / mse)


@torch.inference_mode()
def denoising_psnr(
        model: Scae,
        images: torch.Tensor,
        sigma: float,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        *,
        seed: int = 0,
        batch_size: int = 250,
) -> DenoisingPsnr:
    """PSNR of a denoiser, float32, Gaussian noise clipped to the valid range, output clipped likewise.

    Args:
        model: The auto-encoder, on the device to use.
        images: N x C x H x W uint8, used whole, without a crop.
        sigma: Standard deviation of the noise in 0-255 pixel units.
        mean: Channel means of the model's normalisation, in 0-1 units.
        std: Channel standard deviations of the same.
        seed: Seed of the noise.
    """
    model.eval()
    device = next(model.parameters()).device
    generator = torch.Generator(device).manual_seed(seed)
    corrupt = GaussianNoise(sigma, mean, std, clip=True)
    noisy_mse: list[torch.Tensor] = []
    denoised_mse: list[torch.Tensor] = []
    for clean in images.split(batch_size):
        clean = clean.to(device)
        noisy = corrupt(normalize(clean, mean, std), generator)
        denoised = model(noisy)
        for x, mse in ((noisy, noisy_mse), (denoised, denoised_mse)):
            mse.append((denormalize(x, mean, std) - clean).square().flatten(1).mean(1))
    noisy_all, denoised_all = torch.cat(noisy_mse), torch.cat(denoised_mse)
    return DenoisingPsnr(
        len(images),
        _decibel(noisy_all).mean().item(),
        _decibel(noisy_all.mean()).item(),
        _decibel(denoised_all).mean().item(),
        _decibel(denoised_all.mean()).item(),
    )
