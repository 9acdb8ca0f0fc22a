"""Photographs that can be had: VGG-16, pre-trained on imagenette without labels, then on a subset of VOC 2012.

    python recipes/photographs.py --unlabelled IMAGENETTE --labels VOC_WITH_LABELS_CSV --data-dir VOC_WITH_MASKS

Makes scae_vgg16.dae_imagenette and .dae_noskip_imagenette; .dae_ft_voc2012sub, as Table 4 does (mAP over ten random
crops); and .dae_seg_voc2012sub, as Figure 3 does (mean IoU), with all labels and with a quarter, in segmentation/.
The budget cpu is meant for VOC's 758 official training images. Figures on a subset do not compare with published ones.
"""

import argparse
import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

from scae_zoo.checkpoints.folder import Checkpoint
from scae_zoo.data.sources import VOC_CLASSES
from scae_zoo.experiments.comparison import Arm, chosen, compare
from scae_zoo.experiments.experiment import Experiment, experiment, headline, smoke_data
from scae_zoo.experiments.plots import draw_segmentations
from scae_zoo.methods.finetuning import FineTuning
from scae_zoo.methods.pretraining import Pretraining
from scae_zoo.methods.segmenting import Segmenting
from scae_zoo.places import expand

ARCHITECTURE = 'scae_vgg16'
TAGS = {False: 'dae_noskip_imagenette', True: 'dae_imagenette'}  # without and with shortcuts
UNLABELLED_SIZE = {'cpu': 80, 'gpu': 160, 'smoke': 40}
SIZE = {'cpu': 100, 'gpu': 200, 'smoke': 40}
PRETRAINING = {
    'cpu': Pretraining(epochs=4, crop=65, corruption='block:0.25:8'),
    'gpu': Pretraining(epochs=60, crop=129, corruption='block:0.25:16'),
    'smoke': Pretraining(epochs=1, crop=33, batch_size=16, corruption='block:0.25:4'),
}
VOC: dict[str, Any] = {'min_scale': 0.75, 'max_scale': 2., 'weight_decay': 0.5}
FINETUNING = {
    'cpu': FineTuning(epochs=20, crop=65, batch_size=32, drop_rate=0.5, **VOC),
    'gpu': FineTuning(epochs=40, crop=161, batch_size=64, drop_rate=0.5, **VOC),
    'smoke': FineTuning(epochs=1, crop=33, batch_size=16),
}
SEGMENTING = {
    'cpu': Segmenting(epochs=20, crop=65, batch_size=16, **VOC),
    'gpu': Segmenting(epochs=40, crop=161, batch_size=32, **VOC),
    'smoke': Segmenting(epochs=1, crop=33),
}
PICTURES = 6


class Start(NamedTuple):
    """What a segmenter begins with."""

    row: str
    init: str
    shortcuts: bool = True
    share: float = 1.  # of the labelled images that it is trained on

    @property
    def arm(self) -> Arm:
        return Arm(f'segmenter, {self.row}' + ', a quarter of the labels' * (self.share < 1), None)


CLASSIFIERS = {'random Gaussian': None, 'pre-training, no shortcut': False, 'pre-training': True}  # whether shortcuts
STARTS = (
    Start('random Gaussian', 'random'),
    Start('encoder and decoder, no shortcut', 'autoencoder', shortcuts=False),
    Start('encoder', 'encoder'),
    Start('encoder and decoder', 'autoencoder'),
)
METHOD = STARTS[-1]
SEGMENTERS = (*(start._replace(share=0.25) for start in STARTS), *STARTS)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--unlabelled', metavar='DATA', type=expand, default='data/imagenette160',
                        help='imagenette, a folder with train/ and val/ (default: %(default)s)')
    parser.add_argument('--labels', metavar='DATA', type=expand, default='data/voc2012subaug_labels',
                        help="VOC's images, train/ and val/ with a labels.csv each (default: %(default)s)")


def pretraining(e: Experiment, wanted: set[bool]) -> dict[bool, Checkpoint]:
    """The auto-encoders that are wanted, without and with shortcuts."""
    data = e.args.unlabelled
    train, val = (e.images(split, e.pick(**UNLABELLED_SIZE), data) for split in ('train', 'val'))
    return {shortcuts: e.pretrain(f'{ARCHITECTURE}.{TAGS[shortcuts]}', train,
                                  e.pick(**PRETRAINING).replace(shortcuts=shortcuts), val, data=data, test_data=data)
            for shortcuts in sorted(wanted)}


def classification(e: Experiment, rows: list[str], autoencoders: Mapping[bool, Checkpoint]) -> list[Checkpoint]:
    """Table 4; the method's classifier, if its row was chosen."""
    table = dataclasses.replace(e, args=argparse.Namespace(**{**vars(e.args), 'rows': rows}))
    labels = str(smoke_data('multi_label', e.out, 40, VOC_CLASSES)) if e.makes_images else e.args.labels
    train, val = (e.images(split, e.pick(**SIZE), labels) for split in ('train', 'val'))
    arms = [Arm(row, None if shortcuts is None else autoencoders.get(shortcuts))
            for row, shortcuts in CLASSIFIERS.items()]
    return compare(
        table, f'{ARCHITECTURE}.dae_ft_voc2012sub', arms, e.pick(**FINETUNING), train, lambda seed: train, val)


def segmentation(e: Experiment, starts: list[Start], autoencoders: Mapping[bool, Checkpoint]) -> list[Checkpoint]:
    """Figure 3; the method's segmenter, if its row was chosen."""
    table = dataclasses.replace(e, out=e.out / 'segmentation', results={})
    train, val = e.images('train', e.pick(**SIZE), masks=True), e.pairs('val')
    methods = []
    for start in starts:
        for seed in e.seeds:
            images = train if start.share == 1 else train.split(start.share, seed)[0]
            settings = e.pick(**SEGMENTING).replace(init=start.init, seed=seed)
            source = None if start.init == 'random' else autoencoders[start.shortcuts]
            made = table.segment(
                f'{ARCHITECTURE}.dae_seg_voc2012sub', source, images, settings, val, start.arm.run_of(seed))
            table.add(start.arm.row, seed, headline(made))
            methods += [made] * (start is METHOD)
    table.report({}, '% mean IoU')
    if methods and e.world.is_main:
        draw_segmentations(methods[0], val, PICTURES, table.out / 'pictures.png')
    return methods[:1]


def main() -> None:
    smoke = ('masks', 40, ('background', *VOC_CLASSES))
    with experiment(__doc__, 'data/voc2012subaug', smoke=smoke, rows=True, ships=False, options=add_options) as e:
        classifiers = [Arm(row, None) for row in CLASSIFIERS]
        runs = {arm.run for arm in chosen([*classifiers, *(start.arm for start in SEGMENTERS)], e)}
        rows = [arm for arm in classifiers if arm.run in runs]
        segmenters = [start for start in SEGMENTERS if start.arm.run in runs]
        wanted = {start.shortcuts for start in segmenters if start.init != 'random'} | {
            shortcuts for arm in rows if (shortcuts := CLASSIFIERS[arm.row]) is not None}
        autoencoders = pretraining(e, wanted) if wanted else {}
        made = [*autoencoders.values()]
        if rows:
            made += classification(e, [arm.run for arm in rows], autoencoders)
        if segmenters:
            made += segmentation(e, segmenters, autoencoders)
        e.show(made)


if __name__ == '__main__':
    main()
