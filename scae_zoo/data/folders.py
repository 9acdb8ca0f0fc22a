"""Folders of images: flat, with a sub-folder a class, a ``labels.csv``, or masks; with splits or without."""

import hashlib
import os
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from .cache import Sample, Source
from .image_files import NO_IMAGE, LeftOut, described, image_files, in_order, subfolders
from .origins import Origins, file_key
from .splits import ARRANGE, Place, find_place, require_no_splits_below, split_word
from .tables import read_classes, read_labels

BESIDE, UNNAMED = 'beside the splits', 'not in labels.csv'


def folder_source(folder: Path, split: str, masks: bool, labels: bool) -> Source:
    """What is in a folder; the arguments are those of ``find_source``."""
    place, left_out = find_place(folder, split, masks), LeftOut()
    above = (place.folder, *(each for each in place.folder.parents if each == folder or folder in each.parents))
    tables = [each / 'labels.csv' for each in above if (each / 'labels.csv').is_file()]
    if masks:
        source = _masked_folder(place, left_out)
    elif labels and tables:
        source = _multi_label_folder(place, tables[0])
        there = sum(len(image_files(place.folder / part, left_out)) for part in place.parts)
        left_out[UNNAMED, 'images'] += max(0, there - (source.total or 0))
        left_out[NO_IMAGE, '.csv'] -= tables[0].parent == place.folder
    else:
        source = _class_folder(place, labels, left_out)
    for name in place.beside:
        left_out[BESIDE, name] += 1
    where = f'{place.folder.absolute()}, {f"split {place.split}" if place.split else "no splits"}'
    return replace(source, place=where, left_out=described(+left_out))


