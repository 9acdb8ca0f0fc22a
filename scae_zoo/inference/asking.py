"""The way of photographs through a network that all commands share: read ahead, answered and kept in parts."""

import hashlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from tqdm import tqdm

from ..checkpoints.folder import Checkpoint
from ..images import ImageError
from ..version import __version__
from .network import Network
from .photographs import Found, Photograph, parts_of, read_ahead
from .unfinished import Part, Unfinished, stamp

SECONDS = 20  # between lines that say how far it is, where there is no terminal

T = TypeVar('T')


class Answers(NamedTuple):
    """What was made of the photographs of a part that could be read.

    Args:
        tensors: A row a photograph.
        notes: What there is to say of each; none by default.
        faults: What went wrong with each; nothing by default.
        pictures: The files that were written.
    """

    tensors: Mapping[str, torch.Tensor]
    notes: Sequence[str] = ()
    faults: Sequence[str] = ()
    pictures: Sequence[Path] = ()


class Result(NamedTuple):
    """The photographs that were answered, what was made of them, a row each, and how many were not."""

    photographs: list[Photograph]
    tensors: dict[str, torch.Tensor]
    failed: int


def identity(checkpoint: Checkpoint, network: Network, found: Found, **options: Any) -> dict[str, Any]:
    """All that answers depend on."""
    digest = hashlib.sha256()
    for path, name in found.photographs:
        digest.update(os.fsencode(f'{path}\0{name}\0{stamp(path)}\0'))
    return {'version': __version__, 'checkpoint': checkpoint.identity, 'precision': network.precision,
            'photographs': digest.hexdigest(), **options}


def ask(
        found: Found,
        read: Callable[[Photograph], T],
        answer: Callable[[list[Photograph], list[T]], Answers],
        unfinished: Unfinished | None,
        pixels: Callable[[Photograph], int] = lambda photograph: 0,
) -> Result:
    """Answer photographs. What cannot be read is named on stderr and left out.

    Args:
        found: The photographs.
        read: Decodes one, in a thread; an ImageError is what is wrong with it.
        answer: Answers those of a part that could be read.
        unfinished: Keeps what is done, so that a command that is killed goes on; it is held. None keeps nothing.
        pixels: How many pixels of a photograph are in memory at a time.
    """
    answered: list[Photograph] = []
    rows: dict[str, list[torch.Tensor]] = {}
    failed, said = 0, time.monotonic()
    with tqdm(total=len(found.photographs), unit=' images', disable=None, mininterval=0.5) as progress:
        for photographs, part in _parts(found, read, answer, unfinished, pixels):
            for note in filter(None, part.notes):
                tqdm.write(note, file=sys.stdout)
            for fault in filter(None, part.faults):
                tqdm.write(f'scae: error: {fault}', file=sys.stderr)
            good = [each for each, fault in zip(photographs, part.faults, strict=True) if not fault]
            answered += good
            failed += len(photographs) - len(good)
            for key, tensor in part.tensors.items():
                rows.setdefault(key, []).append(tensor)
            progress.update(len(photographs))
            if progress.disable and time.monotonic() - said > SECONDS:  # as it is where nobody sees a bar
                said = time.monotonic()
                print(f'{len(answered) + failed:,} of {len(found.photographs):,} images', file=sys.stderr, flush=True)
    return Result(answered, {key: torch.cat(each) for key, each in rows.items()}, failed)


def _parts(
        found: Found,
        read: Callable[[Photograph], T],
        answer: Callable[[list[Photograph], list[T]], Answers],
        unfinished: Unfinished | None,
        pixels: Callable[[Photograph], int],
) -> Iterator[tuple[list[Photograph], Part]]:
    """The parts, from an earlier start where they are done."""
    kept: dict[int, Part] = {}

    def is_wanted(number: int) -> bool:
        part = None if unfinished is None else unfinished.part(number)
        if part is not None:
            kept[number] = part
        return part is None

    for number, photographs, decoded in read_ahead(parts_of(found.photographs, pixels), read, is_wanted):
        if decoded is None:
            yield photographs, kept.pop(number)
            continue
        good = [(photograph, value) for photograph, value in zip(photographs, decoded, strict=True)
                if not isinstance(value, ImageError)]
        answers = answer([each for each, _ in good], [value for _, value in good]) if good else Answers({})
        notes, faults = iter(answers.notes), iter(answers.faults)
        part = Part(
            [next(notes, '') if not isinstance(value, ImageError) else '' for value in decoded],
            [str(value) if isinstance(value, ImageError) else next(faults, '') for value in decoded],
            dict(answers.tensors), list(answers.pictures))
        if unfinished is not None:
            unfinished.keep(number, part)
        yield photographs, part


def held(unfinished: Unfinished | None) -> Any:
    """``unfinished.held()``; of none, nothing is held."""
    return nullcontext() if unfinished is None else unfinished.held()


def say_found(found: Found) -> None:
    """Say on stderr how many photographs there are, where folders or globs were asked for."""
    left_out = f'; left out: {found.left_out}' if found.left_out else ''
    if len(found.photographs) > 1 or left_out:
        print(f'found {len(found.photographs):,} images{left_out}', file=sys.stderr)
