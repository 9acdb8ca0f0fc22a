"""Where images come from: a folder, or a data set named ``torch/…``, ``hfds/…`` or ``wds/…`` as in timm."""

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from ..images import ImageError, scaled_to
from ..places import expand_path
from .cache import MAX_UNREADABLE, Sample, Source, decode, load
from .cache_folder import cache_folder
from .folders import folder_source
from .found import say_found
from .image_set import ImageSet
from .masks import IGNORED, MaskCodes, joined, say_unsure
from .named_sources import PREFIXES, Passes, named_source
from .named_sources import VOC_CLASSES as VOC_CLASSES
from .origins import Origins


def load_images(
        data: str,
        split: str = 'train',
        *,
        size: int | None,
        masks: bool = False,
        root: str | Path | None = None,
        max_unreadable: float = MAX_UNREADABLE,
        labels: bool = True,
        crop: int | None = None,
) -> ImageSet:
    """The images of a folder or of a named data set, decoded once and then memory-mapped.

    Args:
        data: A folder: flat, with class sub-folders, with a ``labels.csv``, or with ``images/`` and ``masks/``; a
            sub-folder for the split is taken where there is one. Or ``torch/cifar10``, ``hfds/…``, ``wds/…``.
        split: 'train', 'val', 'test', or a name that the data set knows.
        size: Side of the squares that the images are scaled and cropped to; None: left as they are.
        masks: Whether to read ``images/`` and ``masks/``.
        root: Where a named data set lies or is downloaded to.
        max_unreadable: Share of the files that may be unreadable.
        labels: Whether labels are wanted. Else all images of a folder are taken, however its sub-folders are arranged.
        crop: Side of the crops that will be taken of them, to be said with what was found.

    Raises:
        ValueError: There is no such data or it is faulty; the message names the file.
    """
    return load(find_source(data, split, masks=masks, root=root, labels=labels), size, max_unreadable, crop)


def find_source(
        data: str,
        split: str = 'train',
        *,
        masks: bool = False,
        root: str | Path | None = None,
        labels: bool = True,
) -> Source:
    """What ``load_images`` reads, before anything is decoded; the arguments and errors are those of ``load_images``."""
    folder = expand_path(data)
    if data.startswith(PREFIXES) and not folder.exists():
        return named_source(data, split, expand_path(root) if root else cache_folder() / 'downloads', masks, labels)
    if not folder.is_dir():
        raise ValueError(f'{data}: is neither a folder nor a data set ({", ".join(p + "NAME" for p in PREFIXES)})')
    return folder_source(folder, split, masks, labels)


def dataset_title(data: str) -> str:
    """What a card calls the data: the name on the Hub of what has one."""
    return data.split('/', 1)[1] if data.startswith(PREFIXES) else dataset_name(data)


def dataset_name(data: str) -> str:
    """``torch/cifar10`` and ``/my/CIFAR 10/`` to ``cifar10`` and ``cifar_10``, as a tag can have it."""
    name = data.split('/', 1)[1] if data.startswith(PREFIXES) else Path(data).absolute().name
    return re.sub(r'[^a-z0-9]+', '_', name.lower()).strip('_') or 'images'


@dataclass(frozen=True)
class Pairs:
    """The images of a source that has masks, each, C x H x W uint8, with its mask, H x W uint8.

    Args:
        source: The images.
        size: What an image's shorter side is scaled to, in pixels; None: it stays. Masks stay in any case.
    """

    source: Source
    size: int | None = None

    def __len__(self) -> int:
        return self.source.total or 0

    @property
    def origins(self) -> Origins | None:
        """Which files these are."""
        return self.source.origins

    @property
    def identity(self) -> str:
        """The same for the same data, wherever it lies, in the same size."""
        return self.source.identity + (f', shorter side {self.size}' if self.size else '')

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        unsure = 0
        for sample in self.source.samples:
            found = decode(sample, None, codes=self.source.codes)
            if isinstance(found, ImageError):
                raise found
            assert found.mask is not None
            unsure += found.unsure
            pixels = scaled_to(found.pixels, self.size) if self.size else found.pixels
            yield torch.from_numpy(pixels).permute(2, 0, 1), torch.from_numpy(found.mask)
        say_unsure(self.identity, unsure)


def pairs_of(source: Source, size: int | None = None) -> Pairs:
    """Its pairs, after it is said what was found."""
    say_found(source, size)
    return Pairs(source, size)


def few(source: Source, n: int) -> Source:
    """At most n images, as many of each class where each has one, else from front to back; the first ones of what can
    only be gone through. They are chosen before anything is decoded."""
    if not isinstance(source.samples, list):
        return replace(source, samples=Passes(lambda: islice(source.samples, n)), total=None,
                       identity=f'{source.identity}, first {n}')
    if len(source.samples) <= n:
        return source
    if all(isinstance(sample.label, int) for sample in source.samples):
        seen: Counter[Any] = Counter()
        rank = []  # of each image among those of its class
        for sample in source.samples:
            rank.append(seen[sample.label])
            seen[sample.label] += 1
        some = sorted(sorted(range(len(rank)), key=rank.__getitem__)[:n])
    else:
        some = [i * len(source.samples) // n for i in range(n)]
    return replace(
        source, samples=[source.samples[i] for i in some], total=n, identity=f'{source.identity}, {n} of them',
        origins=source.origins and source.origins.chosen(some))


def only(source: Source, classes: Collection[str]) -> Source:
    """The images of some classes, chosen before anything is decoded; the classes are numbered anew.

    Raises:
        ValueError: The source does not have one of the classes.
    """
    unknown = sorted(set(classes) - set(source.classes))
    if unknown:
        raise ValueError(f'{source.identity}: has no class {unknown[0]} ({len(unknown)} such)')
    kept = tuple(name for name in source.classes if name in set(classes))
    number = {source.classes.index(name): i for i, name in enumerate(kept)}

    def chosen() -> Iterator[Sample]:
        for sample in source.samples:
            if isinstance(sample.label, int) and sample.label in number:
                yield sample._replace(label=number[sample.label])

    samples = list(chosen()) if isinstance(source.samples, list) else Passes(chosen)
    total = len(samples) if isinstance(samples, list) else None
    digest = hashlib.sha256('\n'.join(kept).encode()).hexdigest()[:16]
    origins = source.origins and source.origins.chosen([
        i for i, sample in enumerate(source.samples) if isinstance(sample.label, int) and sample.label in number])
    return replace(source, samples=samples, total=total, classes=kept, identity=f'{source.identity}, classes {digest}',
                   origins=origins)


def with_mask_values(source: Source, values: Sequence[int]) -> Source:
    """The source, the k-th of these values of its masks standing for class k; 255 is not counted, unless it is listed.
    None leave it as it is.

    Raises:
        ValueError: Its ``classes.txt`` says otherwise.
    """
    if not values:
        return source
    if source.codes is not None:
        raise ValueError(f'{source.identity}: classes.txt says which colour is which class; leave out --mask-values')
    if source.classes and len(source.classes) != len(values):
        raise ValueError(f'{source.place or source.identity}: classes.txt names {len(source.classes)} classes '
                         f'({", ".join(source.classes)[:200]}), but --mask-values {joined(values)} gives {len(values)} '
                         'values; give a value for each class, or name as many classes')
    codes = MaskCodes(tuple(values), () if IGNORED in values else (IGNORED,))
    return replace(source, classes=source.classes or tuple(map(str, range(len(values)))), codes=codes,
                   identity=f'{source.identity}, mask values {joined(values)}')
