"""Batches of images that are decoded anew each time, for sets that fit neither memory nor a cache on the disk."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import multiprocessing
from torch.utils.data import DataLoader, Dataset
from torch.utils.data._utils import signal_handling
from tqdm import tqdm

from ..data.cache import MAX_UNREADABLE, Sample, Source, check_unreadable, decode
from ..data.image_set import ImageSet, Remainder
from ..data.origins import Origins
from ..errors import TrainingError
from ..images import ImageError
from ..processors import cores_each
from .augmentation import RandomCrop
from .batches import BaseBatches, Batches, Prepare, seed_of
from .distributed import World
from .settings import Optimization

LONGEST = 4.  # of a longer image the middle is taken: scaled by its shorter side it might not fit into memory


@dataclass(frozen=True)
class ImageStream:
    """Images to pre-train on that stay where they are, in place of an ``ImageSet``.

    Args:
        source: The images.
        side: What an image's shorter side is scaled to, in pixels.
        max_unreadable: Share of them that may be unreadable.
    """

    source: Source
    side: int
    max_unreadable: float = MAX_UNREADABLE

    def __len__(self) -> int:
        return self.source.total or 0

    @property
    def origins(self) -> Origins | None:
        """Which files these are."""
        return self.source.origins

    @property
    def identity(self) -> str:
        return f'{self.source.identity} {self.side} streamed'


TrainingImages = ImageSet | Remainder | ImageStream


class StreamedBatches(BaseBatches):
    """Batches of crops of image files, decoded by processes of their own. An image's target is its index: labels are
    not looked at.

    The batches do not depend on the number of processes. An image that cannot be read is named once, and another one,
    drawn by the step's seed, takes its place.

    Args:
        source: The images, in any order that is asked for: all but ``wds/…``.
        size: What an image's shorter side is scaled to, in pixels, before it is cropped.
        settings: And what follows up to ``world``, as in ``BaseBatches``.
        max_unreadable: Share of the images that may be unreadable.
        workers: Processes that decode; 0: this one does. By default one a core.

    Raises:
        ValueError: The source can only be read from front to back; or as ``BaseBatches``. While batches are drawn: more
            images are unreadable than may be.
    """

    def __init__(
            self,
            source: Source,
            size: int,
            settings: Optimization,
            crop: RandomCrop,
            prepare: Prepare,
            world: World,
            *,
            max_unreadable: float = MAX_UNREADABLE,
            workers: int | None = None,
    ) -> None:
        if not isinstance(source.samples, list):
            raise ValueError(
                f'{source.identity}: can only be read from front to back, not in random order; leave out --stream, and '
                'the images are decoded once into the cache')
        total = len(source.samples)
        super().__init__(total, size, size, settings, crop, prepare, world)
        self.samples, self.size = source.samples, size
        self.max_unreadable = min(max_unreadable, 1 - 1 / total)  # one must be left to take the others' place
        self.workers = cores_each() if workers is None else workers
        self.unreadable: dict[str, None] = {}  # in the order in which they were met

    def _drawn(self, epoch: int, steps: range, order: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        seeds = self.seed, epoch, self.world.rank
        drawn = _Steps(self.samples, self.size, self.crop.at(epoch), seeds, order.numpy(), self.max_unreadable)
        loaded = self._loaded(drawn, steps)
        try:
            for crops, shown, faults in loaded:
                for fault in faults:
                    if fault not in self.unreadable:
                        tqdm.write(f'left out: {fault}', file=sys.stderr)
                        self.unreadable[fault] = None
                check_unreadable(list(self.unreadable), self.total, self.max_unreadable)
                images, targets = torch.from_numpy(crops).permute(0, 3, 1, 2), torch.from_numpy(shown)
                if self.device.type == 'cuda':
                    images, targets = images.pin_memory(), targets.pin_memory()
                yield self._sent(images, targets)
        finally:
            _end_if_one_was_killed(loaded)

    def _loaded(self, drawn: '_Steps', steps: range) -> 'Iterator[_Step]':
        def loader(workers: int) -> DataLoader:
            return DataLoader(drawn, batch_size=None, sampler=steps, num_workers=min(workers, len(steps)),
                              collate_fn=_as_it_is, generator=torch.Generator())  # not the global one

        try:
            _require_queues(self.workers + 3 if self.workers else 0)  # an event of the loader's is like two more
            return iter(loader(self.workers))
        except OSError as error:  # semaphores are in /dev/shm; or processes cannot be started
            tqdm.write(f'--stream: this process alone decodes the images, since no others can be started '
                       f'({error.strerror}); in a container, start it with a larger /dev/shm (--shm-size 1g)',
                       file=sys.stderr)
            self.workers = 0
            return iter(loader(0))


def make_batches(
        images: TrainingImages,
        settings: Optimization,
        crop: RandomCrop,
        prepare: Prepare,
        world: World,
) -> BaseBatches:
    """Batches of either kind of set; the other arguments are those of ``BaseBatches``."""
    if isinstance(images, ImageStream):
        return StreamedBatches(
            images.source, images.side, settings, crop, prepare, world, max_unreadable=images.max_unreadable)
    return Batches(images, settings, crop, prepare, world)


def _end_if_one_was_killed(loaded: Any) -> None:
    """End a loader's processes at once where one was killed: it may hold the lock that their orderly end, which is
    torch's when the loader goes, would wait for, for ever."""
    workers = getattr(loaded, '_workers', ())
    if any((worker.exitcode or 0) < 0 for worker in workers):
        if loaded._worker_pids_set:  # else torch takes their end for another fault
            signal_handling._remove_worker_pids(id(loaded))
            loaded._worker_pids_set = False
        loaded._shutdown = True
        for worker in workers:
            worker.kill()
            worker.join()


