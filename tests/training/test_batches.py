"""Sets of images in memory and the batches that are drawn from them."""

import math
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from scae_zoo.data.image_set import ImageSet, Remainder
from scae_zoo.pixels import denormalize, normalize
from scae_zoo.training.augmentation import GrowingCrop, RandomCrop
from scae_zoo.training.batches import BaseBatches, Batches, Plain, seed_of
from scae_zoo.training.distributed import World
from scae_zoo.training.settings import Optimization

CPU = torch.device('cpu')
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


def image_set(n: int = 10, side: int = 6) -> ImageSet:
    """Noise, but the first pixel of each image is its number."""
    images = torch.randint(256, (n, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images[:, :, 0, 0] = torch.arange(n, dtype=torch.uint8)[:, None]
    return ImageSet(images, torch.arange(n) % 2, ('a', 'b'), 'noise')


def batches(data: ImageSet | Remainder, batch_size: int, crop: RandomCrop | None = None, *, seed: int = 0,
            rank: int = 0, world_size: int = 1) -> BaseBatches:
    def prepare(x: torch.Tensor, y: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        return x.float() + torch.rand(len(x), 1, 1, 1, generator=generator) / 2, y

    settings = Optimization(batch_size=batch_size, seed=seed)
    return Batches(data, settings, crop or RandomCrop(6, flip=False), prepare, World(rank, world_size, CPU))


def test_what_is_held_back_is_not_drawn() -> None:
    """All others are, with their own targets, and none is copied."""
    data = image_set()
    held, rest = data.held_back(3)
    assert rest.whole.images is data.images
    seen = {}
    for x, y in batches(rest, 7).epoch(0):
        seen.update(zip(x[:, 0, 0, 0].int().tolist(), y.tolist(), strict=True))
    kept = set(held.images[:, 0, 0, 0].tolist())
    assert len(kept) == 3
    assert seen == {number: number % 2 for number in range(10) if number not in kept}
    again, _ = data.held_back(3)
    assert torch.equal(again.images, held.images)


def numbers(epoch: Iterator[tuple[torch.Tensor, torch.Tensor]]) -> list[list[int]]:
    return [x[:, 0, 0, 0].int().tolist() for x, _ in epoch]


def drawn(epoch: int = 0, **kwargs: int) -> tuple[list[list[int]], list[int], list[float]]:
    """The order of the images, where the crops begin from the left, and what else is drawn for them."""
    order = numbers(batches(image_set(), 2, **kwargs).epoch(epoch))
    places = ImageSet(torch.arange(12, dtype=torch.uint8).expand(8, 3, 12, 12))
    first = [x[0, 0, 0, 0].item() for x, _ in batches(places, 2, **kwargs).epoch(epoch)]
    return order, [int(x) for x in first], [x % 1 for x in first]


@pytest.mark.parametrize('share', [0.1, 0.25, 0.5, 0.85])
def test_split_takes_as_much_of_each_class(share: float) -> None:
    data = image_set(90)
    held, rest = data.split(share, seed=1)
    assert len(held) == math.floor(share * 90 + 0.5)
    assert sorted(held.images[:, 0, 0, 0].tolist() + rest.images[:, 0, 0, 0].tolist()) == list(range(90))
    assert held.targets is not None
    assert abs(int(held.targets.sum()) - share * 45) <= 1
    assert torch.equal(data.split(share, seed=1)[0].images, held.images)
    assert not torch.equal(data.split(share, seed=2)[0].images, held.images)
    assert (held.identity, rest.identity) == tuple(
        f'noise {part} of a split at {share} in each class, seed 1' for part in ('first', 'rest'))


def test_split_leaves_some_of_each_class() -> None:
    with pytest.raises(ValueError, match=r'a share of 0.5 leaves no image of class a'):
        image_set(2).split(0.5, 0)
    with pytest.raises(ValueError, match='leaves none of the 4 images'):
        image_set(4).split(1., 0)
    with pytest.raises(ValueError, match='leaves none of the 1 images'):
        image_set(1).split(0.1, 0)
    assert len(image_set(4).split(0.01, 0)[0]) == 1
    without_labels = ImageSet(image_set(8).images)
    assert [len(part) for part in without_labels.split(0.25, 0)] == [2, 6]
    masked = replace(image_set(8), targets=torch.zeros(8, 6, 6, dtype=torch.uint8))
    assert [len(part) for part in masked.split(0.25, 0)] == [2, 6]


def test_each_image_once_an_epoch() -> None:
    loader = batches(image_set(), 5)
    first, second = numbers(loader.epoch(0)), numbers(loader.epoch(1))
    assert len(loader) == len(first) == 2
    assert sorted(sum(first, [])) == sorted(sum(second, [])) == list(range(10))
    assert first != second
    for x, y in loader.epoch(2):
        assert x.shape == (5, 3, 6, 6)
        assert torch.equal(x[:, 0, 0, 0].long() % 2, y)


def test_incomplete_batches() -> None:
    """What is left over waits for another epoch; a batch larger than the set is the set."""
    epoch = numbers(batches(image_set(), 4).epoch(0))
    assert [len(batch) for batch in epoch] == [4, 4]
    assert len(set(sum(epoch, []))) == 8
    assert [len(batch) for batch in numbers(batches(image_set(), 64).epoch(0))] == [10]


def test_function_of_seed_epoch_and_step() -> None:
    data = image_set(side=9)
    whole = list(batches(data, 2, RandomCrop(6), seed=3).epoch(1))
    rest = list(batches(data, 2, RandomCrop(6), seed=3).epoch(1, first_step=2))
    assert len(rest) == 3
    for (x, y), (again, targets) in zip(whole[2:], rest, strict=True):
        assert torch.equal(x, again)
        assert torch.equal(y, targets)
    torch.rand(9)  # the global generator has no part in it
    other = next(batches(data, 2, RandomCrop(6), seed=4).epoch(1))
    assert not torch.equal(other[0], whole[0][0])


def test_everything_is_drawn_anew() -> None:
    """Order, crops and what is made of them: in each epoch, by each seed; crops also in each step and process."""
    base = drawn()
    assert base == drawn()
    for other in (drawn(1), drawn(seed=1)):
        assert all(a != b for a, b in zip(base, other, strict=True))
    for several in base[1:]:
        assert len(set(several)) > 1
    ranks = [drawn(rank=rank, world_size=2) for rank in range(2)]
    assert all(a != b for a, b in zip(*ranks, strict=True))


def test_seeds_stay_what_they_are() -> None:
    """Runs of earlier versions can be repeated."""
    assert [seed_of(0), seed_of(1, 2, 3)] == [7896617691693857887, 6498626229777268288]
    order, columns, noise = drawn(2, seed=3)
    assert order == [[2, 3], [6, 5], [8, 4], [7, 9], [1, 0]]
    assert columns == [2, 5, 3, 6]
    assert noise == pytest.approx([0.395033, 0.212764, 0.153188, 0.469446], abs=1e-5)


def test_images_elsewhere_than_the_network() -> None:
    """Drawn ahead, they are the same; to the CPU that has a number, those on the CPU are elsewhere."""
    def drawn_on(device: str, first_step: int = 0) -> list[tuple[torch.Tensor, torch.Tensor]]:
        world = World(0, 1, torch.device(device))
        loader = Batches(image_set(side=9), Optimization(batch_size=3), RandomCrop(6), Plain(MEAN, STD), world)
        return list(loader.epoch(1, first_step))

    assert torch.device('cpu:0') != image_set().images.device
    for first_step, steps in ((0, 3), (2, 1), (3, 0)):
        here, there = (drawn_on(device, first_step) for device in ('cpu', 'cpu:0'))
        assert len(here) == steps
        torch.testing.assert_close(there, here, rtol=0, atol=0)


def test_what_is_known_of_images() -> None:
    images = torch.zeros(2, 3, 9, 5, dtype=torch.uint8)
    assert ImageSet(images).side == 5
    assert ImageSet(images.mT).side == 5
    assert not ImageSet(images).multi_label
    assert not ImageSet(images, torch.zeros(2)).multi_label
    assert ImageSet(images, torch.zeros(2, 1)).multi_label
    assert not ImageSet(images, torch.zeros(2, 9, 5)).multi_label


def test_crops_of_the_epochs_size() -> None:
    crop = GrowingCrop(9, first_size=6, epochs=4)
    loader = batches(image_set(side=9), 5, crop)
    assert [{tuple(x.shape[2:]) for x, _ in loader.epoch(epoch)} for epoch in range(5)] == [
        {(6, 6)}, {(8, 8)}, {(8, 8)}, {(9, 9)}, {(9, 9)}]


def test_ranks_share_each_batch() -> None:
    whole = numbers(batches(image_set(12), 6).epoch(5))
    ranks = [numbers(batches(image_set(12), 6, rank=rank, world_size=3).epoch(5)) for rank in range(3)]
    assert [sum(parts, []) for parts in zip(*ranks, strict=True)] == whole


def test_refused_batches() -> None:
    with pytest.raises(ValueError, match='1 images are not enough for 2 processes'):
        batches(image_set(1), 2, world_size=2)
    with pytest.raises(ValueError, match='--batch-size 5 cannot be split over 2 processes'):
        batches(image_set(), 5, world_size=2)
    with pytest.raises(ValueError, match='--crop 7 does not fit into images of 6x6; give a larger --size'):
        batches(image_set(), 2, RandomCrop(7))
    assert len(batches(image_set(1), 2)) == 1


def test_labels_per_class() -> None:
    data = image_set(20)
    data = replace(data, targets=torch.tensor([0] * 10 + [1] * 3 + [2] * 7), classes=('a', 'b', 'c'))
    picked, left = data.per_class(3, seed=0)
    assert sorted([*picked.tolist(), *left.tolist()]) == list(range(20))
    labelled = data.labelled(3, seed=0)
    assert torch.equal(labelled.images, data.images[picked])
    assert labelled.targets.tolist() == [0] * 3 + [1] * 3 + [2] * 3
    assert labelled.identity == 'noise 3 labels per class, seed 0'
    assert labelled.classes == data.classes
    assert torch.equal(data.per_class(3, seed=0)[0], picked)
    assert not torch.equal(data.per_class(3, seed=1)[0], picked)
    with pytest.raises(ValueError, match="class 'b' has 3 images, fewer than the 4 labels asked for"):
        data.per_class(4, seed=0)
    with pytest.raises(ValueError, match='needs images with one label each'):
        ImageSet(data.images).per_class(1, seed=0)


def test_measured_on_the_classes_that_were_learned() -> None:
    data = image_set()
    data.require_classes(('a', 'b'))
    ours, theirs = 'only the test images have', 'only the training images have'
    for other, difference in (
            (('b', 'a'), 'the same in another order: the test images have a, b; the training images have b, a'),
            (('a', 'c', 'b', 'd'), f'{theirs} c, d .2 of 4 classes.'),
            (('c', 'a'), f'{ours} b .1 of 2 classes.; {theirs} c .1 of 2 classes.')):
        with pytest.raises(ValueError, match=f'differ from those of training: {difference}$'):
            data.require_classes(other)
    for unlabelled in (replace(data, targets=None), replace(data, classes=())):
        with pytest.raises(ValueError, match='the test images have no labels'):
            unlabelled.require_classes(unlabelled.classes)
    some = torch.tensor([[1., 0], [-1, 0]])
    replace(data, images=data.images[:2], targets=some).require_classes(('a', 'b'))
    with pytest.raises(ValueError, match='none of the images to be measured on is of any class'):
        replace(data, images=data.images[:2], targets=some - 1).require_classes(('a', 'b'))
    replace(data, targets=torch.zeros(10, dtype=torch.long)).require_classes(('a', 'b'))  # the first class is one


def test_normalize() -> None:
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    x = normalize(pixels, MEAN, STD)
    torch.testing.assert_close(x[0, :, 0, 0], torch.tensor([-2.5, -1.6, -1.]))
    torch.testing.assert_close(x[0, :, -1, -1], torch.tensor([2.5, 2.4, 0.7 / 0.3]))
    torch.testing.assert_close(denormalize(x, MEAN, STD), pixels.float(), atol=1e-3, rtol=0)
    assert denormalize(x * 9, MEAN, STD).min() == 0
    assert denormalize(x * 9, MEAN, STD).max() == 255
