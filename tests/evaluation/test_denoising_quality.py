"""PSNR and SSIM of denoisers against figures worked out by hand."""

import math

import pytest
import torch

from scae_zoo import create_autoencoder
from scae_zoo.evaluation.denoising import denoising_quality

from .test_evaluation import HALF, Means


class Identity(Means):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def test_denoising_quality() -> None:
    """Without noise and with it; SSIM of two constant images is their luminance term."""
    images = torch.full((4, 3, 16, 16), 100, dtype=torch.uint8)
    noisy = denoising_quality(Identity(), images, 20., HALF, HALF)
    assert noisy.images == 4
    assert noisy.noisy == pytest.approx(20 * math.log10(255 / 20), abs=0.2)
    assert noisy.denoised == noisy.noisy
    assert noisy.denoised_ssim == noisy.noisy_ssim < 0.5
    assert noisy.noisy_pooled == pytest.approx(noisy.noisy, abs=0.1)
    assert denoising_quality(Identity(), images, 20., HALF, HALF) == noisy

    class Brighter(Identity):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.full_like(x, (140 - 127.5) / 127.5)

    result = denoising_quality(Brighter(), images, 0., HALF, HALF)
    constant = (0.01 * 255) ** 2
    assert result.denoised == pytest.approx(20 * math.log10(255 / 40), abs=1e-3)
    assert result.denoised_ssim == pytest.approx(
        (2 * 100 * 140 + constant) / (100 ** 2 + 140 ** 2 + constant), abs=1e-3)
    assert result.noisy_ssim == pytest.approx(1, abs=1e-4)


def test_ssim_of_dark_images() -> None:
    """Of two constants, where the term that steadies it counts: it follows from the range of pixels, 255."""
    class Four(Identity):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.full_like(x, (4 - 127.5) / 127.5)

    result = denoising_quality(Four(), torch.full((1, 3, 16, 16), 2, dtype=torch.uint8), 0., HALF, HALF)
    assert result.denoised_ssim == pytest.approx((2 * 2 * 4 + 2.55 ** 2) / (2 ** 2 + 4 ** 2 + 2.55 ** 2), abs=5e-5)


def test_noise_is_what_an_image_in_a_file_can_have() -> None:
    """Clipped to the valid range, by the seed 0 if none is given; in batches, but the figures are the same."""
    seen: list[torch.Tensor] = []

    class Watched(Identity):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(x)
            return x

    images = torch.zeros(5, 3, 16, 16, dtype=torch.uint8)
    result = denoising_quality(Watched(), images, 50., HALF, HALF, batch_size=2)
    assert [len(x) for x in seen] == [2, 2, 1]
    assert torch.cat(seen).min() == -1
    seen.clear()
    assert denoising_quality(Watched(), images, 50., HALF, HALF, batch_size=2, seed=0) == result
    assert denoising_quality(Watched(), images, 50., HALF, HALF, batch_size=2, seed=1) != result


def test_pooled_psnr() -> None:
    """From the mean squared error of all images: not the mean of their decibels."""
    class Grey(Identity):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.full_like(x, (100 - 127.5) / 127.5)

    images = torch.tensor([110, 130], dtype=torch.uint8)[:, None, None, None].expand(2, 3, 16, 16)
    result = denoising_quality(Grey(), images, 0., HALF, HALF, batch_size=1)
    assert result.denoised == pytest.approx((28.1308 + 18.5884) / 2, abs=1e-3)
    assert result.denoised_pooled == pytest.approx(10 * math.log10(255 ** 2 / 500), abs=1e-3)


def test_denoising_quality_of_the_shipped_checkpoint() -> None:
    model = create_autoencoder('scae_springenberg9.dae_cifar10', pretrained=True)
    cfg = model.encoder.pretrained_cfg
    ramp = torch.arange(32).mul(7).byte().expand(2, 3, 32, 32)
    result = denoising_quality(model, ramp, 30., cfg['mean'], cfg['std'])
    assert result.denoised > result.noisy + 3
    assert result.denoised_ssim > result.noisy_ssim
