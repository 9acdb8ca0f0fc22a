"""Image sets as one uint8 tensor, on the device or memory-mapped, and the batches that training takes from them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass, replace

import numpy as np
import torch

from ..corruption import per_channel
from .augmentation import RandomCrop
from .distributed import World
from .origins import Origins
from .settings import Optimization

Prepare = Callable[[torch.Tensor, torch.Tensor, torch.Generator], tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True)
class ImageSet:
    """Images of one size with what is known of them.

    Args:
        images: N x C x H x W uint8, in memory or memory-mapped.
        targets: N int64 class indices; N x K float32 of 1, 0 and -1 (not counted) where an image may have many labels;
            N x H x W uint8 masks; or None.
        classes: The classes' names.
        identity: The same for the same data, wherever it lies.
        description: What a card calls them, where "N labelled images" is not the truth.
        mask_indices: The class indices in whole masks, in order, before they were scaled and cropped.
        mask_values: The masks' values that stood for the classes, where they were given (``--mask-values``).
        origins: Which files these are, where that is known.
    """

    images: torch.Tensor
    targets: torch.Tensor | None = None
    classes: tuple[str, ...] = ()
    identity: str = ''
    description: str = ''
    mask_indices: tuple[int, ...] = ()
    mask_values: tuple[int, ...] = ()
    origins: Origins | None = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def multi_label(self) -> bool:
        return self.targets is not None and self.targets.ndim == 2

    @property
    def side(self) -> int:
        """The images' shorter side in pixels."""
        return min(self.images.shape[-2:])

    def batches(self, settings: Optimization, crop: RandomCrop, prepare: Prepare, world: World) -> 'BaseBatches':
        """Batches of them; the arguments are those of ``BaseBatches``."""
        return Batches(self, settings, crop, prepare, world)

    def subset(self, index: torch.Tensor, name: str) -> 'ImageSet':
        """The images of an index, copied; ``name`` says which they are."""
        targets = None if self.targets is None else self.targets[index]
        return replace(self, images=self.images[index], targets=targets, identity=f'{self.identity} {name}',
                       origins=self.origins and self.origins.chosen(index))

    def labelled(self, n: int, seed: int) -> 'ImageSet':
        """``n`` images of each class, drawn by ``seed``; see ``per_class``."""
        return self.subset(self.per_class(n, seed)[0], f'{n} labels per class, seed {seed}')

    def split(self, share: float, seed: int) -> tuple['ImageSet', 'ImageSet']:
        """A share of the images, as much of each class where each has one, and the rest, drawn by ``seed``.

        Raises:
            ValueError: The share takes all images, or all of a class.
        """
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        if self.targets is not None and self.targets.ndim == 1:
            order = order[self.targets[order].argsort(stable=True)]  # class after class
            # of those in a row every so many-th: a class loses its share, rounded
            place = torch.arange(len(order))
            held = ((place + 1) * share + 0.5).floor() > (place * share + 0.5).floor()
        else:
            held = torch.arange(len(self)) < round(share * len(self))
        if not held.any():
            held[0] = True
        what = f'of a split at {share:g} in each class, seed {seed}'
        first, rest = self.subset(order[held], f'first {what}'), self.subset(order[~held], f'rest {what}')
        if not len(rest):
            raise ValueError(f'a share of {share:g} leaves none of the {len(self)} images to train on')
        if first.targets is not None and rest.targets is not None and rest.targets.ndim == 1:
            gone = set(first.targets.tolist()) - set(rest.targets.tolist())
            if gone:
                raise ValueError(f'a share of {share:g} leaves no image of class {self.classes[min(gone)]} to train on')
        return first, rest

    def require_classes(self, classes: tuple[str, ...], what: str = 'test') -> None:
        """Refuse to be measured on where these are not the classes that were learned, in their order, or where no image
        is of any. ``what`` they are called: test or validation images."""
        if self.targets is None or not self.classes:
            raise ValueError(f'the {what} images have no labels')
        if self.classes != classes:
            difference = class_difference(self.classes, classes, f'the {what} images have', 'the training images have')
            raise ValueError(f'the classes of the {what} images differ from those of training: {difference}')
        if self.multi_label and not (self.targets > 0).any():
            raise ValueError('none of the images to be measured on is of any class, so that nothing can be measured')

    def per_class(self, n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Indices of ``n`` images of each class, drawn by ``seed``, and of all others.

        Raises:
            ValueError: There are no single labels, or a class has fewer images.
        """
        if self.targets is None or self.targets.ndim != 1:
            raise ValueError('a number of labels per class needs images with one label each')
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        targets = self.targets[order]
        chosen = []
        for index, name in enumerate(self.classes):
            members = order[targets == index]
            if len(members) < n:
                raise ValueError(f'class {name!r} has {len(members)} images, fewer than the {n} labels asked for')
            chosen.append(members[:n])
        picked = torch.cat(chosen).sort().values
        left = torch.ones(len(self), dtype=torch.bool)
        left[picked] = False
        return picked, left.nonzero().flatten()


@dataclass(frozen=True)
class Plain:
    """Prepares crops by nothing but normalising them."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(
            self,
            crops: torch.Tensor,
            targets: torch.Tensor,
            generator: torch.Generator,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return normalize(crops, self.mean, self.std), targets


def few_names(names: Sequence[str]) -> str:
    """The first few of some names, and how many more there are, for a message."""
    more = len(names) - 5
    return ', '.join(names[:5]) + (f' and {more} more' if more > 0 else '')


def class_difference(
        ours: Sequence[str],
        theirs: Sequence[str],
        we_have: str = 'the images have',
        they_have: str = 'the network knows',
) -> str:
    """Which classes are in one of two sets alone, and in which; for a message."""
    parts = []
    for said, names, others in ((we_have, ours, theirs), (they_have, theirs, ours)):
        alone = [name for name in names if name not in set(others)]
        if alone:
            parts.append(f'only {said} {few_names(alone)} ({len(alone)} of {len(names)} classes)')
    return '; '.join(parts) or (
        f'the same in another order: {we_have} {few_names(ours)}; {they_have} {few_names(theirs)}')


def seed_of(*numbers: int) -> int:
    """One well-mixed seed of several numbers, such as (seed, epoch, step)."""
    state = np.random.SeedSequence(numbers).generate_state(1, np.uint64)
    return int(state[0]) >> 1  # numpy 1 itself shifts no uint64 by an int


class BaseBatches(ABC):
    """Batches of crops that are each a function of (seed, epoch, step) alone, so that a run that was killed goes on
    with the very batches it would have had.

    Args:
        images: How many images there are.
        height: Their height, or the least one, in pixels.
        width: Likewise.
        settings: Images a step over all processes, and the seed of order, crops and all else.
        crop: Draws the crops, of one size an epoch.
        prepare: Makes (input, target) of uint8 crops, their targets and a generator, on the device.
        world: Which part of each batch is ours, and where it goes.

    Raises:
        ValueError: There are no images, or fewer than processes, or the batch cannot be split, or crops do not fit.
    """

    def __init__(
            self,
            images: int,
            height: int,
            width: int,
            settings: Optimization,
            crop: RandomCrop,
            prepare: Prepare,
            world: World,
    ) -> None:
        batch_size = min(settings.batch_size, images // world.size * world.size)
        if batch_size < 1:
            raise ValueError(f'{images} images are not enough for {world.size} processes')
        if batch_size % world.size:
            raise ValueError(f'--batch-size {batch_size} cannot be split over {world.size} processes')
        if crop.size > min(height, width):
            raise ValueError(f'--crop {crop.size} does not fit into images of {height}x{width}; give a larger --size')
        self.total, self.batch_size = images, batch_size
        self.crop, self.prepare, self.seed = crop, prepare, settings.seed
        self.world, self.device = world, world.device

    def __len__(self) -> int:
        """Steps an epoch; what is left of the images at its end waits for another epoch's order."""
        return self.total // self.batch_size

    def prepared(self, prepare: Prepare) -> 'BaseBatches':
        """The same batches, made into something else."""
        other = copy(self)
        other.prepare = prepare
        return other

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """The batches of an epoch from ``first_step`` on, as (input, target)."""
        order = torch.randperm(self.total, generator=torch.Generator().manual_seed(seed_of(self.seed, epoch)))
        order = order[:len(self) * self.batch_size].view(len(self), self.world.size, -1)[:, self.world.rank]
        steps = range(first_step, len(self))
        for step, (images, targets) in zip(steps, self._drawn(epoch, steps, order), strict=True):
            generator = torch.Generator(self.device).manual_seed(seed_of(self.seed, epoch, step, self.world.rank, 1))
            yield self.prepare(images, targets, generator)

    @abstractmethod
    def _drawn(self, epoch: int, steps: range, order: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Crops and their targets, on the device, at each of the steps; ``order`` has our images' indices a step."""


class Batches(BaseBatches):
    """Batches of an image set, cropped on the device that holds it.

    Args:
        data: The images. They are moved to the device where they and their targets take less than a third of its
            memory, be it free or not: what is drawn depends on where they are.
        settings: And what follows, as in ``BaseBatches``.
    """

    def __init__(
            self,
            data: ImageSet,
            settings: Optimization,
            crop: RandomCrop,
            prepare: Prepare,
            world: World,
    ) -> None:
        height, width = data.images.shape[-2:]
        super().__init__(len(data), height, width, settings, crop, prepare, world)
        self.images, self.targets = data.images, data.targets
        size = sum(x.nbytes for x in (self.images, self.targets) if x is not None)
        if self.device.type == 'cuda' and size < torch.cuda.mem_get_info(self.device)[1] / 3:
            self.images = self.images.to(self.device)
            self.targets = None if self.targets is None else self.targets.to(self.device)

    def _draw(self, epoch: int, step: int, index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        home = self.images.device
        generator = torch.Generator(home).manual_seed(seed_of(self.seed, epoch, step, self.world.rank, 0))
        targets = index if self.targets is None else self.targets[index]
        images, targets = self.crop.at(epoch)(self.images, index, targets, generator)
        if home != self.device:
            if self.device.type == 'cuda':
                images, targets = images.pin_memory(), targets.pin_memory()
            images, targets = (x.to(self.device, non_blocking=True) for x in (images, targets))
        return images, targets

    def _drawn(self, epoch: int, steps: range, order: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        order = order.to(self.images.device)
        if self.images.device == self.device:
            yield from (self._draw(epoch, step, order[step]) for step in steps)
            return
        with ThreadPoolExecutor(1) as pool:  # gathers the next batch in the meantime
            coming = None
            for step in steps:
                done, coming = coming, pool.submit(self._draw, epoch, step, order[step])
                if done is not None:
                    yield done.result()
            if coming is not None:
                yield coming.result()


def normalize(images: torch.Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    """uint8 pixels to float32: zero-centred and divided by the channels' standard deviation, both in 0-1 units."""
    pixels = images.float()
    shift, scale = (per_channel(values, pixels) * 255 for values in (mean, std))
    return (pixels - shift) / scale


def denormalize(x: torch.Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    """The inverse of ``normalize``, as float32 pixels in 0-255 units, clipped to that range."""
    x = x.float()
    shift, scale = (per_channel(values, x) * 255 for values in (mean, std))
    return (x * scale + shift).clamp(0, 255)
