"""Table 3: STL-10, 100,000 images without labels, ten folds of 1,000 labelled ones; the SWWAE-style network.

    python recipes/stl10_folds.py

Makes scae_swwae.dae_stl10, .dae_noskip_stl10 and .dae_ft_stl10. A seed is a fold. With a --data-dir that holds folders
of images instead, train/ without labels is what all arms are pre-trained on, and a seed draws 100 labels of each class:

    python recipes/stl10_folds.py --budget cpu --data-dir data/imagenette160 --name imagenette96 --seeds 0 1 2 3 4

makes scae_swwae.dae_imagenette96, .dae_noskip_imagenette96 and .dae_ft_imagenette96, with five draws. The budget cpu is
sized for that.
"""

import argparse

from scae_zoo.data.image_set import ImageSet
from scae_zoo.data.sources import dataset_name
from scae_zoo.experiments.comparison import Arm, chosen, compare
from scae_zoo.experiments.experiment import experiment
from scae_zoo.methods.finetuning import FineTuning
from scae_zoo.methods.pretraining import Pretraining

ARCHITECTURE = 'scae_swwae'
SIZE = 96
PRETRAINING = {
    'cpu': Pretraining(epochs=8, crop=57, batch_size=64, corruption='block:0.25:8'),
    'gpu': Pretraining(epochs=100, crop=89, corruption='block:0.25:8'),
    'smoke': Pretraining(epochs=1, crop=89, corruption='block:0.25:8', batch_size=8),
}
FINETUNING = {
    'cpu': FineTuning(epochs=16, crop=89, first_crop=57, batch_size=50, pad=4, cutout=0.25, drop_rate=0.5),
    'gpu': FineTuning(epochs=300, crop=89, batch_size=50, pad=4, cutout=0.25, drop_rate=0.5),
    'smoke': FineTuning(epochs=1, crop=89, batch_size=8),
}
LABELS_PER_CLASS = {'cpu': 100, 'gpu': 100, 'smoke': 4}
PAPER = {'stl10': ('64.6 ± 0.7', '70.2 ± 0.6', '75.8 ± 0.5')}  # no pre-training, no shortcut, with shortcuts


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--name', type=dataset_name, help=(
        "what the images are called in the checkpoints' tags, dae_NAME (default: the data set's or folder's name)"))


def main() -> None:
    smoke = ('classes', SIZE, ('a', 'b', 'c'))
    with experiment(__doc__, 'torch/stl10', seeds=range(10), smoke=smoke, rows=True, any_data=True,
                    options=add_options) as e:
        dataset, pretraining, labels = e.args.name or e.dataset, e.pick(**PRETRAINING), e.pick(**LABELS_PER_CLASS)
        paper = PAPER.get(e.dataset, ('', '', ''))
        arms = (
            Arm('no pre-training', None, '', paper[0]),
            Arm('pre-training, no shortcut', pretraining.replace(shortcuts=False), f'dae_noskip_{dataset}', paper[1]),
            Arm('pre-training', pretraining, f'dae_{dataset}', paper[2]),
        )
        chosen(arms, e)
        unlabelled, test = e.images('train' if e.has_folders else 'unlabeled', SIZE), e.images('test', SIZE)

        def labelled(seed: int) -> ImageSet:
            return unlabelled.labelled(labels, seed) if e.has_folders else e.images(f'fold{seed}', SIZE)

        name = f'{ARCHITECTURE}.dae_ft_{dataset}'
        e.ship(compare(e, name, arms, e.pick(**FINETUNING), unlabelled, labelled, test))


if __name__ == '__main__':
    main()
