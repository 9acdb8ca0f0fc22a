"""Folders of images: flat, with a sub-folder a class, a ``labels.csv``, or masks; with splits or without."""

import hashlib
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from .cache import Sample, Source
from .named_sources import SPLITS
from .tables import read_classes, read_labels

SPLIT_NAMES = frozenset(name for names in SPLITS.values() for name in names)
EXTENSIONS = frozenset({'.png', '.jpg', '.jpeg', '.webp', '.bmp', '.ppm', '.tif', '.tiff'})


def folder_source(folder: Path, split: str, masks: bool, labels: bool) -> Source:
    """What is in a folder; the arguments are those of ``find_source``."""
    above, folder = folder, split_folder(folder, split) or _without_splits(folder, split)
    if masks:
        return _masked_folder(folder)
    if _has_masks(folder):
        folder = folder / 'images'
    if labels and (tables := [place / 'labels.csv' for place in (folder, above) if (place / 'labels.csv').is_file()]):
        return _multi_label_folder(folder, tables[0])
    return _class_folder(folder, labels)


def split_folder(folder: Path, split: str) -> Path | None:
    """The sub-folder of a split, under any of its usual names, where there is one."""
    there = _splits(folder) if folder.is_dir() else {}
    names = SPLITS.get(split, (split,))
    return next((folder / there.get(name, name) for name in names if name in there or (
        name not in SPLIT_NAMES and (folder / name).is_dir())), None)


def _without_splits(folder: Path, split: str) -> Path:
    """The folder, where it has no splits at all and so is the one that is meant.

    Raises:
        ValueError: It has splits, but not this one; or it has none, and this one has not one of the usual names.
    """
    there = _splits(folder)
    if (there and not _has_masks(folder)) or split not in SPLIT_NAMES:
        ways = f', only {", ".join(sorted(there))}; give another --split, or rename what is no split' if there else (
            '; leave --split out to take the whole folder')
        raise ValueError(f'{folder}: has no split {split}{ways}')
    return folder


def _splits(folder: Path) -> dict[str, str]:
    """The sub-folders that are splits, in whatever case their names are. One that is called train, among others, may
    hold the class of trains: it does where it has images alone."""
    found = {sub.name: sub for sub in folder.iterdir() if sub.is_dir() and not sub.name.startswith('.')}
    named = {name for name in found if name.lower() in SPLIT_NAMES}
    sure = named == found.keys() or len(named) > 1 or any(
        entry.name == 'labels.csv' or (entry.is_dir() and not entry.name.startswith('.'))
        for name in named for entry in found[name].iterdir())
    return {name.lower(): name for name in sorted(named)} if sure else {}


def _has_masks(folder: Path) -> bool:
    return (folder / 'images').is_dir() and (folder / 'masks').is_dir()


def _source(
        samples: list[Sample],
        folder: Path,
        classes: tuple[str, ...],
        files: Iterable[str],
        tables: Iterable[Path] = (),
) -> Source:
    """A folder's source; its identity has the names and sizes of the ``files`` in it, and what is written in the
    ``tables``."""
    names, stamps = hashlib.sha256(), hashlib.sha256()
    for table in tables:
        names.update(table.read_bytes())
    for file in files:
        try:
            size, stamp = (stat := os.stat(folder / file)).st_size, stat.st_mtime_ns
        except OSError:  # a broken link
            size, stamp = 0, 0
        names.update(os.fsencode(f'{file} {size}\n'))
        stamps.update(f'{stamp}\n'.encode())
    identity = f'{folder.absolute().name} {len(samples)} images {names.hexdigest()[:16]}'
    return Source(samples, len(samples), classes, identity, f'{folder.absolute()} {stamps.hexdigest()}')


def _in_order(name: str) -> tuple[Any, str]:
    """Sorts names as timm does, numbers by their value, and those that are then equal (A and a, 1 and 01) always in one
    order."""
    return [int(part) if part.isdecimal() else part for part in re.split(r'(\d+)', name.lower())], name


def _image_files(folder: Path) -> list[str]:
    """The images in a folder and below it, as paths from there; what is hidden is left out."""
    start = os.path.join(folder, '')
    return sorted((path[len(start):] for path in _images_below(start, ())), key=_in_order)


