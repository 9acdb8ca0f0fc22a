"""Gaussian noise and block masks."""

from itertools import product

import numpy as np
import pytest
import torch

from scae_zoo import BlockMask, GaussianNoise, parse_corruption

MEAN, STD = (0.5, 0.4, 0.3), (0.25, 0.2, 0.3)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(('dtype', 'tolerance'), [
    # a million values a channel: the estimate's own deviation is 25 / sqrt(2 * 2 ** 20) = 0.017
    (torch.float32, 0.08), (torch.float64, 0.08),
    (torch.bfloat16, 0.3),  # sigma itself is rounded to 8 bits
])
def test_sigma_is_in_pixel_units(dtype: torch.dtype, tolerance: float) -> None:
    x = torch.zeros(64, 3, 128, 128, dtype=dtype)
    noise = GaussianNoise(25., MEAN, STD)(x, generator())
    assert noise.dtype == dtype
    pixels = noise.double() * torch.tensor(STD).double().view(-1, 1, 1) * 255
    assert pixels.std(dim=(0, 2, 3)).sub(25).abs().max() < tolerance
    assert pixels.mean().abs() < tolerance
    assert (pixels.abs() < 25).double().mean() == pytest.approx(0.6827, abs=0.01)  # normal: within one deviation
    assert not x.any()


def test_noise_is_drawn_for_each_pixel_channel_and_image() -> None:
    noise = GaussianNoise(25., MEAN, STD)(torch.zeros(2, 3, 64, 64), generator())
    for a, b in ((noise[0], noise[1]), (noise[:, 0], noise[:, 1]), (noise[..., 1:], noise[..., :-1])):
        correlation = torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1]
        assert correlation.abs() < 5 / a.numel() ** 0.5


def test_noise_is_added_to_the_image() -> None:
    x = torch.randn(3, 3, 20, 24)
    noise = GaussianNoise(25., MEAN, STD)
    torch.testing.assert_close(noise(x, generator()), x + noise(torch.zeros_like(x), generator()))
    assert torch.equal(GaussianNoise(0., MEAN, STD)(x), x)


def test_a_range_draws_one_sigma_an_image() -> None:
    x = torch.zeros(300, 3, 32, 32)
    pixels = GaussianNoise((10., 40.), MEAN, STD)(x, generator()) * torch.tensor(STD).view(-1, 1, 1) * 255
    sigmas = pixels.std(dim=(1, 2, 3))
    assert (pixels.std(dim=(2, 3)) / sigmas[:, None]).sub(1).abs().max() < 0.15  # the channels of an image share it
    assert 9 < sigmas.min() < 12
    assert 38 < sigmas.max() < 42
    assert sigmas.mean() == pytest.approx(25, abs=1.5)


def test_clipped_noise_stays_in_the_valid_range() -> None:
    mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (MEAN, STD))
    x = (torch.rand(2, 3, 32, 32) - mean) / std
    noisy, loose = (GaussianNoise(200., MEAN, STD, clip)(x, generator()) for clip in (True, False))
    pixels = noisy * std + mean
    inside = (pixels > 1e-5) & (pixels < 1 - 1e-5)
    assert 0.2 < inside.float().mean() < 0.8
    assert torch.equal(noisy[inside], loose[inside])
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
    share = mask[:, 0].float().mean(dim=(1, 2))
    assert share.unique().numel() > 1 or size == 1  # the blocks lie elsewhere in each image
    if min(shape) > 3 * size:
        # the border cuts blocks, and one cell's rounding remains
        assert mask.float().mean() == pytest.approx(0.25, abs=0.03)
        inner = mask[:, 0, size:-size, size:-size]
        # morphological opening with a square of that size keeps what is a union of such squares
        eroded = -torch.nn.functional.max_pool2d(-mask[:, :1].float(), size, 1)
        opened = torch.nn.functional.max_pool2d(torch.nn.functional.pad(eroded, (size - 1,) * 4), size, 1)
        assert torch.equal(opened[:, 0, size:-size, size:-size].bool(), inner)


def test_one_block_has_its_size_and_lies_anywhere() -> None:
    # an image of one block and less: 2 x 2 blocks of a grid can meet it, and a quarter of them is one
    masks = BlockMask(0.25, 6)(torch.ones(4000, 1, 6, 6), generator())[:, 0] == 0
    heights, widths = masks.any(2).sum(1), masks.any(1).sum(1)
    assert torch.equal(masks.sum(dim=(1, 2)), heights * widths)  # a rectangle, cut by the border
    # every offset in both directions
    assert set(zip(heights.tolist(), widths.tolist(), strict=True)) == {(0, 0), *product(range(1, 7), repeat=2)}
    assert masks.float().mean(0) == pytest.approx(torch.full((6, 6), 0.25), abs=0.04)  # no pixel is favoured


