"""Image sets as one uint8 tensor, on the device or memory-mapped, and the batches that training takes from them."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch

from .augmentation import RandomCrop

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
    """

    images: torch.Tensor
    targets: torch.Tensor | None = None
    classes: tuple[str, ...] = ()
    identity: str = ''

    def __len__(self) -> int:
        return len(self.images)

    @property
    def multi_label(self) -> bool:
        return self.targets is not None and self.targets.ndim == 2

    def subset(self, index: torch.Tensor, name: str) -> 'ImageSet':
        """The images of an index, copied; ``name`` says which they are."""
        targets = None if self.targets is None else self.targets[index]
        return replace(self, images=self.images[index], targets=targets, identity=f'{self.identity} {name}')

    def first(self, n: int | None) -> 'ImageSet':
        return self if n is None or n >= len(self) else self.subset(torch.arange(n), f'first {n}')

    def per_class(self, n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Indices of ``n`` images of each class, drawn by ``seed``, and of all others.

        Raises:
            ValueError: There are no single labels, or a class has fewer images.
        """
        if self.targets is None or self.targets.ndim != 1:
            raise ValueError('a number of labels per class needs images with one label each')
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        chosen = []
        for index, name in enumerate(self.classes):
            members = order[self.targets[order] == index]
            if len(members) < n:
                raise ValueError(f'class {name!r} has {len(members)} images, fewer than the {n} labels asked for')
            chosen.append(members[:n])
        picked = torch.cat(chosen).sort().values
        left = torch.ones(len(self), dtype=torch.bool)
        left[picked] = False
        return picked, left.nonzero().flatten()


def seed_of(*numbers: int) -> int:
    """One well-mixed seed of several numbers, such as (seed, epoch, step)."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


class Batches:
    """Batches of an image set, cropped on the device that holds it; each is a function of (seed, epoch, step) alone.

    Args:
        data: The images. They are moved to the device where they take less than half of its free memory.
        batch_size: Images a step over all processes.
        crop: Draws the crops.
        prepare: Makes (input, target) of uint8 crops, their targets and a generator, on the device.
        device: Where the batches go.
        seed: Seed of order, crops and all else.
        rank: Which part of each batch is ours.
        world_size: How many parts there are.

    Raises:
        ValueError: There are no images, or fewer than processes, or the batch cannot be split.
    """

    def __init__(
            self,
            data: ImageSet,
            batch_size: int,
            crop: RandomCrop,
            prepare: Prepare,
            device: torch.device,
            seed: int = 0,
            rank: int = 0,
            world_size: int = 1,
    ) -> None:
        batch_size = min(batch_size, len(data) // world_size * world_size)
        if batch_size < 1:
            raise ValueError(f'{len(data)} images are not enough for {world_size} processes')
        if batch_size % world_size:
            raise ValueError(f'--batch-size {batch_size} cannot be split over {world_size} processes')
        if crop.size > min(data.images.shape[-2:]) + 2 * crop.pad:
            height, width = data.images.shape[-2:]
            raise ValueError(f'crops of {crop.size} pixels do not fit into images of {height}x{width}')
        self.images, self.targets = data.images, data.targets
        if device.type == 'cuda' and data.images.nbytes < torch.cuda.mem_get_info(device)[0] / 2:
            self.images = self.images.to(device)
            self.targets = None if self.targets is None else self.targets.to(device)
        self.batch_size = batch_size
        self.crop, self.prepare, self.device = crop, prepare, device
        self.seed, self.rank, self.world_size = seed, rank, world_size

    def __len__(self) -> int:
        """Steps an epoch; what is left of the images at its end waits for another epoch's order."""
        return len(self.images) // self.batch_size

    def _draw(self, epoch: int, step: int, order: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        share = self.batch_size // self.world_size
        start = step * self.batch_size + self.rank * share
        index = order[start:start + share]
        home = self.images.device
        generator = torch.Generator(home).manual_seed(seed_of(self.seed, epoch, step, self.rank, 0))
        index = index.to(home)
        targets = index if self.targets is None else self.targets[index]
        images, targets = self.crop(self.images, index, targets, generator)
        if home != self.device:
            if self.device.type == 'cuda':
                images, targets = images.pin_memory(), targets.pin_memory()
            images, targets = (x.to(self.device, non_blocking=True) for x in (images, targets))
        return images, targets

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """The batches of an epoch from ``first_step`` on, as (input, target)."""
        order = torch.randperm(len(self.images), generator=torch.Generator().manual_seed(seed_of(self.seed, epoch)))
        steps = range(first_step, len(self))
        # images that are not on the device are gathered by a thread, one batch ahead
        with ThreadPoolExecutor(1) as pool:
            drawn: Iterator[tuple[torch.Tensor, torch.Tensor]]
            if self.images.device == self.device:
                drawn = (self._draw(epoch, step, order) for step in steps)
            else:
                drawn = _one_ahead(pool, lambda step: self._draw(epoch, step, order), steps)
            for step, (images, targets) in zip(steps, drawn, strict=True):
                generator = torch.Generator(self.device).manual_seed(seed_of(self.seed, epoch, step, self.rank, 1))
                yield self.prepare(images, targets, generator)


def _one_ahead(pool: ThreadPoolExecutor, draw: Callable, steps: range) -> Iterator:
    coming = None
    for step in steps:
        done, coming = coming, pool.submit(draw, step)
        if done is not None:
            yield done.result()
    if coming is not None:
        yield coming.result()


def normalize(images: torch.Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    """uint8 pixels to float32: zero-centred and divided by the channels' standard deviation, both in 0-1 units."""
    scale = torch.tensor(std, device=images.device).view(-1, 1, 1) * 255
    shift = torch.tensor(mean, device=images.device).view(-1, 1, 1) * 255
    return (images.float() - shift) / scale


def denormalize(x: torch.Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    """The inverse of ``normalize``, as float32 pixels in 0-255 units, clipped to that range."""
    scale = torch.tensor(std, device=x.device).view(-1, 1, 1) * 255
    shift = torch.tensor(mean, device=x.device).view(-1, 1, 1) * 255
    return (x.float() * scale + shift).clamp(0, 255)
