"""Table 5: VGG-16 pre-trained on the animals or on the vehicles of ImageNet, then fine-tuned on VOC 2007.

    python recipes/imagenet_subsets.py --data-dir VOC_FOLDER --unlabelled IMAGENET_FOLDER

Makes scae_vgg16.dae_animals, .dae_vehicles, and their controls without shortcuts .dae_noskip_animals and
.dae_noskip_vehicles. As many images of each kind, 93,000 at most, chosen by WordNet id; mean average precision of VOC's
animals and of its vehicles, by classifiers that stay in --out: the one that ships is Table 4's.
"""

import math

import torch
from voc2007_classification import ARCHITECTURE, FINETUNING, SIZE, add_options

from scae_zoo.checkpoints.folder import Checkpoint
from scae_zoo.data.image_set import ImageSet
from scae_zoo.data.imagenet import ANIMALS, VEHICLES
from scae_zoo.data.sources import VOC_CLASSES
from scae_zoo.evaluation.classification import mean_average_precision
from scae_zoo.experiments.experiment import Experiment, experiment, mean_and_std
from scae_zoo.methods.pretraining import Pretraining

SUBSETS = {'animals': ANIMALS, 'vehicles': VEHICLES}
IMAGES = 93_000  # of each subset, or fewer: our list of vehicles has 71 classes, of up to 1,300 images
PRETRAINING = {
    'cpu': Pretraining(epochs=2, crop=225, batch_size=32, corruption='block:0.25:16'),
    'gpu': Pretraining(epochs=50, crop=225, batch_size=128, corruption='block:0.25:16'),
    'smoke': Pretraining(epochs=1, crop=33, batch_size=16, corruption='block:0.25:4'),
}
VOC_ANIMALS = ('bird', 'cat', 'cow', 'dog', 'horse', 'sheep')
VOC_VEHICLES = ('aeroplane', 'bicycle', 'boat', 'bus', 'car', 'motorbike', 'train')
PAPER = {  # animals, vehicles, all 20 classes
    'no pre-training': ('67.02', '76.87', '67.11'),
    'animals': ('73.04', '79.04', '70.77'),
    'vehicles': ('72.17', '80.00', '70.93'),
}


def subset(e: Experiment, kind: str, size: int) -> ImageSet:
    """As many images of each kind, at most IMAGES, drawn by a fixed seed."""
    every = {each: e.images('train', size, e.args.unlabelled, only_classes=SUBSETS[each]) for each in SUBSETS}
    images, n = every[kind], min(IMAGES, *map(len, every.values()))
    if len(images) == n:
        return images
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    return images.subset(order[:n].sort().values, f'{n} of them')


def precisions(checkpoint: Checkpoint) -> dict[str, float]:
    """Mean average precision of VOC's animals, of its vehicles, and of all classes."""
    by_class = {name: math.nan if value is None else value  # without a test image
                for name, value in checkpoint.metrics['average_precision'].items()}
    groups = {'animals': VOC_ANIMALS, 'vehicles': VOC_VEHICLES, 'all': VOC_CLASSES}
    return {group: mean_average_precision(by_class[name] for name in names) for group, names in groups.items()}


def main() -> None:
    smoke = ('multi_label', 40, VOC_CLASSES)
    with experiment(__doc__, 'torch/voc2007', smoke=smoke, options=add_options) as e:
        size, made = e.pick(**SIZE), []
        sources: dict[str, Checkpoint | None] = {'no pre-training': None}
        for kind in SUBSETS:
            images = subset(e, kind, size)
            for shortcuts, tag in ((False, f'dae_noskip_{kind}'), (True, f'dae_{kind}')):
                settings = e.pick(**PRETRAINING).replace(shortcuts=shortcuts)
                source = e.pretrain(f'{ARCHITECTURE}.{tag}', images, settings, data=e.args.unlabelled)
                sources[kind if shortcuts else f'{kind}, no shortcut'] = source
                made.append(source)
        train, test = e.images('train', size), e.images('test', size)
        lines = ['| pre-trained on | animals | vehicles | all | paper |', '| --- | --- | --- | --- | --- |']
        for row, start in sources.items():
            seeds = []
            for seed in e.seeds:
                run = f'{start.name.split(".")[1] if start else "scratch"}-seed{seed}'
                tuning = e.pick(**FINETUNING).replace(seed=seed)
                checkpoint = e.finetune(f'{ARCHITECTURE}.dae_ft_voc2007', start, train, tuning, test, run)
                seeds.append(precisions(checkpoint))
            cells = [mean_and_std([s[group] for s in seeds]) for group in ('animals', 'vehicles', 'all')]
            lines.append(f'| {row} | {" | ".join(cells)} | {" / ".join(PAPER.get(row, ()))} |')
        e.write_table(lines)
        e.ship(made)


if __name__ == '__main__':
    main()
