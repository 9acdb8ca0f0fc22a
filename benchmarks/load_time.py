"""Time to import the package and load a pretrained encoder, against timm and its ResNet-18 from a local file, with the
network off; the start of the ``scae`` command, against what it needs; and the peak memory of loading.

    python benchmarks/load_time.py

Each figure is of a fresh interpreter; those that are compared alternate, and the ratio of the medians of one run is
what counts. The memory is that which the process had at most, less what it had at most when all was imported, as a
multiple of the bytes of the network's weights.
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
from engine import add_json, write_json
from safetensors.torch import save_file

from scae_zoo.cli.arguments import whole_number

OURS = "timm.create_model('scae_springenberg9', pretrained=True)"
THEIRS = "timm.create_model('resnet18', pretrained=True, pretrained_cfg_overlay={{'file': {!r}}})"
COMMAND = 'import sys; sys.argv = {!r}; import scae_command; scae_command.main()'
PAIRS = [  # what is set against what
    ('import timm, scae_zoo', 'import timm'), ('scae_springenberg9', 'resnet18'),
    ('scae --help', 'import torch'), ('scae list', 'import torch'),
    *((f'scae {command} --help', 'import timm') for command in ('predict', 'reconstruct', 'embed'))]
NETWORKS = ("timm.create_model('scae_vgg16', pretrained=True)", "create_autoencoder('scae_vgg16', pretrained=True)")
MEMORY = """
import resource, sys
import timm
from scae_zoo import create_autoencoder
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == 'darwin' else 1024)
before = peak()
model = {}
print(peak() - before, sum(x.nbytes for x in model.state_dict().values()))
"""


def run(code: str) -> tuple[float, str]:
    """Seconds that a fresh interpreter takes, and what it prints."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, '-c', code], check=True, env={**os.environ, 'HF_HUB_OFFLINE': '1'},
                          stdout=subprocess.PIPE, text=True)
    return time.perf_counter() - start, done.stdout


def code_of(name: str, resnet18: str) -> str:
    if name.startswith('scae '):
        return COMMAND.format(name.split())
    networks = {'scae_springenberg9': f'import timm, scae_zoo; {OURS}',
                'resnet18': f'import timm; {THEIRS.format(resnet18)}'}
    return networks.get(name, name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--repeats', type=whole_number(1), default=7,
                        help='measurements of each (default: %(default)s)')
    add_json(parser)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / 'resnet18.safetensors')
        save_file(timm.create_model('resnet18').state_dict(), path)
        times: dict[str, list[float]] = {name: [] for pair in PAIRS for name in pair}
        for repeat in range(args.repeats + 1):
            for name, values in times.items():
                elapsed, _ = run(code_of(name, path))
                if repeat:  # the first one warms the file cache
                    values.append(elapsed)
    medians = {name: statistics.median(values) for name, values in times.items()}
    ratios = {ours: medians[ours] / medians[theirs] for ours, theirs in PAIRS}
    print(f'| start | ratio | set against | seconds, median of {args.repeats} | of the other |')
    print('| --- | --- | --- | --- | --- |')
    for ours, theirs in PAIRS:
        print(f'| {ours} | {ratios[ours]:.2f} | {theirs} | {medians[ours]:.2f} | {medians[theirs]:.2f} |')
    print('\n| loading | peak memory / weights | weights, MB |\n| --- | --- | --- |')
    memory = {}
    for network in NETWORKS:
        peak, weights = map(int, run(MEMORY.format(network))[1].split())
        memory[network] = {'ratio': peak / weights, 'peak_bytes': peak, 'weights_bytes': weights}
        print(f'| {network} | {peak / weights:.2f} | {weights / 1e6:.0f} |')
    write_json(args, {'ratios': ratios, 'seconds': times, 'memory': memory})


if __name__ == '__main__':
    main()
