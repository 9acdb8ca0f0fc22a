"""How Table 2's corruption was chosen: 4,000 labels to learn from, 5,000 other training images to measure on.

    python recipes/cifar10_4k_sweep.py

Each row is a short pre-training on all 50,000 images with one corruption. It tells the accuracy of a linear classifier
and of 20 nearest neighbours on the last layer's pooled features, and of a short fine-tuning. With --rows the table has
these alone.
"""

from scae_zoo.experiments.comparison import Arm, chosen
from scae_zoo.experiments.experiment import experiment
from scae_zoo.experiments.sweep import sweep
from scae_zoo.methods.finetuning import FineTuning
from scae_zoo.methods.pretraining import Pretraining

ARCHITECTURE = 'scae_springenberg9'
CROP = 29
CORRUPTIONS = (
    'gaussian:25', 'gaussian:50', 'gaussian:100', 'gaussian:5-50', 'gaussian:5-150',
    'block:0.25:4', 'block:0.5:4', 'block:0.5:8', 'block:0.75:8')
PRETRAINING = {
    'cpu': Pretraining(epochs=1, crop=CROP, flip=False),
    'gpu': Pretraining(epochs=20, crop=CROP, flip=False),
    'smoke': Pretraining(epochs=1, crop=CROP, flip=False, batch_size=16),
}
FINETUNING = {
    'cpu': FineTuning(epochs=10, crop=CROP, flip=False, drop_rate=0.5),
    'gpu': FineTuning(epochs=60, crop=CROP, flip=False, drop_rate=0.5),
    'smoke': FineTuning(epochs=1, crop=CROP, flip=False, batch_size=8),
}
LABELS_PER_CLASS = {'cpu': 400, 'gpu': 400, 'smoke': 3}
HELD_PER_CLASS = {'cpu': 500, 'gpu': 500, 'smoke': 3}


def main() -> None:
    with experiment(__doc__, 'torch/cifar10', seeds=(0,), rows=True, ships=False) as e:
        pretraining, finetuning = e.pick(**PRETRAINING), e.pick(**FINETUNING)
        arms = chosen([Arm('no pre-training', None), *(
            Arm(corruption, pretraining.replace(corruption=corruption), f'dae_sweep{i}')
            for i, corruption in enumerate(CORRUPTIONS))], e)
        train = e.images('train', 32)
        sweep(e, ARCHITECTURE, arms, finetuning, train, train, e.pick(**LABELS_PER_CLASS), e.pick(**HELD_PER_CLASS),
              CROP)


if __name__ == '__main__':
    main()
