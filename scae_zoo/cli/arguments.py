"""Types of arguments; imports nothing that is slow."""

import argparse
import re
from collections.abc import Callable
from typing import Protocol


class Command(Protocol):
    """Says what runs a command, and gives its parser, which takes the options."""

    def __call__(self, name: str, run: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser: ...


def whole_number(minimum: int) -> Callable[[str], int]:
    """An argument type: a whole number from ``minimum`` up, and at most what torch takes."""
    def parse(text: str) -> int:
        if not text.isdecimal() or not minimum <= int(text) < 2 ** 63:
            raise argparse.ArgumentTypeError(f'{text!r} is not a whole number from {minimum} up')
        return int(text)

    return parse


def share(text: str) -> float:
    """An argument type: a number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f'{text!r} is not a number from 0 to 1')
    return value


def add_json(parser: argparse._ActionsContainer) -> None:
    parser.add_argument('--json', action='store_true',
                        help='print one JSON document, figures as they are and null for what is absent')


def tag(text: str) -> str:
    """An argument type: what comes after the architecture in a checkpoint's name."""
    if not re.fullmatch(r'[A-Za-z0-9_-]+', text):
        raise argparse.ArgumentTypeError(f'{text!r} is no tag: letters, digits, _ and - only')
    return text
