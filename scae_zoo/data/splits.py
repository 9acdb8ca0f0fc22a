"""Splits of a folder: below which of its sub-folders the images of one are, wherever these stand."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from .image_files import has_image, images_beside, subfolders

KINDS = {
    'train': ('train', 'training', 'trainval'),
    'val': ('val', 'valid', 'validation'),
    'test': ('test', 'testing'),
}
SPLITS = {
    'train': KINDS['train'],
    'val': KINDS['val'] + KINDS['test'],
    'test': KINDS['test'] + KINDS['val'],
}
KIND_OF = {name: kind for kind, names in KINDS.items() for name in names}
PAIRS = (('images', 'masks'), ('images', 'annotations'), ('img_dir', 'ann_dir'))  # folders of images and their masks
ARRANGE = 'arrange the images as train/CLASS and test/CLASS'

_WORDS = f'(?i:{"|".join(sorted(KIND_OF, key=len, reverse=True))})'
_CAMEL = r'(?<=[a-z])(?=[A-Z])'
_FIRST = re.compile(rf'({_WORDS})(?:$|(?=[\W\d_])|{_CAMEL})')
_LAST = re.compile(rf'(?:(?<=[\W\d_])|{_CAMEL})({_WORDS})$')


class Place(NamedTuple):
    """Where the images of a split are.

    Args:
        folder: What holds them.
        split: The split's folder, as it is spelled; empty where there are no splits.
        parts: The folders below ``folder`` that its images are in: itself, unless each class has splits of its own.
        masks: The one that their masks are in, where masks are wanted.
        beside: What else there is beside the splits.
    """

    folder: Path
    split: str = ''
    parts: tuple[str, ...] = ('',)
    masks: str = ''
    beside: tuple[str, ...] = ()


def find_place(folder: Path, split: str, masks: bool = False) -> Place:
    """Where the images of a split are: below its folder, under any of its usual names; in all of the folder, where that
    has no splits.

    Args:
        folder: Its splits may stand in it, in ``images/`` and ``masks/``, or in each of its sub-folders.
        split: 'train', 'val', 'test', another usual name, or that of any sub-folder.
        masks: Whether masks are wanted.

    Raises:
        ValueError: It has splits, but not this one; or it has none, and this one has not one of the usual names; or the
            images of several splits are mixed.
    """
    folder = _through(folder)
    place = _split_place(folder, split, masks) or (None if masks else _splits_of_classes(folder, split))
    if place is not None:
        return place
    pair = _mask_pair(folder, masks)
    there = sorted({name for each in (pair or ('',)) for name in splits_in(folder / each)})
    if there or split.lower() not in KIND_OF:
        ways = f', only {", ".join(there)}; give another --split, or rename what is no split' if there else (
            '; leave --split out to take the whole folder')
        raise ValueError(f'{folder}: has no split {split}{ways}')
    named = [name for name in subfolders(folder) if split_word(name)]
    if pair is None and _is_mixture(named):
        raise ValueError(f'{folder}: some of its folders are named as splits are ({", ".join(named[:5])}), and it is '
                         f'not clear which are meant; {ARRANGE}, or give one of them as --split')
    return _whole(folder, masks)


def split_name(folder: Path, split: str, in_classes: bool = True) -> str | None:
    """The name of the folders that a split is in, as it is spelled; None where there is no such split.

    Args:
        folder: Where it may be.
        split: As in ``find_place``.
        in_classes: Whether to look into all sub-folders, too: one of data sets is not one of classes.
    """
    place = _split_place(folder := _through(folder), split, masks=False) if folder.is_dir() else None
    if place is None and in_classes:
        place = _splits_of_classes(folder, split)
    return None if place is None else place.split


def split_word(name: str) -> str:
    """The split's name that a folder's name begins or ends with, at the border of a word; empty where there is none."""
    return _word_and_rest(name)[0]


def require_no_splits_below(
        folder: Path,
        files: Iterable[str],
        is_whole: bool = False,
        ways: str = f'give the folder that is meant, or {ARRANGE}',
) -> None:
    """Refuse images in splits that only a part of the folder has: those to train on and those to measure on would be
    mixed.

    Args:
        folder: What is read.
        files: The images, as paths from there.
        is_whole: Whether the folder is neither a split itself, in which one called test is a class, nor one of classes,
            whose names are looked at by themselves.
        ways: What to do, for the message.
    """
    below: dict[str, set[str]] = {}  # each folder's sub-folders that hold images; empty for an image in itself
    for path in {os.path.dirname(file) for file in files}:
        parts = [*path.split(os.sep), ''] if path else ['']
        for depth, part in enumerate(parts):
            below.setdefault(os.sep.join(parts[:depth]), set()).add(part)
    for above in sorted(below):
        names = {name for name in below[above] if name and (split_word(name) if above else name.lower() in KIND_OF)}
        held = {name for name in names if KIND_OF.get(name.lower(), 'train') != 'train'} if above or is_whole else set()
        if _is_mixture(names):
            raise ValueError(f'{folder / above}: has the splits {", ".join(sorted(names))}; {ways}')
        if held and len(below[above]) > len(held):
            raise ValueError(f'{folder / above}: has the split {sorted(held)[0]}, and images beside it that are in no '
                             f'split; {ways}')


def _word_and_rest(name: str) -> tuple[str, str]:
    found = _FIRST.match(name) or _LAST.search(name)
    return (found[1].lower(), (name[:found.start(1)] + name[found.end(1):]).lower()) if found else ('', '')


def _is_mixture(names: Iterable[str]) -> bool:
    """Whether there are images to train on and others to measure on, by the folders' names."""
    kinds = {KIND_OF[word] for word in map(split_word, names) if word}
    return 'train' in kinds and len(kinds) > 1


