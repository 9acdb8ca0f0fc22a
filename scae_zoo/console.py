"""Standard output and errors that end nothing: they may be closed, as a service's are, or their disk may be full."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

STOPPED = 'stopped; the same command goes on from here'  # by Ctrl-C


class _Stream:
    """A stream that loses what it cannot write.

    Args:
        stream: Where it writes to.
        fatal: The faults that end us all the same.
    """

    def __init__(self, stream: TextIO, *fatal: type[OSError]) -> None:
        self.stream = stream
        self.fatal = fatal
        self.fault: OSError | None = None

    def write(self, text: str) -> int:
        try:
            return self.stream.write(text)
        except self.fatal:
            raise
        except OSError as error:
            self.fault = error
            return len(text)

    def flush(self) -> None:
        try:
            self.stream.flush()
        except self.fatal:
            raise
        except OSError as error:
            self.fault = error

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def fault_of(error: Exception) -> str:
    """What a program says of an error that ends it: of a file or folder, its name first."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f'{error.filename}: cannot be used ({error.strerror}); mend that, or give another place'
    return str(error)


@contextmanager
def console() -> Iterator[None]:
    """Print as a program does: what cannot be printed ends nothing inside, and is said at the end.

    Names of files that are no text are printed with escapes. Where a stream was closed, and Python has None, it is
    there and goes nowhere.

    Raises:
        BrokenPipeError: Nobody reads the output any more, as after ``| head``.
        OSError: At the end: something could not be printed.
    """
    before = sys.stdout, sys.stderr
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == 'strict':
        sys.stdout.reconfigure(errors='backslashreplace')
    output = _Stream(sys.stdout or open(os.devnull, 'w'), BrokenPipeError)  # noqa: SIM115  (to our end)
    errors = _Stream(sys.stderr or open(os.devnull, 'w'))  # noqa: SIM115
    sys.stdout, sys.stderr = cast(TextIO, output), cast(TextIO, errors)
    try:
        yield
        output.flush()
        if output.fault:
            raise OSError(f'what is printed cannot be written ({output.fault.strerror}); make room, or print elsewhere')
    finally:
        for each in (output, errors):
            try:
                each.stream.flush()
            except OSError:  # else Python would try again, and complain, at its end
                os.dup2(os.open(os.devnull, os.O_WRONLY), each.stream.fileno())
        sys.stdout, sys.stderr = before


def is_main_process() -> bool:
    """Whether this is the first of the processes that ``torchrun`` started, or there is one."""
    return os.environ.get('RANK', '0') == '0'
