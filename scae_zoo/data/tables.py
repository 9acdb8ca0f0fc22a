"""Tables beside images: ``labels.csv``, many labels an image, and ``classes.txt``, the names of masks' classes."""

import codecs
import csv
import io
import os
import re
import unicodedata
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from .image_files import extensions
from .masks import COLOUR_TABLE, MAX_CLASSES, MaskCodes
from .origins import file_key

SEPARATORS = {',': 'commas', ';': 'semicolons', '\t': 'tabs'}
LABELS = {'': -1., 'true': 1., 'false': 0.}  # and what is 1, 0 or -1 as a number
UNCOUNTED = frozenset({'void', 'ignore'})
COLOUR = re.compile(r'(.*\S)[\s,;]+(\d+)[\s,;]+(\d+)[\s,;]+(\d+)')
COLOUR_HEADER = re.compile(r'name[\s,;]+r(ed)?[\s,;]+g(reen)?[\s,;]+b(lue)?', re.IGNORECASE)

Labels = list[tuple[Path, list[float]]]


def read_labels(table: Path, folders: Sequence[Path]) -> tuple[tuple[str, ...], Labels]:
    """The classes of a ``labels.csv``, and each image's file with its labels: 1, 0, or -1 for 'not counted'.

    It has a header ``image,CLASS,CLASS,…``, then a row an image with 1, 0, or nothing for 'not counted'; commas,
    semicolons or tabs.

    Args:
        table: The file.
        folders: Where the images are: beside the table, or in folders below it, such as a split's. The table may then
            have rows of images in other such folders, which are left out; its images are known by their paths from the
            table, or by their paths from the one folder that has them.

    Raises:
        ValueError: The table is faulty; the message names the line.
    """
    text = read_text(table)
    (first, header), *rows = _rows(table, text, _separator(table, text)) or [(1, [])]
    if len(header) < 2 or not rows:
        raise ValueError(f'{table}: needs a header "image,CLASS,CLASS,..." and a row for each image')
    images = _Images(table.parent, folders)
    inside = {Path(os.path.abspath(folder)) for folder in folders}
    place = f'{table}, line {first}'
    is_file = os.path.splitext(header[0].strip())[1].lower() in extensions()
    if (is_file and all(_label(cell) is not None for cell in header[1:])) or images.find(header[0], place):
        raise ValueError(f'{place}: has an image and its labels, where a header "image,CLASS,CLASS,..." must be; write '
                         'one above it')
    classes = _names(header, place)
    found: dict[int, tuple[int, list[float]]] = {}  # by the file, which may have several paths
    ours: Labels = []
    for number, row in rows:
        place = f'{table}, line {number}'
        if len(row) != len(header):
            others = [f' (it has {word})' for mark, word in SEPARATORS.items() if len(row) == 1 and mark in row[0]]
            raise ValueError(f'{place}: has {len(row)} cells{"".join(others)}, but the header {len(header)}; a row '
                             f'needs a file name and {len(classes)} cells')
        labels = []
        for name, cell in zip(classes, row[1:], strict=True):
            if (label := _label(cell)) is None:
                raise ValueError(f'{place}: has {cell!r} for class {name}; cells are 1, 0 or empty')
            labels.append(label)
        path = images.find(row[0], place)
        if path is None:
            hint = '; remove the spaces around its name' if row[0] != row[0].strip() else ''
            raise ValueError(f'{place}: there is no image {table.parent / row[0]}{hint}')
        if (key := file_key(path)) in found:
            line, other = found[key]
            how = 'with the same labels' if labels == other else 'with other labels'
            raise ValueError(f'{place}: {row[0]} is in line {line} already, {how}; remove one of the two')
        found[key] = number, labels
        if table.parent in folders or inside & {*Path(os.path.abspath(path)).parents}:
            ours.append((path, labels))
    if not ours:
        raise ValueError(f'{table}: has no row for an image in {folders[0]}')
    if not any(label >= 0 for _, labels in ours for label in labels):
        raise ValueError(f'{table}: labels nothing: no cell of an image in {folders[0]} is 1 or 0')
    return classes, ours


