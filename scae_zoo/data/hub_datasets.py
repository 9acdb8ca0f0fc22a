"""Data sets of the Hugging Face Hub, or of a folder that ``datasets`` can read: which columns images and labels are."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..places import expand

INDICES = ('int', 'uint', 'bool', 'null', 'string', 'large_string')  # types of a label: a number, or a class's name

LABEL_NAMES = 'class', 'category', 'target'  # beside those that have 'label' in them


class Refused(ValueError):
    """It was read, but what is asked for is not in it; one line says what is."""


class Rows(NamedTuple):
    """A split of a data set.

    Args:
        split: Its name there.
        images: The images alone, encoded, in a column of the name ``column``.
        column: That name.
        labels: An index, or None, for each row; None where there are no labels.
        classes: Their names, where they have some.
        are_texts: Whether these are the labels' own texts, in their order.
        version: Changes when the data, or what is taken of them, change.
        parts: Which rows these are: of a split's name the first one and the one after the last.
    """

    split: str
    images: Any
    column: str
    labels: Sequence[int | None] | None
    classes: tuple[str, ...]
    are_texts: bool
    version: str
    parts: Sequence[tuple[str, int, int]]


def open_rows(name: str, splits: Sequence[str], root: Path, with_labels: bool) -> Rows:
    """Download, or open, a data set's split.

    Args:
        name: ``USER/NAME`` on the Hub, or a folder.
        splits: Names of the split that is meant, the best one first.
        root: Where it is downloaded to.
        with_labels: Whether labels are needed; else those of which it is not clear what they are do not matter.

    Raises:
        Refused: There is no such split, or it is not clear which column is meant.
    """
    from datasets import Image, ReadInstruction

    split, rows = _split(expand(name), splits, str(root))
    image = _image_column(rows.features)
    try:
        label, version = _label_column(rows.features), ''
    except Refused:
        if with_labels:
            raise
        label, version = None, ' without labels'
    rows = rows.cast_column(image, Image(decode=False))
    fingerprint = rows._fingerprint
    labels, classes, are_texts = (None, (), False) if label is None else _labels(rows[label][:], rows.features[label])
    if label not in (None, 'label'):
        version = f' {label}'
    lengths = {each: info.num_examples for each, info in rows.info.splits.items()}
    parts = [(part.splitname, part.from_, part.to) for part in ReadInstruction.from_spec(split).to_absolute(lengths)]
    return Rows(split, rows.select_columns(image), image, labels, classes, are_texts, f'{fingerprint}{version}', parts)


def _split(name: str, splits: Sequence[str], root: str) -> tuple[str, Any]:
    from datasets import load_dataset

    there = load_dataset(name, cache_dir=root)  # which prepares all of them in any case
    for split in splits:
        if split in there:
            return split, there[split]
    try:
        return splits[0], load_dataset(name, split=splits[0], cache_dir=root)  # such as train[:10%]
    except ValueError:
        raise Refused(f'has the splits {", ".join(there)}, not {splits[0]}') from None


def _image_column(features: Mapping[str, Any]) -> str:
    from datasets import Image, Value

    found = [name for name, feature in features.items() if isinstance(feature, Image) or _is_stored_image(feature)]
    if not found and isinstance(features.get('image'), Value) and features['image'].dtype in ('binary', 'string'):
        found = ['image']  # files, or their names
    if 'image' in found or len(found) == 1:
        return 'image' if 'image' in found else found[0]
    raise _unclear('one column of images', 'image', 'an Image', found, features)


def _is_stored_image(feature: Any) -> bool:
    """Whether that is how images are stored, where nothing says that they are some."""
    return isinstance(feature, dict) and feature.keys() <= {'bytes', 'path'}


def _label_column(features: Mapping[str, Any]) -> str | None:
    """The column of labels; None where there is none."""
    from datasets import ClassLabel, Value

    called_so = [name for name in features if 'label' in name.lower() or name.lower() in LABEL_NAMES]
    found = [name for name, feature in features.items() if isinstance(feature, ClassLabel)] or [
        name for name in called_so if isinstance(features[name], Value) and features[name].dtype.startswith(INDICES)]
    if 'label' in found or len(found) == 1:
        return 'label' if 'label' in found else found[0]
    if found or called_so:
        raise _unclear('one column of labels', 'label', 'a ClassLabel, a whole number or a text', found, features)
    return None


def _unclear(what: str, usual: str, kind: str, found: Sequence[str], features: Mapping[str, Any]) -> Refused:
    fault = f'has {len(found)} ({", ".join(found)})' if found else 'has none'
    columns = ', '.join(f'{name} ({_kind(feature)})' for name, feature in features.items())
    return Refused(f'needs {what}, and {fault}; its columns are {columns}. Save a copy that has {kind} a row '
                   f'in a column called {usual} (rename_column, to_parquet), and give hfds/FOLDER')


def _kind(feature: Any) -> str:
    """A column's type, in few words."""
    if isinstance(feature, dict):
        return 'with columns of its own'
    if isinstance(feature, list) or hasattr(feature, 'feature'):
        return f'lists of {_kind(feature[0] if isinstance(feature, list) else feature.feature)}'
    return getattr(feature, 'dtype', '') if type(feature).__name__ == 'Value' else type(feature).__name__


def _labels(values: list[Any], feature: Any) -> tuple[list[int | None], tuple[str, ...], bool]:
    """A class index, or None, for each value; the classes' names; and whether these are texts that were the values."""
    if not feature.dtype.endswith('string'):
        return values, tuple(getattr(feature, 'names', None) or ()), False
    classes = tuple(sorted({value for value in values if value}))
    number = {name: i for i, name in enumerate(classes)}
    return [number.get(value) for value in values], classes, True
