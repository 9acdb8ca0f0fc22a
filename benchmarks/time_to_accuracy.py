"""Wall time of fine-tuning to an accuracy on CIFAR-10's test images, with the settings of cifar_classification.py.

    TMPDIR=/dev/shm python benchmarks/time_to_accuracy.py --data-dir DIR --passes 8 16 32 --seeds 0 1 2

A run of each length and seed, since the learning rate falls to nothing at the end of a run. The time is that of the
training engine from its first step to its last, with the states that it saves in between (a minute apart, in TMPDIR).
Not in it: the last state, loading the images, a first short run, which warms the machine up and compiles, the estimate
of the batch norms' statistics after training, and the measurement on the test images; with --from, pre-training.
airbench's clock has its measurement in it, and its 95 % in 10.4 s and 96 % in 27.3 s on an A100 are averaged over
mirrored and shifted images.
Network and auto-encoder: those of --from, or scae_allconv15 from random weights.
"""

import argparse
import contextlib
import json
import runpy
import statistics
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import torch
from engine import benchmark

from scae_zoo.checkpoints.folder import Checkpoint
from scae_zoo.cli.arguments import whole_number
from scae_zoo.data.cache import load
from scae_zoo.data.image_set import ImageSet
from scae_zoo.data.sources import find_source
from scae_zoo.data.splits import split_name
from scae_zoo.experiments.experiment import BUDGETS, mean_and_std
from scae_zoo.factory import find_checkpoint
from scae_zoo.methods.finetuning import FineTuning, finetune
from scae_zoo.methods.runs import RunOptions
from scae_zoo.places import expand, expand_path

RECIPE = Path(__file__).parents[1] / 'recipes' / 'cifar_classification.py'
TARGETS = 94, 95, 96


class Result(NamedTuple):
    seconds: float
    accuracy: float
    mirrored: float


def measure(
        train: ImageSet,
        test: ImageSet,
        settings: FineTuning,
        source: Checkpoint | None,
        options: RunOptions,
) -> Result:
    name = f'{source.architecture if source else "scae_allconv15"}.timed'
    with contextlib.redirect_stdout(sys.stderr):
        accuracy = finetune(name, source, train, settings, options, test).metrics['accuracy']
    log = (options.out / 'log.jsonl').read_text().splitlines()
    return Result(json.loads(log[-1])['seconds'], accuracy['value'], accuracy['flip_average'])


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', default='torch/cifar10', type=expand, help='(default: %(default)s)')
    parser.add_argument('--data-dir', type=expand_path,
                        help='folder with train/ and test/, or where the named set lies')
    parser.add_argument('--budget', choices=BUDGETS, default='gpu', help="the recipe's settings (default: gpu)")
    parser.add_argument('--passes', type=whole_number(1), nargs='+', default=[8, 16, 32], help='(default: 8 16 32)')
    parser.add_argument('--seeds', type=whole_number(0), nargs='+', default=[0], help='(default: 0)')
    parser.add_argument('--batch-size', type=int, help="(default: the recipe's)")
    parser.add_argument('--first-crop', type=int, help="(default: the recipe's)")
    parser.add_argument('--from', dest='source', metavar='RUN_OR_CHECKPOINT', type=expand,
                        help='auto-encoder to start from')
    parser.add_argument('--compile', action='store_true', help='use torch.compile')
    parser.add_argument('--device', help='(default: the GPU if there is one)')
    return parser.parse_args()


def main() -> None:
    args = arguments()
    with benchmark(args.device) as where:
        given = {key: getattr(args, key) for key in ('batch_size', 'first_crop') if getattr(args, key) is not None}
        base: FineTuning = runpy.run_path(str(RECIPE))['FINETUNING'][args.budget].replace(**given)
        in_folders = args.data_dir is not None and split_name(args.data_dir, 'train', in_classes=False) is not None
        place, root = (str(args.data_dir), None) if in_folders else (args.data, args.data_dir)
        train, test = (load(find_source(place, split, root=root), 32) for split in ('train', 'test'))
        if train.multi_label:
            raise ValueError(f'{place}: an image has many labels; accuracy is for images with one label each')
        source = find_checkpoint(args.source, 'autoencoder') if args.source else None

        def timed(data: ImageSet, passes: int, seed: int) -> Result:
            with tempfile.TemporaryDirectory() as folder:
                return measure(data, test, base.replace(epochs=passes, seed=seed), source,
                               RunOptions(Path(folder), where, compile_model=args.compile))

        timed(train.subset(torch.arange(min(len(train), 4 * base.batch_size)), 'to warm up'), 2, 0)
        results: dict[int, list[Result]] = {}
        for passes in args.passes:
            for seed in args.seeds:
                result = timed(train, passes, seed)
                results.setdefault(passes, []).append(result)
                print(f'{passes} passes, seed {seed}: {result.seconds:.1f} s, {result.accuracy:.2f} %, '
                      f'{result.mirrored:.2f} % mirrored as well', flush=True)
    print('| passes | seconds | accuracy (%) | mirrored as well (%) | seeds |\n| --- | --- | --- | --- | --- |')
    for passes, values in results.items():
        figures = ' | '.join(mean_and_std(column) for column in zip(*values, strict=True))
        print(f'| {passes} | {figures} | {len(values)} |')
    means = [Result(*map(statistics.mean, zip(*values, strict=True))) for values in results.values()]
    for target in TARGETS:
        plain = [mean.seconds for mean in means if mean.accuracy >= target]
        mirrored = [mean.seconds for mean in means if mean.mirrored >= target]
        print(f'{target} %: {shortest(plain)}; mirrored as well: {shortest(mirrored)}')


def shortest(times: list[float]) -> str:
    return f'{min(times):.1f} s' if times else 'not reached'


if __name__ == '__main__':
    main()
