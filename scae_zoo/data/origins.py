"""Which files the images of a set are, so that nothing is measured on what it was trained on."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .image_files import image_files


def file_key(path: str | Path, stat: os.stat_result | None = None) -> int:
    """The same for one file, under whatever path or link; of one that is not there, that of its path."""
    try:
        stat = stat or os.stat(path)
    except OSError:  # which is said when it is to be decoded
        return hash(str(path))
    return hash((stat.st_dev, stat.st_ino))


@dataclass(frozen=True, eq=False)
class Origins:
    """Which file, or which image of a data set that has a name, each image of a set is.

    Args:
        keys: N int64 hashes, of a file's device and inode, or of a data set's name, a split and a number. They are the
            same within one process alone.
        place: The folder that the files are in or below, or what the images are called.
    """

    keys: np.ndarray
    place: str

    @classmethod
    def of_keys(cls, keys: Iterable[int], place: str | Path) -> 'Origins':
        return cls(np.fromiter(keys, np.int64), str(place))

    @classmethod
    def of_files(cls, paths: Iterable[str | Path], place: str | Path) -> 'Origins':
        """Those of files."""
        return cls.of_keys(map(file_key, paths), place)

    @classmethod
    def of_numbers(cls, name: str, numbers: Iterable[int]) -> 'Origins':
        """Those of images that have a number each in what has that name."""
        return cls.of_keys((hash((name, int(number))) for number in numbers), name)

    def chosen(self, index: Iterable[int] | np.ndarray) -> 'Origins':
        """Those of some of the images."""
        return Origins(self.keys[np.asarray(index)], self.place)

    def without(self, index: list[int]) -> 'Origins':
        """Those of all images but some."""
        return Origins(np.delete(self.keys, index), self.place) if index else self

    def joined(self, other: 'Origins') -> 'Origins':
        """Those of the images of both."""
        return Origins(np.concatenate([self.keys, other.keys]), self.place)

    def among(self, others: 'Origins') -> np.ndarray:
        """The indices of the images that are among the others as well."""
        return np.isin(self.keys, others.keys).nonzero()[0]

    def file(self, index: int) -> str:
        """The path of an image. It is looked for: to keep a million paths would take hundreds of megabytes."""
        folder = Path(self.place)
        for name in image_files(folder) if folder.is_dir() else ():
            if file_key(folder / name) == self.keys[index]:
                return str(folder / name)
        return self.place
