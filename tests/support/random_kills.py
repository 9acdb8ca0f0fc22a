"""Kill training at random moments, let it go on, and compare its end with that of a run that was never killed:
``python -m tests.support.random_kills --kills 20``."""

import argparse
import hashlib
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from .processes import Process, scae

OPTIONS = '--model scae_springenberg9 --tag killed --size 20 --crop 17 --batch-size 8 --epochs 3 --save-seconds 0.01'
COMMANDS = {
    'pretrain': '',
    'finetune': '--ema 0.9 --drop-rate 0.2 --in-drop-rate 0.1 --mixup 0.2 --accumulate 2',
}
MOMENTS = {  # what is in the run's folder just before
    'at any moment': None,
    'while it saves': '.state.safetensors.partial',
    'while it writes the checkpoint': '.scae_springenberg9.killed.*',
}


class Kill(NamedTuple):
    """What was killed, when, how many seconds after its start, what that left half-written, and how the run ended."""

    command: str
    moment: str
    seconds: float
    left: list[str]
    identical: bool


def write_images(folder: Path) -> None:
    """Two classes of 12 images of 20 x 20 pixels."""
    rng = np.random.default_rng(0)
    for name in ('a', 'b'):
        (folder / name).mkdir(parents=True)
        for i in range(12):
            coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8))
            coarse.resize((20, 20), Image.Resampling.BICUBIC).save(folder / name / f'{i}.png')


def start(command: str, images: Path, out: Path) -> Process:
    """The command, with a cache of its own, so that decoding is killed too."""
    args = [command, str(images), *OPTIONS.split(), *COMMANDS[command].split(), '-o', str(out)]
    return Process(out.with_suffix('.log'), scae, *args, SCAE_ZOO_CACHE=str(out.with_suffix('.cache')))


def end(command: str, images: Path, out: Path) -> list[str]:
    """Let a run go on to its end; the digests of its weights, and its log but for the times."""
    ended = start(command, images, out).wait()
    if ended.returncode:
        raise RuntimeError(f'{command} failed: {ended.stderr}')
    rows = [json.loads(line) for line in (out / 'log.jsonl').read_text().splitlines()]
    weights = sorted(out.glob('scae_*/*.safetensors'))
    assert weights
    return [*(hashlib.sha256(path.read_bytes()).hexdigest() for path in weights),
            *(str((row['epoch'], row['loss'], row['lr'])) for row in rows)]


def kill(process: Process, after: float, out: Path, pattern: str | None, delay: float) -> bool:
    """SIGKILL ``after`` seconds, or ``delay`` after the pattern's next file from then on; False: it ended before."""
    started = time.monotonic()
    while process.returncode is None:
        if time.monotonic() - started >= after and (pattern is None or any(out.glob(pattern))):
            time.sleep(delay if pattern else 0)
            break
        time.sleep(0.001)
    return process.kill() < 0


def random_kills(number: int, folder: Path, seed: int = 0) -> Iterator[Kill]:
    """Kill runs again and again; after each kill a copy of the run goes on to its end."""
    rng = random.Random(seed)
    images = folder / 'images'
    write_images(images)
    Process(folder / 'first.log', int).wait()  # not timed: it starts the process that all others are forked from
    expected, life = {}, {}
    for i in range(number):
        command = list(COMMANDS)[i % len(COMMANDS)]
        moment = list(MOMENTS)[i % len(MOMENTS)]
        out, copy = folder / command, folder / 'copy'
        if command not in expected:
            started = time.monotonic()
            expected[command] = end(command, images, folder / f'{command}-reference')
            life[command] = time.monotonic() - started
        while True:
            started = time.monotonic()
            after = rng.uniform(0, life[command]) if moment != 'while it writes the checkpoint' else 0.
            if kill(start(command, images, out), after, out, MOMENTS[moment], rng.uniform(0, 0.03)):
                break
            for ended in (out, out.with_suffix('.cache')):  # another run is killed instead
                shutil.rmtree(ended)
        seconds = time.monotonic() - started
        out.mkdir(exist_ok=True)
        left = [path.name for path in out.glob('.*') if path.name != '.lock']
        shutil.copytree(out, copy)
        ended_as = end(command, images, copy)
        identical = ended_as == expected[command] and {p.name for p in copy.glob('.*')} == {'.lock'}
        shutil.rmtree(copy)
        yield Kill(command, moment, seconds, left, identical)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--kills', type=int, default=20)
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    identical = 0
    with tempfile.TemporaryDirectory() as folder:
        for number, killed in enumerate(random_kills(args.kills, Path(folder), args.seed), 1):
            identical += killed.identical
            print(f'{number:3}  {killed.command} {killed.moment}, after {killed.seconds:.2f} s, '
                  f'left {", ".join(killed.left) or "nothing"} half-written: '
                  f'{"identical end" if killed.identical else "ANOTHER END"}', flush=True)
    print(f'{args.kills} kills, {identical} identical ends')
    return int(identical < args.kills)


if __name__ == '__main__':
    sys.exit(main())
