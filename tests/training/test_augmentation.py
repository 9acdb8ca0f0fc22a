"""Crops, flips and stronger changes: what goes where, by which draws."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from scae_zoo.training.augmentation import GrowingCrop, Mix, RandomCrop, StrongAugmentation


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def positions(n: int, height: int, width: int) -> torch.Tensor:
    """Images whose pixels say where they are: channels are image, row and column."""
    index, rows, cols = torch.meshgrid(torch.arange(n), torch.arange(height), torch.arange(width), indexing='ij')
    return torch.stack([index, rows, cols], 1).byte()


def crop(transform: RandomCrop, images: torch.Tensor, n: int, seed: int = 0) -> torch.Tensor:
    """``n`` crops of the first image."""
    index = torch.zeros(n, dtype=torch.long)
    return transform(images, index, index, generator(seed))[0]


def test_crops_are_windows() -> None:
    index = torch.tensor([4, 0, 2, 4])
    crops, targets = RandomCrop(5, flip=False)(positions(5, 9, 7), index, index * 10, generator())
    assert crops.shape == (4, 3, 5, 5)
    assert crops.dtype == torch.uint8
    assert crops.is_contiguous(memory_format=torch.channels_last)
    assert targets.tolist() == [40, 0, 20, 40]
    assert torch.equal(crops[:, 0], index.byte()[:, None, None].expand(4, 5, 5))
    assert (crops[:, 1].int().diff(dim=1) == 1).all()
    assert (crops[:, 2].int().diff(dim=2) == 1).all()


def test_every_window_is_as_likely() -> None:
    crops = crop(RandomCrop(5), positions(1, 7, 9), 6000)
    tops, lefts, mirrored = crops[:, 1, 0, 0], crops[:, 2].amin((1, 2)), crops[:, 2, 0, 0] > crops[:, 2, 0, 1]
    assert tops.unique().tolist() == [0, 1, 2]
    assert lefts.unique().tolist() == [0, 1, 2, 3, 4]
    assert abs(mirrored.float().mean() - 0.5) < 0.03
    counts = (tops.long() * 5 + lefts.long()).bincount()
    assert ((counts - 400).abs() < 100).all()


def test_pad_mirrors_at_the_border() -> None:
    crops = crop(RandomCrop(8, flip=False, pad=2), positions(1, 8, 8), 500)
    tops = crops[:, 1, :, 0].int()
    assert tops.unique(dim=0).tolist() == [
        [0, 1, 2, 3, 4, 5, 6, 7],
        [1, 0, 1, 2, 3, 4, 5, 6],
        [1, 2, 3, 4, 5, 6, 7, 6],
        [2, 1, 0, 1, 2, 3, 4, 5],
        [2, 3, 4, 5, 6, 7, 6, 5]]


@pytest.mark.parametrize('transform', [
    RandomCrop(5), RandomCrop(5, pad=3), RandomCrop(11, scale=(0.5, 2.)), RandomCrop(5, pad=1, scale=(1., 3.))])
def test_masks_go_with_their_images(transform: RandomCrop) -> None:
    images = positions(6, 12, 10) * 10
    index = torch.tensor([3, 1, 5, 5])
    masks = (images[index, 1] // 10 * 10 + images[index, 2] // 10)
    crops, targets = transform(images, index, masks, generator())
    assert targets.shape == (4, transform.size, transform.size)
    assert targets.dtype == torch.uint8
    rows, cols = crops[:, 1] / 10, crops[:, 2] / 10  # bilinear: between pixels; masks: the nearest one
    assert (rows - targets // 10).abs().max() <= 0.56
    assert (cols - targets % 10).abs().max() <= 0.56


def test_scale() -> None:
    """An image enlarged twice has its pixels half as far apart, and all scales between are there."""
    images = positions(1, 64, 64) * 3
    fixed = crop(RandomCrop(21, flip=False, scale=(2., 2.)), images, 50).float()
    assert torch.allclose(fixed[:, 2, 0, -1] - fixed[:, 2, 0, 0], torch.tensor(30.), atol=1)
    spans = crop(RandomCrop(21, flip=False, scale=(1., 2.)), images, 2000).float()[:, 1]
    spans = (spans[:, -1, 0] - spans[:, 0, 0]) / 3
    assert 9.6 < spans.min() < 10.5
    assert 19.5 < spans.max() < 20.4
    assert abs(spans.log().mean() - (torch.tensor(10.).log() + torch.tensor(20.).log()) / 2) < 0.02


@pytest.mark.parametrize('epochs', [1, 2, 5, 14])
@pytest.mark.parametrize(('first', 'last'), [(17, 29), (20, 28), (20, 29), (29, 29), (112, 225)])
def test_crops_grow(first: int, last: int, epochs: int) -> None:
    sizes = [GrowingCrop(last, first_size=first, epochs=epochs).at(epoch).size for epoch in range(epochs)]
    assert sizes == sorted(sizes)
    assert epochs == 1 or first <= sizes[0] <= min(first + 1, last)
    assert sizes[-1] == last
    assert sizes.count(last) >= epochs // 5
    assert GrowingCrop(last, first_size=first, epochs=epochs).at(epochs).size == last  # calibrates batch norms
    assert all(size % 2 == 0 for size in sizes if size < last)


def test_a_small_crop_shows_as_much() -> None:
    images = positions(1, 64, 64) * 3
    growing = GrowingCrop(41, flip=False, first_size=20, epochs=3)
    for epoch, size in ((0, 20), (1, 32), (2, 41)):
        crops = crop(growing.at(epoch), images, 2000).float() / 3
        assert crops.shape[2:] == (size, size)
        for positions_seen in (crops[:, 1, :, 0], crops[:, 2, 0]):
            spans = positions_seen[:, -1] - positions_seen[:, 0]
            assert (spans * size / (size - 1) - 41).abs().max() < 1  # pixels, from edge to edge
            assert positions_seen.min() < 1
            assert positions_seen.max() > 62


@pytest.mark.parametrize('transform', [RandomCrop(5, pad=2), RandomCrop(9, scale=(0.5, 2.))])
def test_crops_follow_the_generator(transform: RandomCrop) -> None:
    images = positions(1, 20, 20)
    first = crop(transform, images, 8)
    assert torch.equal(crop(transform, images, 8), first)
    assert not torch.equal(crop(transform, images, 8, seed=1), first)


def test_strong_augmentation() -> None:
    x = torch.randn(16, 3, 20, 24)
    before = x.clone()
    changed = StrongAugmentation()(x, generator())
    assert torch.equal(x, before)
    assert changed.shape == x.shape
    assert changed.dtype == x.dtype
    assert changed.isfinite().all()
    assert torch.equal(StrongAugmentation()(x, generator()), changed)
    assert not torch.equal(StrongAugmentation()(x, generator(1)), changed)


def test_strength_0_changes_nothing() -> None:
    x = torch.randn(4, 3, 20, 24)
    assert torch.equal(StrongAugmentation(strength=0., cutout=0.)(x, generator()), x)
    torch.testing.assert_close(StrongAugmentation(strength=1e-6, cutout=0.)(x, generator()), x, atol=1e-4, rtol=0)


def test_each_colour_changes_in_half_of_the_images() -> None:
    """Strength 1 reaches 0.9 either way, 0.5 half of that."""
    def changed(x: torch.Tensor, strength: float) -> torch.Tensor:
        return StrongAugmentation(strength, cutout=0.)(x.expand(4000, -1, -1, -1), generator())

    for strength in (0.5, 1.):
        reach = 0.9 * strength
        grey = torch.zeros(1, 3, 4, 4)  # brightness alone can change it
        brightness = changed(grey, strength).mean((1, 2, 3))
        step = torch.where(torch.arange(40) < 20, -1., 1.).expand(1, 3, 40, 40)  # and contrast, however it is turned
        contrast = torch.stack([y.max() - y.min() for y in changed(step, strength)]) / 2 - 1
        colour = torch.tensor([1., 0., -1.]).view(1, 3, 1, 1).expand(1, 3, 4, 4)  # and saturation
        both = (changed(colour, strength)[:, 0] - changed(colour, strength)[:, 2]).mean((1, 2)) / 2
        for values in (brightness, contrast, both / (1 + contrast) - 1):
            still = values.abs() < 1e-3
            assert still.float().mean() == pytest.approx(0.5, abs=0.03)
            assert values.abs().max() == pytest.approx(reach, abs=0.02)
            assert values[~still].mean() == pytest.approx(0, abs=0.05 * reach)
            assert values[~still].abs().mean() == pytest.approx(reach / 2, rel=0.05)  # each value as likely


def test_each_movement_happens_to_half_of_the_images() -> None:
    """Turns by up to 30 degrees, shears by 0.3, scales by 0.7 to 1.4: found again from where two spots go."""
    along = torch.arange(96) - 47.5

    def moved(x: float, y: float) -> torch.Tensor:
        spot = torch.exp(-((along - x)[None] ** 2 + (along - y)[:, None] ** 2) / 8).expand(1000, 3, 96, 96)
        picture = StrongAugmentation(1., cutout=0.)(spot, generator())[:, 0]
        weight = picture - picture.flatten(1).median(1).values[:, None, None]  # brightness and contrast do not matter
        weight = weight * (along[None] ** 2 + along[:, None] ** 2 < 30 ** 2)  # nor what is mirrored at the border
        return torch.stack([(weight * along).sum((1, 2)), (weight * along[:, None]).sum((1, 2))], 1) / weight.sum(
            (1, 2))[:, None]

    outwards = torch.stack([moved(12, 0), moved(0, 12)], 2) / 12
    inwards = torch.linalg.inv(outwards)  # from the picture's positions to the image's: turn, shear and zoom
    angle = torch.atan2(inwards[:, 1, 0], inwards[:, 0, 0])
    zoom = inwards[:, :, 0].norm(dim=1)
    shear = (inwards[:, 0, 1] * angle.cos() + inwards[:, 1, 1] * angle.sin()) / zoom
    for values, reach in ((angle, torch.pi / 6), (zoom.log(), 0.35), (shear, 0.3)):
        assert (values.abs() < 0.01).float().mean() == pytest.approx(0.5, abs=0.06)
        assert values.abs().max() == pytest.approx(reach, rel=0.06)
        assert values.mean() == pytest.approx(0, abs=0.06 * reach)


def test_cutout_is_a_square() -> None:
    x = torch.ones(200, 3, 20, 20)
    hole = StrongAugmentation(strength=0., cutout=0.5)(x, generator()) == 0
    assert torch.equal(hole[:, 0], hole[:, 1])
    rows, cols = hole[:, 0].any(2).sum(1), hole[:, 0].any(1).sum(1)
    assert torch.equal(hole[:, 0].sum((1, 2)), rows * cols)
    assert rows.max() == cols.max() == 10
    assert rows.min() >= 4


@pytest.mark.parametrize('mix', [Mix(mixup=0.4), Mix(cutmix=1.), Mix(0.4, 1.)])
def test_mix(mix: Mix) -> None:
    """Images of one value each: a mixed image's mean says how much of each is in it, and so do its targets."""
    n = 64
    x = torch.arange(n).float()[:, None, None, None].expand(n, 3, 16, 16)
    mixed, targets = mix(x, torch.eye(n), generator())
    assert mixed.shape == x.shape
    torch.testing.assert_close(targets.sum(1), torch.ones(n))
    assert (targets >= 0).all()
    torch.testing.assert_close(targets @ torch.arange(n).float(), mixed.mean((1, 2, 3)), atol=1e-3, rtol=1e-4)
    pure = (mixed == mixed.round()).flatten(1).all(1)
    if not mix.mixup:
        assert pure.all()
    elif mix.cutmix:
        assert 0.2 < pure.float().mean() < 0.8


