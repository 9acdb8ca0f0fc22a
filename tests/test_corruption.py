"""Gaussian noise and block masks."""

import pytest
import torch

from scae_zoo import BlockMask, GaussianNoise, parse_corruption

MEAN, STD = (0.5, 0.4, 0.3), (0.25, 0.2, 0.3)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64, torch.bfloat16])
def test_sigma_is_in_pixel_units(dtype: torch.dtype) -> None:
    x = torch.zeros(8, 3, 64, 48, dtype=dtype)
    noise = GaussianNoise(25., MEAN, STD)(x, generator())
    assert noise.dtype == dtype
    pixels = noise.double() * torch.tensor(STD).double().view(-1, 1, 1) * 255
    # 24,576 values a channel: the estimate's own deviation is 25 / sqrt(2 * 24576) = 0.11
    assert pixels.std(dim=(0, 2, 3)).sub(25).abs().max() < 0.6
    assert pixels.mean().abs() < 0.6
    assert not x.any()


def test_a_range_draws_one_sigma_an_image() -> None:
    x = torch.zeros(300, 3, 32, 32)
    pixels = GaussianNoise((10., 40.), MEAN, STD)(x, generator()) * torch.tensor(STD).view(-1, 1, 1) * 255
    sigmas = pixels.std(dim=(1, 2, 3))
    assert 9 < sigmas.min() < 12
    assert 38 < sigmas.max() < 42
    assert sigmas.mean() == pytest.approx(25, abs=1.5)


def test_clipped_noise_stays_in_the_valid_range() -> None:
    x = torch.zeros(2, 3, 32, 32)
    noisy = GaussianNoise(200., MEAN, STD, clip=True)(x, generator())
    pixels = noisy * torch.tensor(STD).view(-1, 1, 1) + torch.tensor(MEAN).view(-1, 1, 1)
    assert pixels.min() == pytest.approx(0, abs=1e-6)
    assert pixels.max() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize('size', [1, 4, 7])
@pytest.mark.parametrize('shape', [(32, 32), (29, 41), (5, 3)])
def test_blocks_are_squares_of_zeros(size: int, shape: tuple[int, int]) -> None:
    x = torch.full((40, 3, *shape), 7.)
    masked = BlockMask(0.25, size)(x, generator())
    mask = masked == 0
    assert torch.equal(mask[:, 0], mask[:, 1])
    assert torch.equal(mask[:, 0], mask[:, 2])
    assert torch.equal(masked[~mask], x[~mask])
    if min(shape) > 3 * size:
        # the border cuts blocks, and one cell's rounding remains
        assert mask.float().mean() == pytest.approx(0.25, abs=0.03)
        inner = mask[:, 0, size:-size, size:-size]
        # morphological opening with a square of that size keeps what is a union of such squares
        eroded = -torch.nn.functional.max_pool2d(-mask[:, :1].float(), size, 1)
        opened = torch.nn.functional.max_pool2d(torch.nn.functional.pad(eroded, (size - 1,) * 4), size, 1)
        assert torch.equal(opened[:, 0, size:-size, size:-size].bool(), inner)


def test_share_can_be_nothing_or_all() -> None:
    x = torch.ones(2, 3, 20, 20)
    assert torch.equal(BlockMask(0., 4)(x, generator()), x)
    assert not BlockMask(1., 4)(x, generator()).any()


@pytest.mark.parametrize('corrupt', [GaussianNoise((5., 50.), MEAN, STD), BlockMask(0.3, 5)])
def test_the_generator_decides(corrupt: GaussianNoise | BlockMask) -> None:
    x = torch.ones(4, 3, 20, 24)
    assert torch.equal(corrupt(x, generator(1)), corrupt(x, generator(1)))
    assert not torch.equal(corrupt(x, generator(1)), corrupt(x, generator(2)))
    assert torch.equal(x, torch.ones_like(x))


@pytest.mark.parametrize(('text', 'expected'), [
    ('gaussian:25', GaussianNoise(25., MEAN, STD)),
    ('gaussian:5-50.5', GaussianNoise((5., 50.5), MEAN, STD)),
    ('block:0.25', BlockMask(0.25)),
    ('block:0.5:8', BlockMask(0.5, 8)),
])
def test_names(text: str, expected: GaussianNoise | BlockMask) -> None:
    assert parse_corruption(text, MEAN, STD) == expected


@pytest.mark.parametrize('text', [
    '', 'gaussian', 'gaussian:', 'gaussian:x', 'gaussian:-1', 'gaussian:50-5', 'gaussian:nan', 'block:2', 'block:-0.1',
    'block:0.2:0', 'block:0.2:x', 'salt:1'])
def test_wrong_names_get_one_line(text: str) -> None:
    with pytest.raises(ValueError, match='corruption') as caught:
        parse_corruption(text, MEAN, STD)
    assert '\n' not in str(caught.value)
