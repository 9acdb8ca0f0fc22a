"""What it brings that the C library keeps freed memory (`scae_zoo.memory`), against its default, in training.

    python benchmarks/kept_memory.py --networks scae_springenberg9 scae_swwae --batch-size 32 --steps 4

Each measurement is a `throughput.py` of its own; the two ways alternate, and the ratio of the medians is what counts.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from engine import add_json, write_json

from scae_zoo.cli.arguments import whole_number
from scae_zoo.models.architectures import ARCHITECTURES

AS_BY_DEFAULT = {'GLIBC_TUNABLES': 'glibc.malloc.tcache_count=7'}  # its own value: then `scae_zoo.memory` does nothing


def measured(options: list[str], environment: dict[str, str]) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / 'figures.json'
        subprocess.run([sys.executable, Path(__file__).with_name('throughput.py'), *options, '--repeats', '1', '--json',
                        file], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                       env=os.environ | environment)
        return json.loads(file.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    count = whole_number(1)
    parser.add_argument('--networks', nargs='+', choices=list(ARCHITECTURES), default=list(ARCHITECTURES))
    parser.add_argument('--batch-size', type=count, default=32, help='(default: %(default)s)')
    parser.add_argument('--steps', type=count, default=4, help='steps of one measurement (default: %(default)s)')
    parser.add_argument('--repeats', type=count, default=3, help='measurements of each (default: %(default)s)')
    add_json(parser)
    args = parser.parse_args()
    if any(name.startswith(('MALLOC_', 'GLIBC_TUNABLES')) for name in os.environ):
        raise SystemExit('kept_memory: error: the environment says how memory is kept; unset MALLOC_... and '
                         'GLIBC_TUNABLES')
    options = ['--device', 'cpu', '--batch-size', str(args.batch_size), '--steps', str(args.steps), '--networks',
               *args.networks]
    runs: dict[str, list[list[dict[str, Any]]]] = {'kept': [], 'by default': []}
    for _ in range(args.repeats):
        runs['kept'].append(measured(options, {}))
        runs['by default'].append(measured(options, AS_BY_DEFAULT))
    print('| network | task | kept, of by default | images/s kept | by default |')
    print('| --- | --- | --- | --- | --- |')
    rows = []
    for number, row in enumerate(runs['kept'][0]):
        kept, default = (statistics.median(run[number]['images_per_second'] for run in each) for each in runs.values())
        rows.append({'network': row['network'], 'task': row['task'], 'ratio': kept / default, 'kept': kept,
                     'by_default': default})
        print(f'| {row["network"]} | {row["task"]} | {kept / default:.2f} | {kept:.1f} | {default:.1f} |')
    write_json(args, rows)


if __name__ == '__main__':
    main()
