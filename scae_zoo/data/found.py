"""What was found, said in one line before anything is done with it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..console import is_main_process

if TYPE_CHECKING:
    from .cache import Source

CLASSES_NAMED = 5


def say_found(source: 'Source', size: int | None = None, crop: int | None = None, cache: Path | None = None,
              held_back: int = 0) -> None:
    """Say on stderr how many images there are, of which classes, where, how they are scaled and cropped, where they are
    cached, and what was left out. Of several processes the main one says it.

    Args:
        source: The images.
        size: Side in pixels that they are scaled to; None: they stay as they are.
        crop: Side in pixels of the crops that are taken of them, where that is known.
        cache: Where they are kept once they are decoded; None: they are decoded each time.
        held_back: How many of them are measured on, and not trained on.
    """
    if not is_main_process():
        return
    number = 'images' if source.total is None else f'{source.total:,} image{"s" * (source.total != 1)}'
    scaled = 'not scaled' if size is None else f'scaled to {size} x {size} (shorter side, then the middle)' if cache \
        else f'shorter side scaled to {size}'
    cropped = f', crops of {crop} x {crop}' if crop else ''
    cropped += f', {held_back:,} held back to measure on' if held_back else ''
    kept = f'cache {cache}' if cache else 'not cached'
    left_out = f'; left out: {source.left_out}' if source.left_out else ''
    line = f'found {number}{_classes(source)} in {source.place or source.identity}; {scaled}{cropped}; {kept}{left_out}'
    # names of files may hold anything, ends of lines too
    print(''.join(c if c.isprintable() else c.encode('unicode_escape').decode() for c in line), file=sys.stderr)


def _classes(source: 'Source') -> str:
    if not source.classes:
        return ''
    names = [*source.classes[:CLASSES_NAMED], *['...'] * (len(source.classes) > CLASSES_NAMED)]
    number = len(source.classes)
    return f' of {number:,} class{"es" * (number != 1)} ({", ".join(names)})'
