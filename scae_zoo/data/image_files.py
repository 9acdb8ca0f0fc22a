"""The image files below a folder, in order, and what else is there and left out."""

import functools
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from ..checkpoints.folder import ENCODER, RUN

LeftOut = Counter[tuple[str, str]]  # how many, by the reason and the name or the suffix

UNREAD, NO_IMAGE, SYSTEM, OURS = 'not read by Pillow', 'no images', "a system's folder", 'a folder of runs'
# Pillow's formats that need another program (Ghostscript, Windows, a reader of HDF5, ...), hold measurements, no
# picture, have a suffix that other files have more often (point clouds: .pcd, circuit boards: .gbr), or are on their
# way out of Pillow (.im)
NOT_TAKEN = frozenset({'BUFR', 'EPS', 'FITS', 'GBR', 'GRIB', 'HDF5', 'IM', 'IPTC', 'MPEG', 'PCD', 'PDF', 'WMF'})
# pictures that Pillow does not read by itself: they are said to be left out for that
PICTURES = frozenset({
    '.3fr', '.arw', '.cr2', '.cr3', '.dcm', '.dng', '.emf', '.eps', '.erf', '.exr', '.fit', '.fits', '.hdr', '.heic',
    '.heics', '.heif', '.heifs', '.hif', '.jxl', '.jxr', '.kdc', '.mrw', '.nef', '.nrw', '.orf', '.pef', '.psb', '.raf',
    '.raw', '.rw2', '.sr2', '.srw', '.svg', '.svgz', '.wdp', '.wmf', '.x3f', '.xcf'})
SYSTEM_FOLDERS = frozenset({
    '@eadir', '#recycle', '#snapshot', '@recycle', '@recently-snapshot', '@__thumb', '@tmp', '__macosx', '__pycache__',
    '$recycle.bin', 'system volume information', 'lost+found', 'network trash folder', 'temporary items'})
OUR_FILES = frozenset({RUN, ENCODER})  # of a run, a checkpoint
OUR_PICTURES = frozenset({
    'curve.png', 'curves.png', 'demo.png', 'demo_filled.png', 'examples.png', 'feature_maps.png', 'pictures.png',
    'probes.png'})


def extensions() -> frozenset[str]:
    """The suffixes of the images that are read: what Pillow reads, with what is registered with it at the moment."""
    kinds = Image.registered_extensions()
    readable = {*Image.OPEN, 'MPO'} - NOT_TAKEN  # an MPO is a JPEG to Pillow until it is open
    return frozenset(suffix for suffix, kind in kinds.items() if kind in readable)


def image_files(folder: Path, left_out: LeftOut | None = None) -> list[str]:
    """The images in a folder and below it, as paths from there; what is left out is counted in ``left_out``."""
    start = os.path.join(folder, '')
    found = _images_below(start, (), extensions(), LeftOut() if left_out is None else left_out)
    return sorted((path[len(start):] for path in found), key=in_order)


def has_image(folder: Path) -> bool:
    """Whether there is an image in a folder or below it."""
    return next(_images_below(str(folder), (), extensions(), LeftOut()), None) is not None


def images_beside(folder: Path) -> list[str]:
    """The names of the images that lie in a folder itself."""
    known = extensions()
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if _suffix(entry.name) in known and entry.is_file()
                      and _why_not(entry, known) is None)


def subfolders(folder: Path) -> list[str]:
    """The names of the sub-folders that may hold images: not those that are hidden, a system's or a run's."""
    known = extensions()
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and _why_not(entry, known) is None)


def in_order(name: str) -> tuple[Any, str]:
    """Sorts names as timm does, numbers by their value, and those that are then equal (A and a, 1 and 01) always in one
    order."""
    return [int(part) if part.isdecimal() else part for part in re.split(r'(\d+)', name.lower())], name


def described(left_out: LeftOut) -> str:
    """``3 .heic (not read by Pillow), 2 hidden, 5 .txt, 1 .xml (no images)``: by the reason, what is most first."""
    reasons: dict[str, list[str]] = {}
    for (reason, name), number in left_out.most_common():
        reasons.setdefault(reason, []).append(f'{number:,} {name}')
    groups = (', '.join([*names[:4], '...'] if len(names) > 5 else names) + f' ({reason})' * bool(reason)
              for reason, names in sorted(reasons.items(), key=lambda item: item[0] == NO_IMAGE))
    return ', '.join(groups)


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _images_below(folder: str, above: tuple[str, ...], known: frozenset[str], left_out: LeftOut) -> Iterator[str]:
    real = os.path.realpath(folder)
    if any(each == real or each.startswith(os.path.join(real, '')) for each in above):
        return  # a link back to where we come from
    with os.scandir(folder) as entries:
        for entry in entries:
            if (why := _why_not(entry, known)) is not None:
                left_out[why] += 1
            elif entry.is_dir():
                yield from _images_below(entry.path, (*above, real), known, left_out)
            elif (suffix := _suffix(entry.name)) in known:
                yield entry.path
            else:
                left_out[UNREAD if suffix in PICTURES else NO_IMAGE, suffix or 'without suffix'] += 1


def _why_not(entry: os.DirEntry, known: frozenset[str]) -> tuple[str, str] | None:
    """Why a file, or a folder with all that is below it, is passed over; None where it is not."""
    if entry.name.startswith('.'):
        return '', 'hidden'
    if entry.name in OUR_PICTURES and os.path.isfile(os.path.join(os.path.dirname(entry.path), RUN)):
        return 'of a run', entry.name
    if not entry.is_dir():
        return None
    if entry.name.lower() in SYSTEM_FOLDERS:
        return SYSTEM, entry.name
    return (OURS, entry.name) if _is_ours(entry.path, known, entry.stat().st_mtime_ns) else None


@functools.lru_cache(4096)  # asked again and again of folders that may hold a million files
def _is_ours(folder: str, known: frozenset[str], changed: int) -> bool:
    """Whether there are runs, checkpoints or the cache in a folder or below it, and no image of anybody else's."""
    ours = os.path.basename(folder) == 'scae_demo'
    for is_own in _traces(folder, known):
        if not is_own:
            return False
        ours = True
    return ours


def _traces(folder: str, known: frozenset[str]) -> Iterator[bool]:
    """True for each file below a folder that a run, a checkpoint or the cache has, False for each image of others."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith('.') or entry.name.lower() in SYSTEM_FOLDERS:
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _traces(entry.path, known)
            elif entry.is_symlink() and entry.is_dir():
                yield False  # we make no links
            elif _suffix(entry.name) in known:
                if entry.name not in OUR_PICTURES:
                    yield False
            elif entry.name in OUR_FILES or entry.name.startswith('events.out.tfevents') or (
                    entry.name == 'index.json' and os.path.isfile(os.path.join(folder, 'images'))):
                yield True
