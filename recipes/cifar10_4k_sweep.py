"""How Table 2's corruption was chosen: 4,000 labels to learn from, 5,000 other training images to measure on.

    python recipes/cifar10_4k_sweep.py --data-dir data/cifar10

Each row is a short pre-training on all 50,000 images with one corruption. It tells the accuracy of a linear classifier
and of 20 nearest neighbours on the last layer's pooled features, and of a short fine-tuning.
"""

from scae_zoo.autoencoder import create_encoder
from scae_zoo.training.experiment import Arm, experiment
from scae_zoo.training.finetuning import FineTuning
from scae_zoo.training.pretraining import Pretraining
from scae_zoo.training.probing import pooled_quality

ARCHITECTURE = 'scae_springenberg9'
CORRUPTIONS = {
    'cpu': ('gaussian:25', 'gaussian:50', 'gaussian:100', 'gaussian:5-50', 'gaussian:5-150',
            'block:0.25:4', 'block:0.5:4', 'block:0.5:8', 'block:0.75:8'),
    'gpu': ('gaussian:25', 'gaussian:50', 'gaussian:100', 'gaussian:5-50', 'gaussian:5-150',
            'block:0.25:4', 'block:0.5:4', 'block:0.5:8', 'block:0.75:8'),
    'smoke': ('gaussian:5-50', 'block:0.5:4'),
}
PRETRAINING = {
    'cpu': Pretraining(epochs=1, crop=29, flip=False),
    'gpu': Pretraining(epochs=20, crop=29, flip=False),
    'smoke': Pretraining(epochs=1, crop=29, flip=False, batch_size=16),
}
FINETUNING = {
    'cpu': FineTuning(epochs=10, crop=29, flip=False, drop_rate=0.5, down_drop_rate=0.5),
    'gpu': FineTuning(epochs=60, crop=29, flip=False, drop_rate=0.5, down_drop_rate=0.5),
    'smoke': FineTuning(epochs=1, crop=29, flip=False, batch_size=8),
}
LABELS_PER_CLASS = {'cpu': 400, 'gpu': 400, 'smoke': 3}
HELD_PER_CLASS = {'cpu': 500, 'gpu': 500, 'smoke': 3}
HELD_SEED = 1000


def main() -> None:
    with experiment(__doc__, 'torch/cifar10', seeds=(0,)) as e:
        train, labels, held = e.images('train', 32), e.pick(**LABELS_PER_CLASS), e.pick(**HELD_PER_CLASS)
        some, others = train.per_class(held, HELD_SEED)
        validation = train.subset(some, f'{held} per class, seed {HELD_SEED}')
        rest = train.subset(others, f'without {held} per class, seed {HELD_SEED}')
        seed, pretraining, finetuning = e.seeds[0], e.pick(**PRETRAINING), e.pick(**FINETUNING)
        labelled = rest.subset(rest.per_class(labels, seed)[0], f'{labels} labels per class, seed {seed}')
        arms = e.chosen([
            Arm(corruption, pretraining.replace(corruption=corruption), f'dae_sweep{i}')
            for i, corruption in enumerate(e.pick(**CORRUPTIONS))])
        made = []
        for arm in (Arm('no pre-training', None, ''), *arms):
            source = None
            if arm.pretraining is not None:
                source = e.pretrain(f'{ARCHITECTURE}.{arm.tag}', train, arm.pretraining)
                made.append(source)
                encoder = create_encoder(ARCHITECTURE, source)
                linear, knn = pooled_quality(encoder, labelled, validation, finetuning.crop or 29)[-1]
                e.add(f'{arm.row}, linear', seed, linear)
                e.add(f'{arm.row}, k-NN', seed, knn)
            tuned = e.finetune(f'{ARCHITECTURE}.ft_sweep', source, labelled, finetuning, validation, arm.run_of(seed))
            e.add(f'{arm.row}, fine-tuned', seed, tuned.metrics['accuracy']['value'])
        e.report({})
        e.ship(made)


if __name__ == '__main__':
    main()
