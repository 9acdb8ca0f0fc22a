"""Table 2: CIFAR-10 with 4,000 labels, the 9-layer network; all 50,000 images are seen without labels.

    python recipes/cifar10_4k_labels.py --data-dir data/cifar10

Makes scae_springenberg9.dae_cifar10_noflip, .dae_noskip_cifar10_noflip and .dae_ft_cifar10_4k. A seed draws the 400
labelled images of each class. No flips, as in the paper.
"""

from scae_zoo.training.data import ImageSet
from scae_zoo.training.experiment import Arm, experiment
from scae_zoo.training.finetuning import FineTuning
from scae_zoo.training.pretraining import Pretraining

ARCHITECTURE = 'scae_springenberg9'
PRETRAINING = {
    'cpu': Pretraining(epochs=16, crop=29, flip=False, corruption='gaussian:5-50', lr=1.5e-3),
    'gpu': Pretraining(epochs=200, crop=29, flip=False, corruption='gaussian:5-50', lr=1.5e-3),
    'smoke': Pretraining(epochs=1, crop=29, flip=False, batch_size=16),
}
FINETUNING = {
    'cpu': FineTuning(epochs=40, crop=29, flip=False, batch_size=64, lr=1e-3, drop_rate=0.5, down_drop_rate=0.5),
    'gpu': FineTuning(epochs=200, crop=29, flip=False, batch_size=64, lr=1e-3, drop_rate=0.5, down_drop_rate=0.5),
    'smoke': FineTuning(epochs=1, crop=29, flip=False, batch_size=8),
}
LABELS_PER_CLASS = {'cpu': 400, 'gpu': 400, 'smoke': 4}


def main() -> None:
    with experiment(__doc__, 'torch/cifar10', seeds=range(5)) as e:
        train, test = e.images('train', 32), e.images('test', 32)
        pretraining, labels = e.pick(**PRETRAINING), e.pick(**LABELS_PER_CLASS)

        def labelled(seed: int) -> ImageSet:
            return train.subset(train.per_class(labels, seed)[0], f'{labels} labels per class, seed {seed}')

        arms = (
            Arm('no pre-training', None, '', '70.89 ± 0.30'),
            Arm('pre-training, no shortcut', pretraining.replace(shortcuts=False), 'dae_noskip_cifar10_noflip',
                '74.07 ± 0.43'),
            Arm('pre-training', pretraining, 'dae_cifar10_noflip', '80.22 ± 0.37'),
        )
        e.ship(e.compare(f'{ARCHITECTURE}.dae_ft_cifar10_4k', arms, e.pick(**FINETUNING), train, labelled, test))


if __name__ == '__main__':
    main()
