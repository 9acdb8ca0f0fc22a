"""The folder of a run: its configuration, its last good state, its log; whatever is written is whole or not there."""

import contextlib
import json
import os
import signal
import sys
import threading
import time
import traceback
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from platform import node
from typing import Any

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from ..checkpoints.folder import ENCODER, RUN
from ..errors import TrainingError
from ..places import expand_path, sync

STATE, LOG, ENVIRONMENTS, STATUS = 'state.safetensors', 'log.jsonl', 'environments.json', 'status.json'


def _write_whole(path: Path, write: Callable[[Path], object]) -> None:
    partial = path.with_name(f'.{path.name}.partial')
    try:
        write(partial)
        sync(partial)
        os.replace(partial, path)
        sync(path.parent)
    except OSError as error:
        kept = ' the last state is kept;' if path.exists() else ''
        raise TrainingError(
            f'{path}: cannot be written ({error.strerror});{kept} make room, then run the same command') from None
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Take the end of a batch job (SIGTERM) and of a terminal (SIGHUP) as Ctrl-C, where nobody has decided otherwise,
    as ``nohup`` does; processes of ``torchrun`` end at once, as it expects."""
    taken = []
    if threading.current_thread() is threading.main_thread() and 'WORLD_SIZE' not in os.environ:
        taken = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is signal.SIG_DFL]
    for number in taken:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def _now() -> str:
    return time.strftime('%Y-%m-%d %H:%M:%S %z')


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    _write_whole(path, lambda p: p.write_text(json.dumps(content, indent=2) + '\n'))


def _checksum(tensors: Mapping[str, torch.Tensor]) -> int:
    value = 0
    for key in sorted(tensors):
        value = zlib.crc32(tensors[key].reshape(-1).view(torch.uint8).numpy().tobytes(), value)
    return value


class RunFolder:
    """A run's folder, held by one process at a time.

    Args:
        folder: Made if need be.
        config: Everything that the result depends on. A folder that holds another configuration is refused.
    """

    def __init__(self, folder: str | Path, config: Mapping[str, Any]) -> None:
        self.folder = expand_path(folder)
        self.config = json.loads(json.dumps(config))

    @contextmanager
    def held(self, wait: bool = False) -> Iterator['RunFolder']:
        """Lock the folder and check its configuration, for the length of a run; ``wait`` for another process to end."""
        if (self.folder / 'config.json').is_file() and (self.folder / ENCODER).is_file():
            raise TrainingError(f'{self.folder}: is a checkpoint, into which no run is written; give another --out')
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / '.lock')
            try:
                lock.acquire(timeout=0)
            except Timeout:
                if not wait:
                    raise
                print(f'{self.folder}: another process trains here; waiting for it to end', file=sys.stderr)
                lock.acquire()
        except Timeout:
            raise TrainingError(
                f'{self.folder}: another process trains here; wait for it, or give another --out') from None
        except OSError as error:
            raise TrainingError(f'{self.folder}: cannot be written ({error.strerror}); give another --out') from None
        try:
            self._check_config()
            yield self
        finally:
            lock.release()

    def _check_config(self) -> None:
        path = self.folder / RUN
        if not path.exists():
            for made in (STATE, self.config.get('checkpoint')):
                if made and (self.folder / made).exists():
                    raise TrainingError(f'{self.folder}: holds a {made} but no {RUN}; give another --out')
            _write_whole(path, lambda p: p.write_text(json.dumps(self.config, indent=2) + '\n'))
            return
        try:
            there = dict(json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            raise TrainingError(f'{path}: cannot be read; give another --out, or remove the folder') from None
        wrong = [key for key in {**there, **self.config} if there.get(key) != self.config.get(key)]
        if wrong:
            differences = ', '.join(f'{key} {there.get(key)} there and {self.config.get(key)} here' for key in wrong)
            raise TrainingError(
                f'{self.folder}: belongs to another configuration ({differences}); '
                'give another --out, the same options, or remove the folder')

    def note_environment(self, environment: Mapping[str, Any]) -> None:
        """Add what a run goes on with, code, versions and hardware, where it is not what it was stopped with."""
        path = self.folder / ENVIRONMENTS
        try:
            before = json.loads(path.read_text()) if path.exists() else [{'git_revision': 'unknown'}] * self.has_state
        except (OSError, ValueError):
            raise TrainingError(f'{path}: cannot be read; remove it') from None
        if before[-1:] != [environment]:
            _write_whole(path, lambda p: p.write_text(json.dumps([*before, environment], indent=2) + '\n'))

    @contextmanager
    def status_kept(self, rank: int = 0) -> Iterator[None]:
        """Keep in ``status.json`` who trains here, and what ended it: a terminal's words are lost with the machine. A
        process that is killed says nothing at all, so the next one says it. Processes but the first have a file of
        their own, ``status-1.json``, which stays only if they fail."""
        path = self.folder / (f'status-{rank}.json' if rank else STATUS)
        if rank == 0 and (last := self._silent()):
            causes = ', '.join(sorted(each.name for each in self.folder.glob('status-*.json')))
            print(f'{self.folder}: the process that trained here before (number {last["process"]} on {last["host"]}, '
                  f'since {last["since"]}) ended without a word: it was killed, for want of memory perhaps, or the '
                  f'disk was full{f"; see {causes}" * bool(causes)}; going on', file=sys.stderr)
        status = {'state': 'training', 'process': os.getpid(), 'host': node(), 'since': _now()}
        _write_json(path, status)
        try:
            with stopped_by_signals():
                yield
        except BaseException as error:
            status |= {'state': 'stopped', 'until': _now()} if isinstance(error, KeyboardInterrupt) else {
                'state': 'failed', 'until': _now(), 'error': ' '.join(f'{type(error).__name__}: {error}'.split()),
                'traceback': traceback.format_exc().splitlines()}
            with contextlib.suppress(TrainingError):  # a full disk, which is what the error says
                _write_json(path, status)
            raise
        if rank:
            path.unlink(missing_ok=True)
        else:
            _write_json(path, {**status, 'state': 'ended', 'until': _now()})

    def note_ended(self) -> None:
        """Note that the run has ended, where its process was killed just before it could."""
        if last := self._silent():
            _write_json(self.folder / STATUS, {**last, 'state': 'ended', 'until': _now()})

    def _silent(self) -> dict[str, Any]:
        """The status of a process that did not say how it ended: we hold the folder, so that it trains no more."""
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            last = dict(json.loads((self.folder / STATUS).read_text()))
            if last['state'] == 'training' and {'process', 'host', 'since'} <= last.keys():
                return last
        return {}

    @property
    def has_state(self) -> bool:
        return (self.folder / STATE).is_file()

    def save_state(self, tensors: Mapping[str, torch.Tensor], record: Mapping[str, Any]) -> None:
        """Replace the log by this history, then the state by this one."""
        rows = ''.join(json.dumps(row) + '\n' for row in record['history'])
        # first: after the last state there is nothing left to do that would write the log again
        _write_whole(self.folder / LOG, lambda p: p.write_text(rows))
        stored = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
        metadata = {'record': json.dumps(record), 'checksum': str(_checksum(stored))}
        # not by save_file: that writes by way of a file of its own, which a kill would leave behind
        _write_whole(self.folder / STATE, lambda p: p.write_bytes(save(stored, metadata)))

    def load_state(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        path = self.folder / STATE
        try:
            with safe_open(path, 'pt') as file:
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
                if str(_checksum(tensors)) != file.metadata()['checksum']:
                    raise ValueError('its checksum is wrong')
                return tensors, json.loads(file.metadata()['record'])
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise TrainingError(
                f'{path}: cannot be read ({error}); remove it to start this run again from the beginning') from None