def read_classes(table: Path) -> tuple[tuple[str, ...], MaskCodes | None]:
    """The names in a ``classes.txt``, one a line; with ``NAME RED GREEN BLUE`` in each line the colours that stand for
    the classes in the masks, too. There ``void`` or ``ignore`` names the colour of what is not counted.

    Raises:
        ValueError: The table is faulty; the message names the line.
    """
    lines = [line.strip() for line in re.split(r'\r\n|\r|\n', read_text(table).rstrip())]
    place = f'{table}, line '
    start = 1 + bool(COLOUR_HEADER.fullmatch(lines[0]))
    if lines == ['']:
        raise ValueError(f'{table}: is empty; name the classes, one a line, or remove it')
    rows = [(number, line, COLOUR.fullmatch(line)) for number, line in enumerate(lines[start - 1:], start)]
    coloured = start > 1 or any(match for _, _, match in rows)
    first: dict[str | int, int] = {}
    names: list[str] = []
    values: list[int] = []
    ignored: list[int] = []
    for number, line, match in rows:
        if not line:
            raise ValueError(f'{place}{number}: is blank, before other names; remove it, or name the class')
        name = line
        if coloured:
            if match is None or max(numbers := [int(part) for part in match.groups()[1:]]) > 255:
                raise ValueError(f'{place}{number}: has no colour, though others have; write in each line '
                                 f'{COLOUR_TABLE}, of numbers up to 255')
            name = match[1].rstrip(' \t,;')
            red, green, blue = numbers
            colour = red << 16 | green << 8 | blue
            _once(first, colour, number, place, f'the colour {red} {green} {blue}')
            (ignored if name.lower() in UNCOUNTED else values).append(colour)
        name = unicodedata.normalize('NFC', name)
        _once(first, name, number, place, name)
        if not (coloured and name.lower() in UNCOUNTED):
            names.append(name)
    if len(names) > MAX_CLASSES:
        raise ValueError(f'{table}: names {len(names)} classes; masks tell at most {MAX_CLASSES} apart')
    return tuple(names), MaskCodes(tuple(values), tuple(ignored), colours=True) if coloured else None


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, or in UTF-16 as Excel writes it.

    Raises:
        ValueError: It is neither.
    """
    data = path.read_bytes()
    try:
        text = data.decode('utf-16' if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else 'utf-8-sig')
    except UnicodeDecodeError:
        text = '\0'
    if '\0' in text:  # or UTF-16 that does not say so
        raise ValueError(f'{path}: is not UTF-8; save it as that')
    return text


def _once(first: dict[str | int, int], key: str | int, number: int, place: str, what: str) -> None:
    if (line := first.setdefault(key, number)) != number:
        raise ValueError(f'{place}{number}: {what} is in line {line} already')


def _separator(table: Path, text: str) -> str:
    """What is between the cells of the header."""
    header = re.split(r'[\r\n]', re.sub(r'"(?:[^"]|"")*"', '', text.lstrip('\r\n')))[0]
    there = [mark for mark in SEPARATORS if mark in header]
    if len(there) > 1:
        words = ' and '.join(SEPARATORS[mark] for mark in there)
        raise ValueError(f'{table}: its header has {words} between the cells; use one of them')
    return there[0] if there else ','


def _rows(table: Path, text: str, separator: str) -> list[tuple[int, list[str]]]:
    """The rows that are not blank, each with its line."""
    reader = csv.reader(io.StringIO(text, newline=''), delimiter=separator, strict=True)
    try:
        return [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise ValueError(f'{table}, line {reader.line_num}: cannot be read as a table ({error})') from None


def _names(header: Sequence[str], place: str) -> tuple[str, ...]:
    """The names of classes in a header."""
    names = [unicodedata.normalize('NFC', name) for name in header[1:]]
    for column, name in enumerate(header[1:], 2):  # the first may have none: pandas writes an index so
        if not name.strip():
            hint = ' (there is a separator at the end of the line)' if column == len(header) else ''
            raise ValueError(f'{place}: column {column} has no name{hint}; name it, or remove it')
        if name != name.strip() or not name.isprintable():
            raise ValueError(f'{place}: {name!r} is no name: remove the spaces around it, and line breaks')
    for i, name in enumerate(names):
        if name in names[:i]:
            raise ValueError(f'{place}: has the class {name} twice; rename or remove one')
    return tuple(names)


def _label(cell: str) -> float | None:
    """What a cell says: 1, 0, or -1 for 'not counted'; None where that is unknown."""
    cell = cell.strip().lower()
    if cell in LABELS:
        return LABELS[cell]
    try:
        value = float(cell.replace(',', '.'))  # as Excel writes numbers where people do
    except ValueError:
        return None
    return value if value in (1, 0, -1) else None


class _Images:
    """The image files that a table names.

    Args:
        above: The table's folder.
        folders: The images' folders, that or ones below.
    """

    def __init__(self, above: Path, folders: Sequence[Path]) -> None:
        self.above = above
        beside = set() if above in folders else {
            os.path.relpath(entry.path, above) for parent in {above, *(folder.parent for folder in folders)}
            for entry in os.scandir(parent) if entry.is_dir() and not entry.name.startswith('.')}
        self.folders = sorted(beside)

    def find(self, name: str, place: str) -> Path | None:
        """The file of that name, which may have a Windows path's backslashes and another form of Unicode; None where
        there is none.

        Raises:
            ValueError: Several folders have one.
        """
        for written in dict.fromkeys((name, name.replace('\\', '/'))):
            for folders in ([''], self.folders):
                found = [file for sub in folders if (file := self._file(os.path.join(sub, written)))]
                if len(found) > 1:
                    raise ValueError(f'{place}: {name} may be {" or ".join(found)}; write which, as a path from the '
                                     'table')
                if found:
                    return self.above / os.path.normpath(found[0])
        return None

    def _file(self, path: str) -> str | None:
        if os.path.isfile(self.above / path):
            return path
        return None if path.isascii() else self._by_form.get(unicodedata.normalize('NFC', os.path.normpath(path)))

    @cached_property
    def _by_form(self) -> dict[str, str]:
        """All files, by their names in one form of Unicode."""
        return {unicodedata.normalize('NFC', path): path for folder, _, names in os.walk(self.above) for name in names
                if not (path := os.path.relpath(os.path.join(folder, name), self.above)).isascii()}
