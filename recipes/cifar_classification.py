"""Table 1: the 15-layer all-convolutional network with all labels of CIFAR-10 (or --data torch/cifar100).

    python recipes/cifar_classification.py

Makes scae_allconv15.dae_cifar10, .dae_noskip_cifar10 and .dae_ft_cifar10, and curves.png, the test accuracy against the
passes. The control is the same network from random weights, trained in the same way.
"""

from scae_zoo.experiments.comparison import Arm, chosen, compare
from scae_zoo.experiments.experiment import experiment
from scae_zoo.methods.finetuning import FineTuning
from scae_zoo.methods.pretraining import Pretraining

ARCHITECTURE = 'scae_allconv15'
PRETRAINING = {
    'cpu': Pretraining(epochs=3, crop=29, first_crop=18, corruption='gaussian:5-50'),
    'gpu': Pretraining(epochs=24, crop=29, batch_size=512, lr=6e-3, corruption='gaussian:5-50'),
    'smoke': Pretraining(epochs=1, crop=29, batch_size=16),
}
FINETUNING = {
    'cpu': FineTuning(epochs=16, crop=29, first_crop=18, batch_size=128, pad=2, cutout=0.25, label_smoothing=0.1,
                      ema=0.99, weight_decay=0.5),
    'gpu': FineTuning(epochs=80, crop=29, batch_size=512, lr=6e-3, pad=2, cutout=0.25, label_smoothing=0.1, ema=0.99,
                      weight_decay=0.5),
    'smoke': FineTuning(epochs=1, crop=29, batch_size=16),
}
PAPER = {  # random Gaussian, without shortcut, with shortcut
    'cifar10': ('93.95', '92.07', '95.15'),
    'cifar100': ('74.11', '70.21', '75.41'),
}


def main() -> None:
    with experiment(__doc__, 'torch/cifar10', rows=True, any_data=True) as e:
        dataset, pretraining = e.dataset, e.pick(**PRETRAINING)
        paper = PAPER.get(dataset, ('', '', ''))
        arms = (
            Arm('random Gaussian', None, '', paper[0]),
            Arm('pre-training, no shortcut', pretraining.replace(shortcuts=False), f'dae_noskip_{dataset}', paper[1]),
            Arm('pre-training', pretraining, f'dae_{dataset}', paper[2]),
        )
        chosen(arms, e)
        train, test = e.images('train', 32), e.images('test', 32)
        name = f'{ARCHITECTURE}.dae_ft_{dataset}'
        e.ship(compare(e, name, arms, e.pick(**FINETUNING), train, lambda seed: train, test, curves=True))


if __name__ == '__main__':
    main()