@contextmanager
def watched_workers() -> Iterator[None]:
    """Say in one line that a process that decodes images was killed, for want of memory most likely.

    PyTorch raises that from a signal handler, wherever the training is then: so this must be around the training.

    Raises:
        TrainingError: A process was killed.
    """
    try:
        yield
    except RuntimeError as error:
        if 'DataLoader worker (pid' not in str(error):  # or it is a fault inside of one
            raise
        reason = str(error).splitlines()[0].rstrip('.')
        raise TrainingError(f'{reason}; the last state is kept: run the same command to go on') from None


def _require_queues(number: int) -> None:
    """Make so many queues and let them go: a loader that fails to make its own, halfway, complains besides."""
    _ = [multiprocessing.Queue() for _ in range(number)]


class _Step(NamedTuple):
    """A step's crops, n x H x W x 3 uint8, which images they are of, and what was wrong with images that others take
    the place of. Arrays, since they go from process to process by a pipe: tensors would go by /dev/shm, which may be
    tiny in a container."""

    crops: np.ndarray
    shown: np.ndarray
    faults: list[str]


def _as_it_is(step: Any) -> Any:
    return step


@dataclass(frozen=True)
class _Steps(Dataset):
    """What each step shows."""

    samples: Sequence[Sample]
    size: int
    crop: RandomCrop
    seeds: tuple[int, int, int]
    order: np.ndarray
    max_unreadable: float

    def __getitem__(self, step: int) -> _Step:
        seed, epoch, rank = self.seeds
        generator = torch.Generator().manual_seed(seed_of(seed, epoch, step, rank, 0))
        crops = np.empty((self.order.shape[1], self.crop.size, self.crop.size, 3), np.uint8)
        shown: list[int] = []
        faults: dict[str, None] = {}
        for index in self.order[step].tolist():
            while isinstance(found := decode(self.samples[index], self.size, LONGEST), ImageError):
                faults[str(found)] = None
                if len(faults) > self.max_unreadable * len(self.samples):
                    return _Step(np.empty(0), np.empty(0), list(faults))  # which are then refused
                index = int(torch.randint(len(self.samples), (), generator=generator))
            self.crop.of_one(found.pixels, generator, crops[len(shown)])
            shown.append(index)
        return _Step(crops, np.array(shown), list(faults))