@pytest.mark.parametrize(('share', 'size', 'shape', 'spread'), [
    (0.1, 4, (48, 36), 0.015), (0.5, 4, (48, 36), 0.02), (0.25, 8, (48, 36), 0.04), (0.75, 3, (48, 36), 0.015),
    (0.25, 4, (29, 29), 0.025), (0.25, 16, (225, 225), 0.011), (0.25, 75, (225, 225), 0.08)])  # the recipes'
def test_share_is_the_share(share: float, size: int, shape: tuple[int, int], spread: float) -> None:
    """Of what can be seen: no block is drawn that lies beside the image whatever the offset."""
    masked = BlockMask(share, size)(torch.ones(300, 1, *shape), generator()) == 0
    shares = masked.float().mean(dim=(1, 2, 3))
    half_a_block = size * size / (shape[0] * shape[1]) / 2  # the number of blocks is whole
    assert shares.mean() == pytest.approx(share, abs=half_a_block + 0.005)
    assert shares.std() < spread


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float64])
def test_blocks_keep_the_dtype(dtype: torch.dtype) -> None:
    x = torch.full((2, 3, 20, 20), 7., dtype=dtype)
    masked = BlockMask(0.5, 4)(x, generator())
    assert masked.dtype == dtype
    assert set(masked.flatten().tolist()) == {0., 7.}


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
    before = torch.get_rng_state()
    one = generator(1)
    assert not torch.equal(corrupt(x, one), corrupt(x, one))
    assert torch.equal(torch.get_rng_state(), before)  # nothing is drawn from elsewhere
    torch.manual_seed(5)
    first = corrupt(x)
    torch.manual_seed(5)
    assert torch.equal(corrupt(x), first)


@pytest.mark.parametrize('clip', [False, True])
def test_a_seed_gives_one_noise_however_the_image_lies_in_memory(clip: bool) -> None:
    """And training, whose crops are channels_last, has had this one all the time."""
    x = torch.randn(4, 3, 20, 24)
    wide = torch.zeros(4, 3, 20, 48)
    wide[..., ::2] = x
    corrupt = GaussianNoise((5., 50.), MEAN, STD, clip)
    expected = corrupt(x.contiguous(memory_format=torch.channels_last), generator())
    for same in (x, wide[..., ::2], x.transpose(2, 3).contiguous().transpose(2, 3)):
        assert torch.equal(corrupt(same, generator()), expected)
    if not clip:
        sigma = GaussianNoise(25., MEAN, STD)
        torch.rand(4, generator=(drawn := generator()))  # a sigma an image comes first
        noise = torch.empty(4, 3, 20, 24, memory_format=torch.channels_last).normal_(generator=drawn)
        noise *= torch.tensor(STD).view(-1, 1, 1).reciprocal() * 25 / 255
        torch.testing.assert_close(sigma(torch.zeros(4, 3, 20, 24), generator()), noise)


@pytest.mark.parametrize('corrupt', [GaussianNoise((5., 50.), MEAN, STD, clip=True), BlockMask(0.3, 5)])
def test_one_image_is_a_batch_of_one(corrupt: GaussianNoise | BlockMask) -> None:
    x = torch.randn(3, 20, 24)
    one = corrupt(x, generator())
    assert one.shape == x.shape
    assert torch.equal(one, corrupt(x[None], generator())[0])
    assert not torch.equal(one, x)


@pytest.mark.parametrize('corrupt', [GaussianNoise(25., MEAN, STD), BlockMask()])
@pytest.mark.parametrize(('x', 'fault'), [
    (torch.zeros(8, 8), 'float32 of 8 x 8'),
    (torch.zeros(1, 2, 3, 8, 8), 'float32 of 1 x 2 x 3 x 8 x 8'),
    (torch.tensor(1.), 'float32 of no dimensions'),
    (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), 'uint8 of 2 x 3 x 8 x 8'),
    (torch.zeros(3, 8, 8, dtype=torch.int64), 'int64 of 3 x 8 x 8'),
    (np.zeros((2, 3, 8, 8)), 'ndarray'),
])
def test_what_is_no_image_is_refused_in_one_line(
        corrupt: GaussianNoise | BlockMask, x: torch.Tensor, fault: str) -> None:
    with pytest.raises(ValueError, match=f'N x C x H x W or C x H x W, not {fault}$') as caught:
        corrupt(x)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(('mean', 'std', 'fault'), [
    (MEAN, STD, 'mean of 3'), (MEAN, STD[:1], 'mean of 3'), (MEAN[:1], STD, 'std of 3'), ((), STD[:1], 'mean of 0')])