def _images_below(folder: str, above: tuple[str, ...]) -> Iterator[str]:
    real = os.path.realpath(folder)
    if any(each == real or each.startswith(os.path.join(real, '')) for each in above):
        return  # a link back to where we come from
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith('.'):
                continue
            if entry.is_dir():
                yield from _images_below(entry.path, (*above, real))
            elif os.path.splitext(entry.name)[1].lower() in EXTENSIONS:
                yield entry.path


def _class_folder(folder: Path, labels: bool) -> Source:
    names = _image_files(folder)
    paths = [os.path.join(folder, name) for name in names]
    if not names:
        raise ValueError(f'{folder}: no image in this folder or below it ({", ".join(sorted(EXTENSIONS))})')
    label_of = {below: unicodedata.normalize('NFC', below.replace(os.sep, '_'))  # as a Mac does not
                for below in map(os.path.dirname, names)}
    if '' in label_of:  # images beside folders of images are an unlabelled heap
        return _source([Sample(path, path) for path in paths], folder, (), names)
    classes = tuple(sorted(set(label_of.values()), key=_in_order))
    fault = _fault_of_classes(folder, label_of)
    if fault and labels:
        raise ValueError(fault)
    if fault:  # of another version than the folder's with labels, once it has them
        source = _source([Sample(path, path) for path in paths], folder, (), names)
        return replace(source, version=f'{source.version} without labels')
    number = {name: i for i, name in enumerate(classes)}
    samples = [Sample(path, path, number[label_of[os.path.dirname(name)]])
               for name, path in zip(names, paths, strict=True)]
    return _source(samples, folder, classes, names)


def _fault_of_classes(folder: Path, label_of: Mapping[str, str]) -> str:
    """Why the sub-folders are no classes; empty where they are."""
    used = {below.split(os.sep)[0] for below in label_of}
    for sub in sorted(folder.iterdir()):
        if sub.is_dir() and not sub.name.startswith('.') and sub.name not in used:
            return f'{sub}: is a class without images; add some, or remove the folder'
    first: dict[str, str] = {}
    for below in sorted(label_of):
        other = first.setdefault(label_of[below], below)
        if other != below:
            return f'{folder}: {other} and {below} would both be class {label_of[below]}; rename one'
    return ''


def _multi_label_folder(folder: Path, table: Path) -> Source:
    classes, rows = read_labels(table, folder)
    samples = [Sample(str(path), path, labels) for path, labels in rows]
    return _source(samples, folder, classes, (os.path.relpath(path, folder) for path, _ in rows), [table])


def _mask_pairs(folder: Path) -> list[tuple[Path, Path]]:
    """Each image below ``images/`` with the mask of the same name below ``masks/``.

    Raises:
        ValueError: A folder is missing, an image or a mask has no counterpart, or two have the same name.
    """
    images, masks = (_by_stem(folder / kind) for kind in ('images', 'masks'))
    if not images or not masks:
        raise ValueError(f'{folder}: needs images/ and masks/ with a mask for each image')
    for have, lack, kind in ((images, masks, 'mask'), (masks, images, 'image')):
        alone = sorted(have.keys() - lack.keys())
        if alone:
            raise ValueError(f'{have[alone[0]]}: has no {kind} of the same name ({len(alone)} such files)')
    return [(images[name], masks[name]) for name in sorted(images)]


def _by_stem(folder: Path) -> dict[Path, Path]:
    """The images below a folder by their paths from there, without suffix."""
    found: dict[Path, Path] = {}
    for name in _image_files(folder) if folder.is_dir() else ():
        path = folder / name
        other = found.setdefault(Path(name).with_suffix(''), path)
        if other is not path:
            raise ValueError(f'{path}: has the name of {other.name}; an image and its mask are known by their names '
                             'without suffix, so remove or rename one')
    return found


def _masked_folder(folder: Path) -> Source:
    """``images/`` and ``masks/``; ``classes.txt`` beside them, or a folder above, may name the classes, one a line, and
    their colours."""
    pairs = _mask_pairs(folder)
    samples = [Sample(str(image), image, mask=mask) for image, mask in pairs]
    tables = [path for path in (folder / 'classes.txt', folder.parent / 'classes.txt') if path.is_file()][:1]
    classes, codes = read_classes(tables[0]) if tables else ((), None)
    files = (os.path.relpath(path, folder) for pair in pairs for path in pair)
    return replace(_source(samples, folder, classes, files, tables), codes=codes)
