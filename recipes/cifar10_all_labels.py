"""The 9-layer network with all 50,000 labels of CIFAR-10: what the auto-encoder is worth where labels are plenty.

    python recipes/cifar10_all_labels.py

Makes scae_springenberg9.dae_ft_cifar10 from the zoo's scae_springenberg9.dae_cifar10, or from the auto-encoder that
--from names (cifar10_4k_labels.py makes it), and curves.png, the test accuracy against the passes. The control is the
same network from random weights, trained in the same way. The paper has no such row; Springenberg et al. 2015 have
90.92 % without augmentation and 92.75 % with (All-CNN-C, 350 passes).
"""

import argparse

from scae_zoo.experiments.comparison import Arm, chosen, compare
from scae_zoo.experiments.experiment import experiment
from scae_zoo.factory import find_checkpoint
from scae_zoo.methods.finetuning import FineTuning
from scae_zoo.places import expand

ARCHITECTURE = 'scae_springenberg9'
FINETUNING = {
    'cpu': FineTuning(epochs=12, crop=29, batch_size=128, pad=2, cutout=0.25, label_smoothing=0.1, ema=0.99,
                      weight_decay=0.5),
    'gpu': FineTuning(epochs=80, crop=29, batch_size=512, lr=6e-3, pad=2, cutout=0.25, label_smoothing=0.1, ema=0.99,
                      weight_decay=0.5),
    'smoke': FineTuning(epochs=1, crop=29, batch_size=16),
}


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--from', dest='source', metavar='RUN_OR_CHECKPOINT', type=expand,
                        default=f'{ARCHITECTURE}.dae_cifar10',
                        help='auto-encoder: the folder of a run or a checkpoint, or a name (default: %(default)s)')


def main() -> None:
    with experiment(__doc__, 'torch/cifar10', seeds=(0,), rows=True, any_data=True,
                    options=add_options) as e:
        source = find_checkpoint(e.args.source, 'autoencoder')
        source.require_architecture(ARCHITECTURE)
        arms = Arm('no pre-training', None), Arm('pre-training', source)
        chosen(arms, e)
        train, test = e.images('train', 32), e.images('test', 32)
        name = f'{ARCHITECTURE}.dae_ft_{e.dataset}'
        e.ship(compare(e, name, arms, e.pick(**FINETUNING), train, lambda seed: train, test, curves=True))


if __name__ == '__main__':
    main()
