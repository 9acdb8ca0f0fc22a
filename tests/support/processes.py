"""Processes and scripts of the tests. To import torch and timm takes a process seconds: these are forked from one that
has them already, but nothing of ours, so that each starts at once."""

import contextlib
import gc
import io
import multiprocessing
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch

ROOT = Path(__file__).parents[2]
_CONTEXT = multiprocessing.get_context('forkserver')
_CONTEXT.set_forkserver_preload(['timm', 'matplotlib.figure', 'sklearn.metrics', 'torchmetrics'])


class Process:
    """``function(*args)`` in a process of its own, in the working directory and with the environment variables of now
    and others besides. It prints into the files ``log.out`` and ``log.err``, and may be killed."""

    def __init__(self, log: Path, function: Callable[..., Any], *args: Any, **environment: str) -> None:
        self.output, self.errors = log.with_suffix('.out'), log.with_suffix('.err')
        log.parent.mkdir(parents=True, exist_ok=True)
        self._process = _CONTEXT.Process(target=_run, daemon=True, args=(
            (self.output, self.errors), Path.cwd(), {**os.environ, **environment}, function, args))
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs, below 0 where a signal has ended it."""
        return self._process.exitcode

    def wait(self, seconds: float = 120) -> 'subprocess.CompletedProcess[str]':
        """Its end, which is an error after that time."""
        self._process.join(seconds)
        assert self.returncode is not None, f'still running\n{self.errors.read_text()}'
        return subprocess.CompletedProcess(
            (), self.returncode, self.output.read_text(), self.errors.read_text())

    def kill(self) -> int:
        """SIGKILL, where it has not ended; how it has ended."""
        self._process.kill()
        self._process.join()
        assert self.returncode is not None
        return self.returncode


def _run(
        files: tuple[Path, Path],
        folder: Path,
        environment: dict[str, str],
        function: Callable[..., Any],
        args: tuple[Any, ...],
) -> None:
    for descriptor, path in enumerate(files, 1):
        with path.open('wb') as file:
            os.dup2(file.fileno(), descriptor)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    torch.set_num_threads(1)
    gc.freeze()  # or a collection would touch, and so copy, all that was imported before the fork
    sys.exit(function(*args))


def call(function: Callable[..., Any], *args: Any) -> 'subprocess.CompletedProcess[str]':
    """The same in this process."""
    code: Any
    with contextlib.redirect_stdout(io.StringIO()) as output, contextlib.redirect_stderr(io.StringIO()) as errors:
        try:
            code = function(*args)
        except SystemExit as stopped:
            code = stopped.code
        if isinstance(code, str):  # as Python does
            print(code, file=sys.stderr)
            code = 1
    return subprocess.CompletedProcess(args, code or 0, output.getvalue(), errors.getvalue())


def scae(*args: str) -> int:
    """The ``scae`` command as it is installed."""
    import scae_command
    with mock.patch.object(sys, 'argv', ['scae', *args]):
        return scae_command.main()


def script(path: Path, *args: str) -> None:
    """``python path args``"""
    with (
            mock.patch.object(sys, 'argv', [str(path), *args]),
            mock.patch.object(sys, 'path', [str(path.parent), *sys.path])):
        runpy.run_path(str(path), run_name='__main__')


def code(text: str, *args: str) -> None:
    """``python -c text args``"""
    with mock.patch.object(sys, 'argv', ['-c', *args]):
        exec(text, {'__name__': '__main__'})