def test_no_mix() -> None:
    x, targets = torch.randn(8, 3, 16, 16), torch.eye(8)
    mixed, shares = Mix()(x, targets, generator())
    assert torch.equal(mixed, x)
    assert torch.equal(shares, targets)


@pytest.mark.parametrize('change', [
    lambda x, seed: Mix(0.2, 1.)(x, torch.eye(len(x)), generator(seed))[0],
    lambda x, seed: StrongAugmentation(1.)(x, generator(seed)),
])
def test_changes_follow_the_generator(change: Callable) -> None:
    x = torch.randn(8, 3, 16, 16)
    assert torch.equal(change(x, 0), change(x, 0))
    assert not torch.equal(change(x, 0), change(x, 1))


@pytest.mark.parametrize(('size', 'flip'), [(5, True), (5, False), (7, True), (1, True)])
def test_windows_are_those_of_the_general_way(size: int, flip: bool) -> None:
    """On a CPU windows inside of the images are copied, not gathered pixel by pixel: the same, by the same draws."""
    transform, images = RandomCrop(size, flip), positions(50, 7, 9)
    index, masks = torch.arange(50).flip(0), positions(50, 7, 9)[:, 2]
    for targets in (index, masks):
        draws, others = generator(1), generator(1)
        crops, found = transform(images, index, targets, draws)
        expected, wanted = transform._gathered(images.permute(0, 2, 3, 1), index, targets, others)
        assert torch.equal(crops, expected.permute(0, 3, 1, 2))
        assert torch.equal(found, wanted)
        assert crops.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(draws.get_state(), others.get_state())


@pytest.mark.parametrize('transform', [
    RandomCrop(5), RandomCrop(5, flip=False), RandomCrop(7), RandomCrop(5, pad=2), RandomCrop(6, scale=(0.8, 1.2)),
    RandomCrop(8)])
def test_one_image_is_cropped_as_in_a_batch(transform: RandomCrop) -> None:
    images, which = positions(20, 7, 9), torch.zeros(1, dtype=torch.long)
    draws, others = generator(1), generator(1)
    for image in images:
        crop = np.zeros((transform.size, transform.size, 3), np.uint8)
        transform.of_one(image.permute(1, 2, 0).contiguous().numpy(), draws, crop)
        expected, _ = transform(image[None], which, which, others)
        assert np.array_equal(crop, expected[0].permute(1, 2, 0).numpy())