def test_noise_for_other_channels_than_the_images_is_refused(
        mean: tuple[float, ...], std: tuple[float, ...], fault: str) -> None:
    for grey in (torch.zeros(2, 1, 8, 8), torch.zeros(1, 8, 8)):
        with pytest.raises(ValueError, match=f'{fault} channels .* images of 1'):
            GaussianNoise(25., mean, std, clip=True)(grey)


@pytest.mark.parametrize('channels', [1, 3, 4])
def test_one_mean_and_deviation_stand_for_all_channels(channels: int) -> None:
    x = torch.zeros(2, channels, 8, 8)
    one, each = (GaussianNoise(25., (0.5,) * n, (0.2,) * n, clip=True)(x, generator()) for n in (1, channels))
    assert one.shape == x.shape
    assert torch.equal(one, each)


def test_equal_values_of_colours_are_those_of_grey() -> None:
    x = torch.zeros(2, 1, 8, 8)
    grey, colours = (GaussianNoise(25., (0.5,) * n, (0.2,), clip=True)(x, generator()) for n in (1, 3))
    assert torch.equal(colours, grey)
    with pytest.raises(ValueError, match='mean of 2 channels does not fit images of 3'):
        GaussianNoise(25., (0.5,) * 2, STD)(torch.zeros(2, 3, 8, 8))


def test_a_deviation_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match='std must be more than 0'):
        GaussianNoise(25., MEAN, (0.2, 0., 0.2))


@pytest.mark.parametrize(('text', 'expected'), [
    ('gaussian:25', GaussianNoise(25., MEAN, STD)),
    ('gaussian:5-50.5', GaussianNoise((5., 50.5), MEAN, STD)),
    ('block:0.25', BlockMask(0.25)),
    ('gaussian:0', GaussianNoise(0., MEAN, STD)),
    ('gaussian:1e-3', GaussianNoise(0.001, MEAN, STD)),
    ('gaussian:1e-3-5', GaussianNoise((0.001, 5.), MEAN, STD)),
    ('block:0.5:8', BlockMask(0.5, 8)),
    ('block:1', BlockMask(1.)),
])
def test_names(text: str, expected: GaussianNoise | BlockMask) -> None:
    assert parse_corruption(text, MEAN, STD) == expected


@pytest.mark.parametrize('text', ['gaussian:-5', 'gaussian:-5-3', 'gaussian:50-5'])
def test_a_wrong_sigma_is_named(text: str) -> None:
    with pytest.raises(ValueError, match='sigma must be a number or a pair'):
        parse_corruption(text, MEAN, STD)


def test_a_range_is_any_pair() -> None:
    x = torch.zeros(4, 3, 8, 8)
    pair, as_list = (GaussianNoise(sigma, MEAN, STD)(x, generator()) for sigma in ((5, 50), [5, 50]))
    assert torch.equal(pair, as_list)
    with pytest.raises(ValueError, match='a pair'):
        GaussianNoise([5, 20, 50], MEAN, STD)


def test_limits() -> None:
    with pytest.raises(ValueError, match='finite'):
        GaussianNoise(float('inf'), MEAN, STD)
    assert not BlockMask(1., 65535)(torch.ones(1, 3, 8, 8)).any()
    with pytest.raises(ValueError, match='between 1 and 65535 pixels, not 65536'):
        BlockMask(1., 65536)


@pytest.mark.parametrize('corrupt', [GaussianNoise((5., 50.), MEAN, STD, clip=True), BlockMask(0.3, 5)])
def test_all_is_made_where_the_images_are(corrupt: GaussianNoise | BlockMask) -> None:
    assert corrupt(torch.empty(2, 3, 20, 24, device='meta')).device.type == 'meta'


def test_clip_is_passed_on() -> None:
    assert parse_corruption('gaussian:25', MEAN, STD, clip=True) == GaussianNoise(25., MEAN, STD, clip=True)


@pytest.mark.parametrize('text', [
    '', 'gaussian', 'gaussian:', 'gaussian:x', 'gaussian:-1', 'gaussian:50-5', 'gaussian:nan', 'gaussian:inf',
    'gaussian:5-50-60', 'block', 'block:2', 'block:-0.1',
    'block:nan', 'block:0.2:0', 'block:0.2:x', 'block:0.2:4:4', 'salt:1', 'gaussian:1\n2', 'salt\n:1'])
def test_wrong_names_get_one_line(text: str) -> None:
    with pytest.raises(ValueError, match='corruption') as caught:
        parse_corruption(text, MEAN, STD)
    assert '\n' not in str(caught.value)
