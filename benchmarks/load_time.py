"""Time to import and load a pretrained encoder, against a timm ResNet-18 from a local file, both with the network off;
and of the start of the ``scae`` command, against that of torch.

    python benchmarks/load_time.py

Each line is a fresh interpreter; the pairs alternate, and the ratio of the medians of one run is what counts.
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

from scae_zoo.cli.arguments import whole_number

OURS = "import timm, scae_zoo; m = timm.create_model('scae_springenberg9', pretrained=True)"
TORCH = 'import torch'
STARTS = {f'scae {words}': f"import sys; sys.argv = ['scae', '{words}']; import scae_command; scae_command.main()"
          for words in ('--help', 'list')}
THEIRS = "import timm; m = timm.create_model('resnet18', pretrained=True, pretrained_cfg_overlay={{'file': {!r}}})"


def seconds(code: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, '-c', code], check=True, env={**os.environ, 'HF_HUB_OFFLINE': '1'},
                   stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--repeats', type=whole_number(1), default=7,
                        help='measurements of each (default: %(default)s)')
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / 'resnet18.safetensors')
        save_file(timm.create_model('resnet18').state_dict(), path)
        codes = {'scae_springenberg9': OURS, 'resnet18': THEIRS.format(path), 'torch': TORCH, **STARTS}
        times: dict[str, list[float]] = {name: [] for name in codes}
        for repeat in range(args.repeats + 1):
            for name, code in codes.items():
                elapsed = seconds(code)
                if repeat:  # the first one warms the file cache
                    times[name].append(elapsed)
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, median in medians.items():
        print(f'{name:<20}{median:.2f} s median of {args.repeats} ({min(times[name]):.2f}-{max(times[name]):.2f})')
    for name, peer in (('scae_springenberg9', 'resnet18'), *((name, 'torch') for name in STARTS)):
        print(f'{name} / {peer}: {medians[name] / medians[peer]:.2f}')


if __name__ == '__main__':
    main()
