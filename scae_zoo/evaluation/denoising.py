"""How good an auto-encoder is: PSNR and SSIM of what it makes of corrupted images."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, cast

import torch

from ..corruption import GaussianNoise
from ..extras import training_extra
from ..inference.batching import batches_of
from ..models.autoencoder import Scae
from ..pixels import denormalize, normalize
from ..winograd import Winograd

AT_ONCE = 2 ** 22  # values of large images that are compared at once: float32 takes four times their memory


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
    rows = max(1, AT_ONCE // max(1, a[:, :, :1].numel()))
    errors = ((x.float() - y.float()).square_().flatten(1).sum(1, dtype=torch.float64)
              for x, y in zip(a.split(rows, 2), b.split(rows, 2), strict=True))
    return decibel((sum(errors) / a[0].numel()).float())


def decibel(mse: torch.Tensor) -> torch.Tensor:
    return 10 * torch.log10(255 ** 2 / mse)


def reconstructions(model: Scae, images: torch.Tensor, corrupt: Callable[..., torch.Tensor], mean: tuple[float, ...],
                    std: tuple[float, ...], seed: int, batch_size: int | None) -> Iterator[tuple[torch.Tensor, ...]]:
    """Batches of images, of the same corrupted, and reconstructed from that, in 0-255 pixel units, clipped."""
    device = next(model.eval().parameters()).device
    generator = torch.Generator(device).manual_seed(seed)
    for clean in batches_of(images, batch_size=batch_size):
        clean = clean.to(device)
        corrupted = corrupt(normalize(clean, mean, std), generator)
        with Winograd():
            restored = model(corrupted)
        yield clean, denormalize(corrupted, mean, std), denormalize(restored, mean, std)


@torch.inference_mode()
def denoising_quality(
        model: Scae,
        images: torch.Tensor,
        sigma: float | Sequence[float],
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
        sigma: Standard deviation of the noise in 0-255 pixel units; a pair draws one an image between them.
        mean: Channel means of the model's normalisation, in 0-1 units.
        std: Channel standard deviations of the same.
        seed: Seed of the noise.
        batch_size: Images at a time; by default 250 of up to 91 x 91 pixels, fewer of larger ones.
    """
    with training_extra():
        from torchmetrics.functional.image import structural_similarity_index_measure as ssim
    corrupt = GaussianNoise(sigma, mean, std, clip=True)
    mse: tuple[list[torch.Tensor], ...] = ([], [])
    similarity: tuple[list[torch.Tensor], ...] = ([], [])
    for clean, *both in reconstructions(model, images, corrupt, mean, std, seed, batch_size):
        for i, pixels in enumerate(both):
            mse[i].append((pixels - clean).square().flatten(1).mean(1))
            similarity[i].append(cast(torch.Tensor, ssim(pixels, clean.float(), data_range=255., reduction='none')))
    figures = []
    for errors, similarities in zip(map(torch.cat, mse), map(torch.cat, similarity), strict=True):
        figures += [decibel(errors).mean().item(), decibel(errors.mean()).item(), similarities.mean().item()]
    return DenoisingQuality(len(images), *figures)