def splits_in(folder: Path) -> dict[str, str]:
    """The sub-folders that are splits by the split's name, in whatever case theirs are.

    One that is called train, among others, may hold the class of trains: it does where it has images alone. Names such
    as ``training_set`` and ``test_set`` or ``seg_train`` and ``seg_test`` are splits where they differ in that alone,
    or where all sub-folders are named so; each split once.
    """
    found = subfolders(folder)
    exact = {name.lower(): name for name in found if name.lower() in KIND_OF}
    if len(exact) > 1:
        return exact
    words = {name: _word_and_rest(name) for name in found if split_word(name)}
    rests = sorted({rest for _, rest in words.values()})
    groups = [[name for name in words if words[name][1] == rest] for rest in rests]
    if len(words) == len(found) and len(groups) > 1:
        groups.append(list(words))
    sure = [group for group in groups if _is_mixture(group) and len({words[name][0] for name in group}) == len(group)]
    if len(sure) == 1:
        return {words[name][0]: name for name in sure[0]}
    return exact if len(exact) == len(found) or any(
        subfolders(folder / name) or (folder / name / 'labels.csv').is_file() for name in exact.values()) else {}


def _chosen(folders: list[Path], split: str) -> list[str] | None:
    """What a split is called in each of the folders; None where one of them does not have it."""
    if split.lower() not in KIND_OF:
        return [split] * len(folders) if all((folder / split).is_dir() for folder in folders) else None
    there = [splits_in(folder) for folder in folders]
    wanted = SPLITS.get(split.lower(), (split.lower(),))
    for kind in dict.fromkeys(KIND_OF[word] for word in wanted):
        names = [next((each[word] for word in wanted if word in each and KIND_OF[word] == kind), '') for each in there]
        if all(names):
            return names
    return None


def _split_place(folder: Path, split: str, masks: bool) -> Place | None:
    if names := _chosen([folder], split):
        ours = KIND_OF.get(split_word(names[0]))  # training/ beside train/ is another one of the same kind
        taken = {*names, *(name for word, name in splits_in(folder).items() if KIND_OF[word] != ours)}
        beside = (*(f'{name}/' for name in subfolders(folder) if name not in taken), *images_beside(folder))
        return _whole(_through(folder / names[0]), masks)._replace(split=names[0], beside=beside)
    if pair := _mask_pair(folder, masks):
        kinds = [folder / kind for kind in pair]
        if names := _chosen(kinds if masks else kinds[:1], split):
            below = [os.path.join(kind, name) for kind, name in zip(pair, names, strict=False)]
            return Place(folder, names[0], (below[0],), below[1]) if masks else Place(folder / below[0], names[0])
        for kind, other in (kinds, kinds[::-1]) if masks else ():
            if (there := splits_in(kind)) and not splits_in(other):
                raise ValueError(f'{kind}: has the splits {", ".join(sorted(there))}, and {other} has none; arrange '
                                 'both alike')
    return None


def _splits_of_classes(folder: Path, split: str) -> Place | None:
    """Where each sub-folder has splits of its own."""
    if splits_in(folder) or _mask_pair(folder, masks=False):
        return None
    below = {name: splits_in(folder / name) for name in subfolders(folder)}
    mixed = [name for name, splits in below.items() if _is_mixture(splits)]
    if not mixed:
        return None
    holding = [name for name in below if below[name] or has_image(folder / name)]
    loose = [folder] * bool(images_beside(folder)) + [
        folder / name for name in holding if not below[name] or images_beside(folder / name)]
    if loose:
        raise ValueError(f'{folder / mixed[0]}: has the splits {", ".join(sorted(below[mixed[0]].values()))}, but '
                         f'{loose[0]} has images that are in no split; {ARRANGE}')
    names = {name: _chosen([folder / name], split) for name in holding}
    parts = tuple(os.path.join(name, found[0]) for name, found in names.items() if found)
    return Place(folder, os.path.basename(parts[0]), parts) if parts else None


def _whole(folder: Path, masks: bool) -> Place:
    """A folder that has no splits, or is one."""
    pair = _mask_pair(folder, masks)
    if pair is None and masks:
        pairs = ', '.join(f'{images}/ and {drawn}/' for images, drawn in PAIRS)
        there = ', '.join(subfolders(folder)) or 'none'
        raise ValueError(f'{folder}: needs images/ and masks/ with a mask for each image (names that are known: '
                         f'{pairs}); its sub-folders: {there}')
    if pair is None:
        return Place(folder)
    return Place(folder, parts=pair[:1], masks=pair[1]) if masks else Place(folder / pair[0])


def _mask_pair(folder: Path, masks: bool) -> tuple[str, str] | None:
    """The sub-folders of images and of their masks. An ``annotations/`` may hold other things: it is one of masks where
    it has images, or these are wanted."""
    return next((
        (images, drawn) for images, drawn in PAIRS
        if (folder / images).is_dir() and (folder / drawn).is_dir() and (
            masks or drawn == 'masks' or has_image(folder / drawn))), None)


def _through(folder: Path) -> Path:
    """What is in a folder that holds nothing but one of its own name, as archives are unpacked; else itself."""
    while folder.is_dir() and len(below := subfolders(folder)) == 1 and not (folder / below[0]).is_symlink() and (
            below[0].lower() == folder.absolute().name.lower()) and not (
            images_beside(folder) or (folder / 'labels.csv').is_file()):
        folder = folder / below[0]
    return folder
