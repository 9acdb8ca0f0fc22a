"""Tables beside images: ``labels.csv``, many labels an image, and ``classes.txt``, the names of masks' classes."""

import csv
from pathlib import Path


def read_labels(table: Path) -> tuple[tuple[str, ...], list[tuple[Path, list[float]]]]:
    """The classes of a ``labels.csv``, and each image's file with its labels: 1, 0, or -1 for 'not counted'.

    It has a header ``image,CLASS,CLASS,…``, then a row an image with 1, 0, or nothing for 'not counted'.

    Raises:
        ValueError: The table is faulty; the message names the line.
    """
    try:
        with table.open(newline='', encoding='utf-8-sig') as file:
            reader = csv.reader(file)
            header = next(reader, [])
            rows = [(reader.line_num, row) for row in reader if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f'{table}: cannot be read as a table in UTF-8 ({error})') from None
    classes = tuple(header[1:])
    if not classes or not rows:
        raise ValueError(f'{table}: needs a header "image,CLASS,CLASS,..." and a row for each image')
    values = {'1': 1., '0': 0., '': -1., '-1': -1.}
    found = []
    for number, row in rows:
        if len(row) != len(header) or not all(cell.strip() in values for cell in row[1:]):
            raise ValueError(
                f'{table}, line {number}: needs a file name and {len(classes)} cells that are 1, 0 or empty')
        path = table.parent / row[0]
        if not path.is_file():
            raise ValueError(f'{table}, line {number}: there is no image {path}')
        found.append((path, [values[cell.strip()] for cell in row[1:]]))
    return classes, found


def read_classes(table: Path) -> tuple[str, ...]:
    """The names in a ``classes.txt``, one a line.

    Raises:
        ValueError: It is not UTF-8.
    """
    try:
        names = table.read_text(encoding='utf-8-sig').split('\n')
    except UnicodeDecodeError:
        raise ValueError(f'{table}: is not UTF-8; save it as that') from None
    return tuple(filter(None, map(str.strip, names)))
