"""The ``scae`` command."""

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress

from ..checkpoints.folder import CheckpointError
from ..console import console, fault_of
from ..training.run_folder import STOPPED, TrainingError
from . import measuring, pictures, training


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='scae', description='Convolutional denoising auto-encoders with symmetric shortcuts: use the pretrained '
                                 'ones, or train on your own images.')
    commands = parser.add_subparsers(required=True, metavar='COMMAND')

    def command(name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name, help=text.split('\n')[0], description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
        sub.set_defaults(run=run)
        return sub

    for module in (pictures, training, measuring):
        module.add_commands(command)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status.

    0: done, 1: some images failed, 2: nothing could be done, 130: stopped, 141: nobody reads the output any more.
    """
    try:
        with console():
            return _run(argv)
    except BrokenPipeError:  # as `| head` leaves behind
        return 141
    except OSError as error:  # what is printed is lost
        with suppress(OSError):
            print(f'scae: error: {error}', file=sys.stderr)
        return 2


def _run(argv: Sequence[str] | None) -> int:
    args = _parser().parse_args(argv)
    args.argv = sys.argv[1:] if argv is None else argv
    try:
        return args.run(args)
    except BrokenPipeError:
        raise
    except (CheckpointError, TrainingError, ValueError, OSError) as error:  # such as a folder that may not be read
        print(f'scae: error: {fault_of(error)}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f'scae: {STOPPED}', file=sys.stderr)
        return 130
