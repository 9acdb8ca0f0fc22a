"""Standard output and errors, where nobody has opened them or they cannot take what is printed."""

import io
import os
import sys


def open_streams() -> None:
    """Print to nowhere where stdout or stderr was closed, as a service's may be: Python has None there then, which
    tqdm cannot write to. Names of files that are no text are printed with escapes."""
    for name in ('stdout', 'stderr'):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, 'w'))  # noqa: SIM115  (for as long as the process runs)
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == 'strict':
        sys.stdout.reconfigure(errors='backslashreplace')


def end_output() -> None:
    """Print what is waiting to be; lose what cannot be, or Python would try again, and complain, at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