def _source(
        samples: list[Sample],
        folder: Path,
        classes: tuple[str, ...],
        files: Iterable[str],
        tables: Iterable[Path] = (),
) -> Source:
    """A folder's source; its identity has the names and sizes of the ``files`` in it, and what is written in the
    ``tables``."""
    names, stamps, keys = hashlib.sha256(), hashlib.sha256(), []
    for table in tables:
        names.update(table.read_bytes())
    for file in files:
        path = os.path.join(folder, file)  # of a million files, pathlib would take half of the time
        try:
            size, stamp = (stat := os.stat(path)).st_size, stat.st_mtime_ns
            keys.append(file_key(path, stat))
        except OSError:  # a broken link
            size, stamp = 0, 0
            keys.append(file_key(folder / file))
        names.update(os.fsencode(f'{file} {size}\n'))
        stamps.update(f'{stamp}\n'.encode())
    identity = f'{folder.absolute().name} {len(samples)} images {names.hexdigest()[:16]}'
    origins = Origins.of_keys(keys[::len(keys) // len(samples)], folder)  # a file an image, or it and its mask in turn
    return Source(samples, len(samples), classes, identity, f'{folder.absolute()} {stamps.hexdigest()}', origins)


def _class_folder(place: Place, labels: bool, left_out: LeftOut) -> Source:
    folder = place.folder
    names = [os.path.join(part, name) for part in place.parts for name in image_files(folder / part, left_out)]
    if len(place.parts) > 1:
        names.sort(key=in_order)
    paths = [os.path.join(folder, name) for name in names]
    if not names:
        there = f'left out: {described(left_out)}' if left_out else 'PNG, JPEG, WebP, TIFF, BMP, GIF, ...'
        raise ValueError(f'{folder}: no image in this folder or below it ({there})')
    require_no_splits_below(folder, names, is_whole=not (labels or place.split))
    loose = [name for name in names if os.sep not in name]
    if loose and (not labels or len(loose) == len(names)):  # an unlabelled heap
        return _source([Sample(path, path) for path in paths], folder, (), names)
    label_of = {sub: unicodedata.normalize('NFC', sub) for sub in map(_first, names)}  # as a Mac does not
    fault = _fault_of_classes(place, label_of, loose)
    if fault and labels:
        raise ValueError(fault)
    if fault:  # of another version than the folder's with labels, once it has them
        source = _source([Sample(path, path) for path in paths], folder, (), names)
        return replace(source, version=f'{source.version} without labels')
    classes = tuple(sorted(set(label_of.values()), key=in_order))
    number = {name: i for i, name in enumerate(classes)}
    samples = [Sample(path, path, number[label_of[_first(name)]]) for name, path in zip(names, paths, strict=True)]
    return _source(samples, folder, classes, names)


def _first(name: str) -> str:
    """The sub-folder that a path goes through first: its class, as torchvision has it."""
    return name.partition(os.sep)[0]


def _fault_of_classes(place: Place, label_of: Mapping[str, str], loose: list[str]) -> str:
    """Why the sub-folders are no classes; empty where they are."""
    folder = place.folder
    if loose:
        return (f'{folder / loose[0]}: lies beside the folders of classes ({len(loose):,} such images); move it into '
                'that of its class, or out of here')
    for sub in subfolders(folder):
        if sub not in label_of:
            image_files(folder / sub, there := LeftOut())
            holds = f' (it holds {described(there)})' if there else ''
            return f'{folder / sub}: is a class without images; add some, or remove the folder{holds}'
    for sub in sorted(label_of):
        if split_word(sub) and sub.lower() != 'train' and not _is_in_other_splits(place, sub):
            return (f'{folder / sub}: is named as a split is ({split_word(sub)}), so that its images may not be meant '
                    f'to be trained on; {ARRANGE}, give one of the folders as --split, or rename it')
    first: dict[str, str] = {}
    for sub in sorted(label_of):
        other = first.setdefault(label_of[sub], sub)
        if other != sub:
            return f'{folder}: {other} and {sub} would both be class {label_of[sub]}; rename one'
    return ''


def _is_in_other_splits(place: Place, sub: str) -> bool:
    """Whether the other splits have a sub-folder of that name, too: then it is a class, such as train_station."""
    return bool(place.split) and place.parts == ('',) and any(
        (place.folder.parent / other / sub).is_dir() for other in subfolders(place.folder.parent)
        if other != place.folder.name)


def _multi_label_folder(place: Place, table: Path) -> Source:
    classes, rows = read_labels(table, [place.folder / part for part in place.parts])
    samples = [Sample(str(path), path, labels) for path, labels in rows]
    folder = place.folder
    return _source(samples, folder, classes, (os.path.relpath(path, folder) for path, _ in rows), [table])


def _mask_pairs(place: Place, left_out: LeftOut) -> list[tuple[Path, Path]]:
    """Each image of a split, below ``images/``, with the mask of the same name below ``masks/``.

    Raises:
        ValueError: There is none, an image or a mask has no counterpart, or two have the same name.
    """
    kinds = place.parts[0], place.masks
    images, masks = (_by_stem(place.folder / kind, left_out) for kind in kinds)
    if not images or not masks:
        raise ValueError(f'{place.folder}: needs {kinds[0]}/ and {kinds[1]}/ with a mask for each image')
    for have, lack, kind in ((images, masks, 'mask'), (masks, images, 'image')):
        alone = sorted(have.keys() - lack.keys())
        if alone:
            raise ValueError(f'{have[alone[0]]}: has no {kind} of the same name ({len(alone)} such files)')
    return [(images[name], masks[name]) for name in sorted(images)]


def _by_stem(folder: Path, left_out: LeftOut) -> dict[Path, Path]:
    """The images below a folder by their paths from there, without suffix."""
    found: dict[Path, Path] = {}
    names = image_files(folder, left_out)
    require_no_splits_below(folder, names, ways='put the splits first, as in images/train and masks/train')
    for name in names:
        path = folder / name
        other = found.setdefault(Path(name).with_suffix(''), path)
        if other is not path:
            raise ValueError(f'{path}: has the name of {other.name}; an image and its mask are known by their names '
                             'without suffix, so remove or rename one')
    return found


def _masked_folder(place: Place, left_out: LeftOut) -> Source:
    """``images/`` and ``masks/``; ``classes.txt`` beside them, or a folder above, may name the classes, one a line, and
    their colours."""
    folder, pairs = place.folder, _mask_pairs(place, left_out)
    samples = [Sample(str(image), image, mask=mask) for image, mask in pairs]
    tables = [path for path in (folder / 'classes.txt', folder.parent / 'classes.txt') if path.is_file()][:1]
    classes, codes = read_classes(tables[0]) if tables else ((), None)
    files = (os.path.relpath(path, folder) for pair in pairs for path in pair)
    return replace(_source(samples, folder, classes, files, tables), codes=codes)
