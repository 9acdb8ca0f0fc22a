"""Where decoded and downloaded images are kept; several processes, and users, may share the folder."""

import json
import mmap
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from filelock import FileLock

from ..places import PathError, expand_path

ENVIRONMENT = 'SCAE_ZOO_CACHE'


def cache_folder() -> Path:
    """``$SCAE_ZOO_CACHE``, or ``scae_zoo`` in the user's cache folder.

    Raises:
        ValueError: There is no home folder that it could be in.
    """
    own = os.environ.get(ENVIRONMENT)
    try:
        return expand_path(own) if own else expand_path(os.environ.get('XDG_CACHE_HOME') or '~/.cache') / 'scae_zoo'
    except PathError as error:
        fault = str(error).partition(';')[0]
        raise ValueError(f'no place for the cache of images ({fault}); give a folder in ${ENVIRONMENT}') from None


@contextmanager
def one_at_a_time(lock: Path) -> Iterator[bool]:
    """Wait until no other process is in such a block; False, without waiting, where the lock cannot be taken, as one
    of another user's, or made."""
    held = FileLock(lock)
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        held.acquire()
    except OSError:
        yield False
        return
    try:
        yield True
    finally:
        held.release()


class Entry(NamedTuple):
    """What the cache has of a source: N x H x W x 3 uint8 images, their labels or masks, what could not be read and
    which images of the source that was, the classes in whole masks, and how many masks are not known to lie as their
    images do."""

    images: np.ndarray
    targets: np.ndarray | None
    unreadable: list[str]
    left_out: list[int]
    values: list[int]
    unsure: int


def read_entry(folder: Path) -> Entry | None:
    """What an entry's folder holds; None where there is no whole one."""
    try:
        try:
            index = json.loads((folder / 'index.json').read_text())
        except (FileNotFoundError, NotADirectoryError):
            return None
        targets: np.ndarray | None = None
        if index['masks']:
            targets = _mapped(folder / 'masks', index['shape'][:3])
        elif (folder / 'labels.npy').is_file():
            targets = np.load(folder / 'labels.npy', allow_pickle=False)
        return Entry(_mapped(folder / 'images', index['shape']), targets, index['unreadable'],
                     index.get('left_out', []), index.get('values', []), index.get('unsure', 0))
    except (OSError, ValueError, KeyError, TypeError) as error:  # it may be another user's, or damaged
        reason = error.strerror if isinstance(error, OSError) else error
        raise ValueError(f'{folder}: cannot be read from the cache ({reason}); remove it, or give another folder in '
                         f'${ENVIRONMENT}') from None


def tidy(folder: Path) -> None:
    """Remove what processes of ours that were killed while they built this entry have left; the lock is held."""
    for left in folder.parent.glob(f'.{folder.name}.*'):
        if left.stat().st_uid == os.getuid():  # another user's may be alive, if the lock was out of reach there
            shutil.rmtree(left, ignore_errors=True)


def _mapped(path: Path, shape: Sequence[int]) -> np.ndarray:
    """A file's bytes. torch wants them writable; changes would stay in memory. NumPy's own way of that (mode 'c') is
    refused by Linux where the file is larger than the memory, as if all of it were going to be changed."""
    if sys.platform != 'linux':
        return np.memmap(path, np.uint8, 'c', shape=tuple(shape))
    with path.open('rb') as file:
        flags = mmap.MAP_PRIVATE | getattr(mmap, 'MAP_NORESERVE', 0x4000)  # Python 3.13 knows it
        mapped = mmap.mmap(file.fileno(), 0, flags=flags, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    return np.frombuffer(mapped, np.uint8).reshape(tuple(shape))


def take_place(partial: Path, folder: Path) -> None:
    """Give a whole entry its name, unless another user's process, which we could not wait for, has just done that."""
    if (folder / 'index.json').is_file():
        return
    shutil.rmtree(folder, ignore_errors=True)
    try:
        partial.rename(folder)
    except OSError:
        if not (folder / 'index.json').is_file():
            raise
