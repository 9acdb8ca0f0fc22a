"""Photographs that a network is asked about: files, folders and globs, decoded a little ahead of the network."""

import glob
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

from ..data.image_files import LeftOut, described, image_files
from ..images import ImageError, faults_named, opened

PART = 32  # photographs that are decoded, answered and kept together, at most
PART_PIXELS = 2 ** 21  # and of how many pixels, but for a single larger one
DECODED_PIXELS = 2 ** 25  # that are decoded at a time, each of some ten bytes, but for a single larger photograph

T = TypeVar('T')


class Photograph(NamedTuple):
    """A photograph's file, and its name below the folder that was asked for; of a file that was asked for, its own."""

    path: Path
    name: Path


class Found(NamedTuple):
    """The photographs that were asked for, and what else there is in their folders, for people."""

    photographs: list[Photograph]
    left_out: str


def find_photographs(asked: Sequence[str], output: Path | None = None) -> Found:
    """The photographs of files, folders (with what is below them) and globs, in the order in which they were asked for,
    those of a folder in the order of their names, each once.

    Args:
        asked: The files, folders and globs.
        output: The folder that pictures are written to: what is below it is not taken for photographs.

    Raises:
        ValueError: There is no such file or folder, no photograph, or the pictures would lie among the photographs.
    """
    found: dict[Path, Photograph] = {}
    left_out = LeftOut()
    for text in asked:
        for path in _matching(text):
            is_output = output is not None and path.is_dir() and _is_same(path, output)
            if is_output and (len(asked) > 1 or str(path) != text):
                continue  # a pattern, of ours or of the shell, that matches what an earlier start made
            names = [Path(name) for name in image_files(path, left_out)] if path.is_dir() else []
            if is_output:
                raise ValueError(f'{path}: the photographs are there, so that a second start would take the pictures '
                                 'for photographs; give another folder to -o')
            if path.is_dir() and not names:
                there = f' (left out: {described(left_out)})' if left_out else ''
                raise ValueError(f'{path}: no image in this folder or below it{there}')
            own = output is not None and path.is_dir() and _is_below(output, path)
            for photograph in [Photograph(path / name, name) for name in names] or [Photograph(path, Path(path.name))]:
                if not (own and output is not None and _is_below(photograph.path, output)):
                    found.setdefault(photograph.path, photograph)
    if not found:
        raise ValueError(f'{asked[0]}: no photograph but those that were made here; give others')
    return Found(list(found.values()), described(left_out))


def _matching(text: str) -> list[Path]:
    """The files and folders that are meant: a name that is there means itself, whatever it looks like."""
    if os.path.lexists(text):
        return [Path(text)]
    if not glob.has_magic(text):
        raise ValueError(f'{text}: there is no such file or folder')
    matches = sorted(glob.glob(text, recursive=True))
    if not matches:
        raise ValueError(f'{text}: matches no file or folder')
    return [Path(match) for match in matches]


def _is_same(a: Path, b: Path) -> bool:
    return os.path.realpath(a) == os.path.realpath(b)


def _is_below(path: Path, folder: Path) -> bool:
    return Path(os.path.realpath(folder)) in Path(os.path.realpath(path)).parents


def size_of(photograph: Photograph) -> tuple[int, int]:
    """Width and height of a photograph, from the head of its file; nothing where that cannot be read."""
    try:
        with faults_named(photograph.path), opened(photograph.path) as image:
            return image.size
    except ImageError:
        return 0, 0


def pixels_of(photograph: Photograph) -> int:
    """How many pixels a photograph has."""
    width, height = size_of(photograph)
    return width * height


class _Room:
    """Room for so many pixels that are being decoded; a larger photograph waits until it is alone."""

    def __init__(self, pixels: int) -> None:
        self._all, self._left, self._changed = pixels, pixels, threading.Condition()

    @contextmanager
    def taken(self, pixels: int) -> Iterator[None]:
        pixels = min(pixels, self._all)
        with self._changed:
            self._changed.wait_for(lambda: self._left >= pixels)
            self._left -= pixels
        try:
            yield
        finally:
            with self._changed:
                self._left += pixels
                self._changed.notify_all()


def parts_of(photographs: Sequence[Photograph], pixels: Callable[[Photograph], int]) -> Iterator[list[Photograph]]:
    """The photographs in parts that fit into memory; the same parts for the same files, so that a command that was
    killed and goes on gives a network the same batches."""
    part: list[Photograph] = []
    total = 0
    for photograph in photographs:
        more = pixels(photograph)
        if part and (len(part) == PART or total + more > PART_PIXELS):
            yield part
            part, total = [], 0
        part.append(photograph)
        total += more
    if part:
        yield part


def read_ahead(
        parts: Iterator[list[Photograph]],
        read: Callable[[Photograph], T],
        wanted: Callable[[int], bool] = lambda number: True,
) -> Iterator[tuple[int, list[Photograph], list[T | ImageError] | None]]:
    """Each part with its number and what was read of it, the next one decoded by a few threads in the meantime.

    Args:
        parts: The photographs.
        read: Decodes one.
        wanted: Whether the part with this number is read; None is given for others.
    """
    def submitted() -> Iterator[tuple[int, list[Photograph], list[Future[T | ImageError]] | None]]:
        for number, part in enumerate(parts):
            yield number, part, [pool.submit(attempt, each) for each in part] if wanted(number) else None

    room = _Room(DECODED_PIXELS)

    def attempt(photograph: Photograph) -> T | ImageError:
        try:
            with room.taken(pixels_of(photograph)):
                return read(photograph)
        except ImageError as error:
            return error

    with ThreadPoolExecutor() as pool:
        try:
            coming = submitted()
            waiting = list(islice(coming, 1))
            while waiting:
                waiting += islice(coming, 1)
                number, part, futures = waiting.pop(0)
                yield number, part, None if futures is None else [future.result() for future in futures]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

