"""Paths as their users write them, ``~`` for a home folder in options, in the environment and in arguments; and that
what is written there lasts."""

import argparse
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


class PathError(ValueError, argparse.ArgumentTypeError):
    """``~`` stands for no folder. Of an argument type, argparse prints the message of its own error alone."""


def expand(text: str | os.PathLike[str]) -> str:
    """A path, or a name that is none, with the home folder in the place of a leading ``~`` or ``~USER``; an argument
    type as well.

    Raises:
        PathError: There is no such home folder, and nothing here has that name.
    """
    text = os.fspath(text)
    found = os.path.expanduser(text)
    if text.startswith('~') and found == text and not os.path.lexists(text):
        user = text[1:].partition(os.sep)[0]
        fault = f'there is no user {user}' if user else 'there is no home folder ($HOME is not set)'
        raise PathError(f'{text}: {fault}; give the whole path{f", or ./{text} for a name here" * bool(user)}')
    return found


def expand_path(text: str | os.PathLike[str]) -> Path:
    """``expand``, as a path; an argument type as well."""
    return Path(expand(text))


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk: a power cut may undo what is not."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def written_whole(path: Path, scratch: Path | None = None) -> Iterator[BinaryIO]:
    """A file to write into that takes the place of ``path`` when the block ends well; else nothing is left of it, and
    an older file stays. Its folder is made if need be. A link stays one, and what is no file, such as ``/dev/stdout``,
    is written to as it is.

    Args:
        path: The file.
        scratch: A folder on the same disk that what is not whole yet lies in; by default the file's own.
    """
    partial, path = None, Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        with path.open('wb') as file:
            yield file
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = (scratch or path.parent) / f'.{uuid.uuid4().hex}.partial'
        with partial.open('xb') as file:  # not by tempfile, whose files nobody else may read
            yield file
        os.replace(partial, path)
        partial = None
    finally:
        if partial is not None:
            partial.unlink(missing_ok=True)
