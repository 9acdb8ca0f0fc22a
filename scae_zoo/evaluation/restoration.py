"""How well an auto-encoder undoes a corruption, Gaussian noise or block masks: measured, and as it is recorded."""

from typing import Any, NamedTuple

import torch

from ..corruption import BlockMask, parse_corruption
from ..models.autoencoder import Scae
from .denoising import DenoisingQuality, decibel, denoising_quality, reconstructions

EVALUATION_SIGMA = 25.5


class FillingQuality(NamedTuple):
    """PSNR in dB of masked and of filled images, inside the blocks and of whole images, each as the mean over the
    images that have a block."""

    images: int
    masked_inside: float
    masked: float
    filled_inside: float
    filled: float


@torch.inference_mode()
def filling_quality(
        model: Scae,
        images: torch.Tensor,
        mask: BlockMask,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        *,
        seed: int = 0,
        batch_size: int | None = None,
) -> FillingQuality:
    """How well an auto-encoder fills in masked blocks, float32, its output clipped to the valid range.

    Args:
        model: The auto-encoder, on the device to use.
        images: N x C x H x W uint8, used whole, without a crop.
        mask: Which share of an image is masked, in blocks of which size; where they lie is drawn by the seed.
        mean: Channel means of the model's normalisation, in 0-1 units; masked pixels have this colour.
        std: Channel standard deviations of the same.
        seed: Seed of the blocks.
        batch_size: Images at a time; by default as ``denoising_quality`` has it.

    Raises:
        ValueError: No pixel is masked.
    """
    blocks: list[torch.Tensor] = []

    def corrupt(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        blocks.append(mask.blocks(x, generator))
        return x.masked_fill(blocks[-1], 0)

    found: list[torch.Tensor] = []
    for clean, *both in reconstructions(model, images, corrupt, mean, std, seed, batch_size):
        inside = blocks.pop().expand_as(clean).flatten(1)
        errors = [(pixels - clean).square().flatten(1) for pixels in both]
        means = [error for each in errors for error in ((each * inside).sum(1) / inside.sum(1), each.mean(1))]
        found.append(decibel(torch.stack(means, 1))[inside.any(1)])
    with_block = torch.cat(found)
    if not len(with_block):
        raise ValueError(f'block:{mask.share:g}:{mask.size} masks no pixel of images of {images.shape[-2]}x'
                         f'{images.shape[-1]}; give a larger share, or smaller blocks')
    return FillingQuality(len(with_block), *with_block.mean(0).tolist())


def measured_by(trained_with: str) -> str:
    """The corruption that an auto-encoder is measured with: the blocks that it was trained to fill, or for every
    Gaussian noise one sigma, so that all can be compared."""
    blocks = isinstance(parse_corruption(trained_with, (0.,), (1.,)), BlockMask)
    return trained_with if blocks else f'gaussian:{EVALUATION_SIGMA}'


class Restoration(NamedTuple):
    """What was measured of an auto-encoder.

    Args:
        key: Of the entry in ``metrics.json``.
        corruption: The part of the entry that says what was undone.
        seed: Of the corruption.
        quality: What was found.
        figures: Those of the card, the first one the headline: in words, and in dB.
    """

    key: str
    corruption: dict[str, Any]
    seed: int
    quality: DenoisingQuality | FillingQuality
    figures: dict[str, float]

    @property
    def entry(self) -> dict[str, Any]:
        return {**self.corruption, 'seed': self.seed, **self.quality._asdict()}

    @property
    def headline(self) -> float:
        return next(iter(self.figures.values()))

    @property
    def card(self) -> list[dict[str, Any]]:
        """The figures as a model-index has them."""
        return [{'type': 'psnr', 'name': name, 'value': round(value, 2)} for name, value in self.figures.items()]


def measure(
        model: Scae,
        images: torch.Tensor,
        corruption: str,
        *,
        seed: int = 0,
        what: str = 'test images',
) -> Restoration:
    """Measure an auto-encoder on N x C x H x W uint8 images; ``what`` the card calls them.

    Raises:
        ValueError: The corruption is not known, or masks no pixel.
    """
    cfg = model.encoder.pretrained_cfg
    mean, std = cfg['mean'], cfg['std']
    corrupt = parse_corruption(corruption, mean, std)
    if isinstance(corrupt, BlockMask):
        filling = filling_quality(model, images, corrupt, mean, std, seed=seed)
        over = f'mean over {filling.images} {what} (dB)'
        return Restoration('filling_psnr', {'corruption': corruption}, seed, filling, {
            f'PSNR inside the blocks of {corruption}, {over}': filling.filled_inside,
            f'PSNR of the whole image with such blocks, {over}': filling.filled})
    low, high = corrupt.sigma_range
    sigma = low if low == high else corrupt.sigma
    denoising = denoising_quality(model, images, sigma, mean, std, seed=seed)
    over = f'mean over {denoising.images} {what} (dB)'
    return Restoration('denoising_psnr', {'sigma': sigma, 'clipped': True}, seed, denoising, {
        f'PSNR at sigma {sigma}, {over}': denoising.denoised})
