"""What a command that was stopped or killed has done already, kept beside its output until that is whole."""

import hashlib
import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from ..places import written_whole
from ..training.run_folder import stopped_by_signals

IDENTITY = 'identity.json'


class Part(NamedTuple):
    """What was answered of one part of the photographs.

    Args:
        notes: For each photograph, in order, what there is to say of it.
        faults: For each, what is wrong with it; empty where nothing is.
        tensors: The answers of those that could be read, in order.
        pictures: The files that were written.
    """

    notes: list[str]
    faults: list[str]
    tensors: dict[str, torch.Tensor]
    pictures: list[Path]


class Unfinished:
    """A folder beside the output that holds the parts that are done.

    Args:
        folder: The folder.
        identity: All that the answers depend on. Parts of another identity are of another command, and removed.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self.folder = folder
        self.identity = json.loads(json.dumps(identity))

    @contextmanager
    def held(self) -> Iterator['Unfinished']:
        """Hold the folder for the length of a command; it is gone when the block ends well.

        Raises:
            ValueError: Another process holds it, or it cannot be made.
        """
        lock = FileLock(self.folder / '.lock')
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except Timeout:
            raise ValueError(f'{self.folder.parent}: another process writes the same here; wait for it, or give another'
                             ' place to -o') from None
        except OSError as error:
            raise ValueError(f'{self.folder.parent}: cannot be written ({error.strerror}); give another place to -o'
                             ) from None
        try:
            self._begin()
            with stopped_by_signals():
                yield self
            shutil.rmtree(self.folder, ignore_errors=True)
        finally:
            lock.release()

    def _begin(self) -> None:
        path = self.folder / IDENTITY
        try:
            same = json.loads(path.read_text()) == self.identity
        except (OSError, ValueError):
            same = False
        done = list(self.folder.glob('*.part'))
        if same and done:
            print('going on where an earlier start was stopped', file=sys.stderr)
        if not same:
            if done:
                print(f'{self.folder}: is of other photographs or options; begun anew', file=sys.stderr)
            for left in done:
                left.unlink()
            with written_whole(path) as file:
                file.write(json.dumps(self.identity).encode())

    def _path(self, number: int) -> Path:
        return self.folder / f'{number:08}.part'

    def part(self, number: int) -> Part | None:
        """The part with this number; None where it is not done, or its pictures are not there as they were written."""
        try:
            with safe_open(self._path(number), 'pt') as file:
                said = json.loads(file.metadata()['part'])
                if [stamp(Path(path)) for path, _ in said['pictures']] != [each for _, each in said['pictures']]:
                    return None
                return Part(said['notes'], [''] * len(said['notes']), {
                    key: file.get_tensor(key) for key in file.keys()},  # noqa: SIM118  (it is no dictionary)
                    [Path(path) for path, _ in said['pictures']])
        except (OSError, SafetensorError, KeyError, TypeError, ValueError):  # missing, or damaged: done again
            return None

    def keep(self, number: int, part: Part) -> None:
        """Keep a part, unless something was wrong with it: a disk that was full may have room the next time."""
        if any(part.faults):
            return
        said = json.dumps({'notes': part.notes, 'pictures': [[str(path), stamp(path)] for path in part.pictures]})
        try:
            with written_whole(self._path(number)) as file:
                file.write(save({key: value.contiguous() for key, value in part.tensors.items()}, {'part': said}))
        except OSError as error:
            raise ValueError(f'{self.folder}: cannot be written ({error.strerror}); make room, then run the same '
                             'command, which goes on here') from None


def stamp(path: Path) -> list[int]:
    """What changes when a file is written again; empty where there is none."""
    try:
        stat = path.stat()
    except OSError:
        return []
    return [stat.st_size, stat.st_mtime_ns, stat.st_ino]


def unfinished_file(output: Path, identity: Mapping[str, Any]) -> Unfinished:
    """For a command that writes one file."""
    return Unfinished(output.parent / f'.{output.name}.unfinished', identity)


def unfinished_folder(output: Path, identity: Mapping[str, Any]) -> Unfinished:
    """For a command that writes pictures into a folder, maybe beside other such commands."""
    digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]
    return Unfinished(output / f'.{digest}.unfinished', identity)
