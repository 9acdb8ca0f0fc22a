"""Table 4: VOC 2007 classification, the fully convolutional VGG-16, pre-trained on ImageNet without labels.

    python recipes/voc2007_classification.py --data-dir VOC_FOLDER --unlabelled IMAGENET_FOLDER

Makes scae_vgg16.dae_imagenet, .dae_noskip_imagenet, .dae_context_imagenet (large blocks without shortcuts, after the
Context Encoder of Pathak et al. 2016) and .dae_ft_voc2007. Trained on VOC's trainval, measured on its test: mAP over
ten random crops.
"""

import argparse

from scae_zoo.data.sources import VOC_CLASSES
from scae_zoo.experiments.comparison import Arm, chosen, compare
from scae_zoo.experiments.experiment import experiment
from scae_zoo.methods.finetuning import FineTuning
from scae_zoo.methods.pretraining import Pretraining
from scae_zoo.places import expand

ARCHITECTURE = 'scae_vgg16'
CONTEXT = 'block:0.25:75'  # four large squares, a ninth of the crop each where the border cuts none
SIZE = {'cpu': 256, 'gpu': 256, 'smoke': 40}
PRETRAINING = {
    'cpu': Pretraining(epochs=1, crop=225, batch_size=32, corruption='block:0.25:16', sched='multistep'),
    'gpu': Pretraining(epochs=10, crop=225, batch_size=128, corruption='block:0.25:16', sched='multistep'),
    'smoke': Pretraining(epochs=1, crop=33, batch_size=16, corruption='block:0.25:4'),
}
FINETUNING = {
    'cpu': FineTuning(epochs=20, crop=225, batch_size=32, min_scale=0.9, max_scale=2., drop_rate=0.5),
    'gpu': FineTuning(epochs=150, crop=225, batch_size=64, min_scale=0.9, max_scale=2., drop_rate=0.5),
    'smoke': FineTuning(epochs=1, crop=33, batch_size=16),
}


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--unlabelled', metavar='DATA', type=expand, default='hfds/ILSVRC/imagenet-1k',
                        help='ImageNet: a folder by WordNet id, hfds/NAME or wds/NAME (default: %(default)s)')


def main() -> None:
    smoke = ('multi_label', 40, VOC_CLASSES)
    with experiment(__doc__, 'torch/voc2007', smoke=smoke, rows=True, options=add_options) as e:
        size, pretraining = e.pick(**SIZE), e.pick(**PRETRAINING)
        plain = pretraining.replace(shortcuts=False)
        arms = (
            Arm('random Gaussian', None, '', '67.11'),
            Arm('large blocks, no shortcut (Context Encoder)', plain.replace(corruption=CONTEXT),
                'dae_context_imagenet', '70.24'),
            Arm('pre-training, no shortcut', plain, 'dae_noskip_imagenet', '69.38'),
            Arm('pre-training', pretraining, 'dae_imagenet', '71.25'),
        )
        chosen(arms, e)
        train, test = e.images('train', size), e.images('test', size)
        unlabelled = e.images('train', size, e.args.unlabelled)
        name = f'{ARCHITECTURE}.dae_ft_voc2007'
        tuning = e.pick(**FINETUNING)
        e.ship(compare(e, name, arms, tuning, unlabelled, lambda seed: train, test,
                       unlabelled_data=e.args.unlabelled))


if __name__ == '__main__':
    main()
