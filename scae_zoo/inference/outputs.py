"""Where answers go: pictures below one folder as their photographs lie below theirs, no two of one name; rows."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from .photographs import Photograph


class Outputs:
    """The names of the pictures that a command writes.

    Args:
        folder: Where they go.
        photographs: What they are of: none of their files is written over, and two of them may share a name.
        kinds: The kinds of pictures of each, in words that end their names; '' is the photograph's name alone.
    """

    def __init__(self, folder: Path, photographs: Sequence[Photograph], kinds: Sequence[str]) -> None:
        taken = {photograph.path.resolve() for photograph in photographs}
        self._kinds, self._paths = kinds, {}
        for photograph in photographs:
            for kind in kinds:
                self._paths[photograph, kind] = _free_name(folder / photograph.name.parent,
                                                           f'{photograph.name.stem}{"_" * bool(kind)}{kind}', taken)

    def all_of(self, photograph: Photograph) -> list[Path]:
        """All pictures of a photograph."""
        return [self._paths[photograph, kind] for kind in self._kinds]

    def of(self, photograph: Photograph, kind: str) -> Path:
        """The picture of that kind."""
        return self._paths[photograph, kind]


def _free_name(folder: Path, stem: str, taken: set[Path]) -> Path:
    """A name that is no input of this call nor what becomes of another one: two inputs may share a stem."""
    path, number = folder / f'{stem}.png', 2
    while path.resolve() in taken:
        path, number = folder / f'{stem}-{number}.png', number + 1
    taken.add(path.resolve())
    return path


def csv_row(cells: Sequence[str]) -> str:
    """A row of a CSV file, with its end of line; a name that has one in it, or a comma, is quoted."""
    text = io.StringIO()
    csv.writer(text, lineterminator='\r\n').writerow(cells)  # else a carriage return would not be
    return text.getvalue()[:-2] + '\n'
