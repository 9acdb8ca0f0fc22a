"""Table 2: CIFAR-10 with 4,000 labels, the 9-layer network; all 50,000 images are seen without labels.

    python recipes/cifar10_4k_labels.py

Makes scae_springenberg9.dae_cifar10, .dae_noskip_cifar10 and .dae_ft_cifar10_4k. A seed draws the 400 labelled images
of each class. The first three rows are the paper's comparison: random crops and dropout, no flips. Those of the
ablation have what is known today besides, and but for one thing left out or added. `today` is the same with more
passes; the last row, which ships, learns from the images that the network of `today` has labelled besides.
"""

from typing import Any

from scae_zoo.data.image_set import ImageSet
from scae_zoo.experiments.comparison import Arm, SelfTraining, chosen, compare
from scae_zoo.experiments.experiment import experiment
from scae_zoo.methods.finetuning import FineTuning
from scae_zoo.methods.pretraining import Pretraining

ARCHITECTURE = 'scae_springenberg9'
NAME = f'{ARCHITECTURE}.dae_ft_cifar10_4k'
PRETRAINING = {
    'cpu': Pretraining(epochs=8, crop=29, flip=False, corruption='gaussian:5-50'),
    'gpu': Pretraining(epochs=30, crop=29, flip=False, batch_size=512, lr=6e-3, corruption='gaussian:5-50'),
    'smoke': Pretraining(epochs=1, crop=29, flip=False, batch_size=16),
}
PAPER = {
    'cpu': FineTuning(epochs=30, crop=29, flip=False, batch_size=64, drop_rate=0.5, weight_decay=1.5),
    'gpu': FineTuning(epochs=60, crop=29, flip=False, batch_size=64, drop_rate=0.5, weight_decay=1.5),
    'smoke': FineTuning(epochs=1, crop=29, flip=False, batch_size=8),
}
TODAY: dict[str, Any] = dict(flip=True, pad=2, strength=0.25, cutout=0.25, ema=0.999, weight_decay=1.)
CHANGES: dict[str, dict[str, Any]] = {
    'all of today': {},
    'without flips': dict(flip=False),
    'without crops over the border': dict(pad=0),
    'without strong augmentation': dict(strength=0., cutout=0.),
    'without moving average': dict(ema=None),
    'with CutMix': dict(cutmix=1.),
    'with layer-wise learning rate decay': dict(layer_decay=0.7),
}
ABLATION_EPOCHS = {'cpu': 30, 'gpu': 60, 'smoke': 1}
TODAY_EPOCHS = {'cpu': 60, 'gpu': 120, 'smoke': 1}
STUDENT: dict[str, dict[str, Any]] = {
    'cpu': dict(epochs=14),
    'gpu': dict(epochs=40, batch_size=256, lr=6e-3),  # ten times the images of its teacher: larger batches do
    'smoke': dict(epochs=1),
}
SURE = 0.8  # share of each class that the teacher finds, the surest; 92 % of their labels are right (held-out images)
LABELS_PER_CLASS = {'cpu': 400, 'gpu': 400, 'smoke': 4}


def main() -> None:
    with experiment(__doc__, 'torch/cifar10', seeds=range(5), rows=True) as e:
        labels, pretraining, paper = e.pick(**LABELS_PER_CLASS), e.pick(**PRETRAINING), e.pick(**PAPER)
        today = paper.replace(epochs=e.pick(**TODAY_EPOCHS), **TODAY)

        method = Arm('pre-training', pretraining, 'dae_cifar10', '80.22 ± 0.37')
        best = method._replace(row='today', paper='', finetuning=today)
        part = today.replace(epochs=e.pick(**ABLATION_EPOCHS))
        arms = (
            Arm('no pre-training', None, '', '70.89 ± 0.30'),
            method._replace(row='pre-training, no shortcut', pretraining=pretraining.replace(shortcuts=False),
                            tag='dae_noskip_cifar10', paper='74.07 ± 0.43'),
            method,
            *(best._replace(row=f'ablation, {how}', finetuning=part.replace(**changes))
              for how, changes in CHANGES.items()),
            Arm('ablation, without pre-training', None, finetuning=part),
            best,
            best._replace(row='today, self-training', teacher=best,
                          finetuning=today.replace(**e.pick(**STUDENT))),
        )
        chosen(arms, e)
        train, test = e.images('train', 32), e.images('test', 32)

        def labelled(seed: int) -> ImageSet:
            return train.labelled(labels, seed)

        def others(seed: int) -> ImageSet:
            return train.subset(train.per_class(labels, seed)[1], f'without {labels} per class, seed {seed}')

        e.ship(compare(e, NAME, arms, paper, train, labelled, test, self_training=SelfTraining(others, SURE)))


if __name__ == '__main__':
    main()
