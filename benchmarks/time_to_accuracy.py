"""Wall time of fine-tuning to an accuracy on CIFAR-10's test images, with the settings of cifar_classification.py.

    python benchmarks/time_to_accuracy.py --data-dir DIR --passes 8 16 32 --seeds 0 1 2

A run of each length and seed, since the learning rate falls to nothing at the end of a run. The time is that of the
training engine from its first step to its last, with the states that it saves; loading the images, the final
measurement and a first short run, which warms the machine up and compiles, are apart, as in airbench (95 % in 10.4 s
and 96 % in 27.3 s on an A100). Network and auto-encoder: those of --from, or scae_allconv15 from random weights.
"""

import argparse
import json
import runpy
import statistics
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import torch

from scae_zoo.checkpoints import Checkpoint
from scae_zoo.training.cache import load
from scae_zoo.training.data import ImageSet
from scae_zoo.training.distributed import world
from scae_zoo.training.experiment import mean_and_std
from scae_zoo.training.finetuning import FineTuning, finetune
from scae_zoo.training.runs import RunOptions, find_checkpoint
from scae_zoo.training.sources import find_source

RECIPE = Path(__file__).parents[1] / 'recipes' / 'cifar_classification.py'
TARGETS = 94, 95, 96


class Result(NamedTuple):
    seconds: float
    accuracy: float
    mirrored: float


def measure(train: ImageSet, test: ImageSet, settings: FineTuning, source: Checkpoint | None, **options: Any) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        name = f'{source.architecture if source else "scae_allconv15"}.timed'
        checkpoint = finetune(name, source, train, settings, RunOptions(Path(folder), **options), test)
        log = (Path(folder) / 'log.jsonl').read_text().splitlines()
        accuracy = checkpoint.metrics['accuracy']
    return Result(json.loads(log[-1])['seconds'], accuracy['value'], accuracy['flip_average'])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', default='torch/cifar10', help='(default: %(default)s)')
    parser.add_argument('--data-dir', type=Path, help='folder with train/ and test/, or where the named set lies')
    parser.add_argument('--budget', choices=('smoke', 'cpu', 'gpu'), default='gpu', help='settings of the recipe')
    parser.add_argument('--passes', type=int, nargs='+', default=[8, 16, 32])
    parser.add_argument('--seeds', type=int, nargs='+', default=[0])
    parser.add_argument('--batch-size', type=int)
    parser.add_argument('--first-crop', type=int)
    parser.add_argument('--from', dest='source', metavar='RUN_OR_CHECKPOINT', help='auto-encoder to start from')
    parser.add_argument('--compile', action='store_true')
    parser.add_argument('--device')
    args = parser.parse_args()
    given = {key: getattr(args, key) for key in ('batch_size', 'first_crop') if getattr(args, key) is not None}
    base: FineTuning = runpy.run_path(str(RECIPE))['FINETUNING'][args.budget].replace(**given)
    place = str(args.data_dir) if args.data_dir and (args.data_dir / 'train').is_dir() else args.data
    train, test = (load(find_source(place, split, root=args.data_dir), 32) for split in ('train', 'test'))
    source = find_checkpoint(args.source, 'autoencoder') if args.source else None
    with world(args.device) as where:
        def timed(data: ImageSet, passes: int, seed: int) -> Result:
            return measure(data, test, base.replace(epochs=passes, seed=seed), source,
                           world=where, compile_model=args.compile)

        timed(train.subset(torch.arange(min(len(train), 4 * base.batch_size)), 'to warm up'), 2, 0)
        results = {passes: [timed(train, passes, seed) for seed in args.seeds] for passes in args.passes}
    print('| passes | seconds | accuracy (%) | mirrored as well (%) | seeds |\n| --- | --- | --- | --- | --- |')
    for passes, values in results.items():
        figures = ' | '.join(mean_and_std(column) for column in zip(*values, strict=True))
        print(f'| {passes} | {figures} | {len(values)} |')
    for target in TARGETS:
        times = [statistics.mean(value.seconds for value in values) for values in results.values()
                 if statistics.mean(value.accuracy for value in values) >= target]
        print(f'{target} %: {f"{min(times):.1f} s" if times else "not reached"}')


if __name__ == '__main__':
    main()
