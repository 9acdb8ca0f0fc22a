"""Time to import and load a pretrained encoder, against a timm ResNet-18 from a local file, both with the network off.

    python benchmarks/load_time.py

Each line is a fresh interpreter; the two alternate, and the ratio of the medians of one run is what counts.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import timm
from safetensors.torch import save_file

from scae_zoo.cli.options import whole_number

OURS = "import timm, scae_zoo; m = timm.create_model('scae_springenberg9', pretrained=True)"
THEIRS = "import timm; m = timm.create_model('resnet18', pretrained=True, pretrained_cfg_overlay={{'file': {!r}}})"


def seconds(code: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, '-c', code], check=True, env={**os.environ, 'HF_HUB_OFFLINE': '1'})
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--repeats', type=whole_number(1), default=7,
                        help='measurements of each (default: %(default)s)')
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / 'resnet18.safetensors')
        save_file(timm.create_model('resnet18').state_dict(), path)
        codes = {'scae_springenberg9': OURS, 'resnet18': THEIRS.format(path)}
        times: dict[str, list[float]] = {name: [] for name in codes}
        for repeat in range(args.repeats + 1):
            for name, code in codes.items():
                elapsed = seconds(code)
                if repeat:  # the first one warms the file cache
                    times[name].append(elapsed)
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, median in medians.items():
        print(f'{name:<20}{median:.2f} s median of {args.repeats} ({min(times[name]):.2f}-{max(times[name]):.2f})')
    print(f'ratio               {medians["scae_springenberg9"] / medians["resnet18"]:.2f}')


if __name__ == '__main__':
    main()
