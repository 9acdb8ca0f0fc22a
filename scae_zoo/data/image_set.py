"""Image sets as one uint8 tensor, in memory or memory-mapped."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from .origins import Origins


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
        place: Where they are, and of which split, for people.
    """

    images: torch.Tensor
    targets: torch.Tensor | None = None
    classes: tuple[str, ...] = ()
    identity: str = ''
    description: str = ''
    mask_indices: tuple[int, ...] = ()
    mask_values: tuple[int, ...] = ()
    origins: Origins | None = None
    place: str = ''

    def __len__(self) -> int:
        return len(self.images)

    @property
    def multi_label(self) -> bool:
        return self.targets is not None and self.targets.ndim == 2

    @property
    def side(self) -> int:
        """The images' shorter side in pixels."""
        return min(self.images.shape[-2:])

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

    def held_back(self, n: int) -> tuple['ImageSet', 'Remainder']:
        """``n`` images, always the same ones, and all others but those that are one file with one of them.

        Raises:
            ValueError: No image is left.
        """
        held = torch.randperm(len(self), generator=torch.Generator().manual_seed(0))[:n].sort().values
        left = torch.ones(len(self), dtype=torch.bool)
        left[held] = False
        if self.origins is not None:
            left[self.origins.among(self.origins.chosen(held))] = False
        if not left.any():
            raise ValueError(f'--held-back {n}: leaves none of the {len(self)} images to train on')
        return self.subset(held, f'{n} held back'), Remainder(self, left.nonzero().flatten())

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
class Remainder:
    """What is left to train on when images are held back. It is not copied: it may be larger than the memory.

    Args:
        whole: All of the images.
        index: Which of them are left, in order.
    """

    whole: ImageSet
    index: torch.Tensor

    def __len__(self) -> int:
        return len(self.index)

    @property
    def side(self) -> int:
        """The images' shorter side in pixels."""
        return self.whole.side

    @property
    def origins(self) -> Origins | None:
        """Which files these are."""
        return self.whole.origins and self.whole.origins.chosen(self.index)

    @property
    def identity(self) -> str:
        return f'{self.whole.identity}, {len(self)} of them'


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
