"""The batches that training takes from image sets, cropped on the device."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass

import numpy as np
import torch

from ..data.image_set import ImageSet, Remainder
from ..pixels import normalize
from .augmentation import RandomCrop
from .distributed import World
from .settings import Optimization

Prepare = Callable[[torch.Tensor, torch.Tensor, torch.Generator], tuple[torch.Tensor, torch.Tensor]]


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

    def _sent(self, images: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """A batch on the device; by the thread that asks for it, whose stream is the one that it is made ready on."""
        return images.to(self.device, non_blocking=True), targets.to(self.device, non_blocking=True)


class Batches(BaseBatches):
    """Batches of an image set, cropped on the device that holds it.

    Args:
        data: The images. They are moved to the device where they and their targets take less than a third of its
            memory, be it free or not: what is drawn depends on where they are.
        settings: And what follows, as in ``BaseBatches``.
    """

    def __init__(
            self,
            data: ImageSet | Remainder,
            settings: Optimization,
            crop: RandomCrop,
            prepare: Prepare,
            world: World,
    ) -> None:
        whole = data.whole if isinstance(data, Remainder) else data
        height, width = whole.images.shape[-2:]
        super().__init__(len(data), height, width, settings, crop, prepare, world)
        self.images, self.targets = whole.images, whole.targets
        self.index = data.index if isinstance(data, Remainder) else None
        size = sum(x.nbytes for x in (self.images, self.targets) if x is not None)
        if self.device.type == 'cuda' and size < torch.cuda.mem_get_info(self.device)[1] / 3:
            self.images = self.images.to(self.device)
            self.targets = None if self.targets is None else self.targets.to(self.device)

    def _draw(self, epoch: int, step: int, index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        home = self.images.device
        generator = torch.Generator(home).manual_seed(seed_of(self.seed, epoch, step, self.world.rank, 0))
        targets = index if self.targets is None else self.targets[index]
        images, targets = self.crop.at(epoch)(self.images, index, targets, generator)
        if home != self.device and self.device.type == 'cuda':
            images, targets = images.pin_memory(), targets.pin_memory()
        return images, targets

    def _drawn(self, epoch: int, steps: range, order: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        order = (order if self.index is None else self.index[order]).to(self.images.device)
        if self.images.device == self.device:
            yield from (self._draw(epoch, step, order[step]) for step in steps)
            return
        with ThreadPoolExecutor(1) as pool:  # gathers the next batch in the meantime
            coming = None
            for step in steps:
                done, coming = coming, pool.submit(self._draw, epoch, step, order[step])
                if done is not None:
                    yield self._sent(*done.result())
            if coming is not None:
                yield self._sent(*coming.result())
