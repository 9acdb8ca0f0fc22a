"""Photographs that can be had: VGG-16, pre-trained on imagenette without labels, then on a subset of VOC 2012.

    python recipes/photographs.py --unlabelled IMAGENETTE --labels VOC_WITH_LABELS_CSV --data-dir VOC_WITH_MASKS

Makes scae_vgg16.dae_imagenette and .dae_noskip_imagenette; .dae_ft_voc2012sub, as Table 4 does (mAP over ten random
crops); and .dae_seg_voc2012sub, as Figure 3 does (mean IoU), with all labels and with a quarter, in segmentation/.
A start needs the data of its rows alone: --labels for the classifiers' table, --data-dir for the segmenters', which has
the rows whose names begin with segmenter, --unlabelled for all rows but those with random in their names. With --from
the rows with shortcuts start from an auto-encoder that is there, such as the zoo's, and need no --unlabelled:

    python recipes/photographs.py --budget cpu --from scae_vgg16.dae_imagenette --seeds 0 1 2 --rows random-gaussian \
        pre-training segmenter-random-gaussian segmenter-encoder segmenter-encoder-and-decoder

The budget cpu is sized for the 758 of VOC's own training images that the subset has, without the augmented ones.
Figures on a subset do not compare with published ones.
"""

import argparse
import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

from scae_zoo.checkpoints.folder import Checkpoint
from scae_zoo.data.image_set import ImageSet, class_difference
from scae_zoo.data.sources import VOC_CLASSES, dataset_title
from scae_zoo.experiments.comparison import Arm, chosen, compare, finished, has_recorded, pretrained
from scae_zoo.experiments.experiment import Experiment, experiment, headline, smoke_data
from scae_zoo.factory import create_segmenter, find_checkpoint
from scae_zoo.methods.finetuning import FineTuning
from scae_zoo.methods.pictures import save_figure, segmentations
from scae_zoo.methods.pretraining import Pretraining
from scae_zoo.methods.segmenting import Segmenting
from scae_zoo.places import expand

AUTOENCODERS = {False: 'scae_vgg16.dae_noskip_imagenette', True: 'scae_vgg16.dae_imagenette'}  # whether shortcuts
CLASSIFIER, SEGMENTER = 'scae_vgg16.dae_ft_voc2012sub', 'scae_vgg16.dae_seg_voc2012sub'
UNLABELLED_SIZE = {'cpu': 80, 'gpu': 160, 'smoke': 40}
SIZE = {'cpu': 100, 'gpu': 200, 'smoke': 40}
TEST_SIZE = {'cpu': 100, 'gpu': None, 'smoke': 30}  # of the segmenters' images, their shorter side; None: their own
# 64 pixels in `cpu`: without bfloat16 a quarter faster than 65, whose odd sides winograd.py's tiles do not fill
PRETRAINING = {
    'cpu': Pretraining(epochs=4, crop=64, corruption='block:0.25:8'),
    'gpu': Pretraining(epochs=60, crop=129, corruption='block:0.25:16'),
    'smoke': Pretraining(epochs=1, crop=33, batch_size=16, corruption='block:0.25:4'),
}
VOC: dict[str, Any] = {'min_scale': 0.75, 'max_scale': 2., 'weight_decay': 0.5}
FINETUNING = {
    'cpu': FineTuning(epochs=10, crop=64, batch_size=16, drop_rate=0.5, **VOC),
    'gpu': FineTuning(epochs=40, crop=161, batch_size=64, drop_rate=0.5, **VOC),
    'smoke': FineTuning(epochs=1, crop=33, batch_size=16),
}
SEGMENTING = {
    'cpu': Segmenting(epochs=10, crop=64, batch_size=16, **VOC),
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
                        help="VOC's images, a folder with train/ and val/, a labels.csv in each (default: %(default)s)")
    parser.add_argument('--from', dest='source', metavar='RUN_OR_CHECKPOINT', type=expand, help=(
        'auto-encoder that the rows with shortcuts start from, in place of one that is trained: the folder of a run or '
        'a checkpoint, or a name'))


def on_labels(e: Experiment, rows: list[Arm]) -> Experiment:
    """The experiment as that of the classifiers, whose data set is --labels."""
    folder = smoke_data('multi_label', e.out, 40, VOC_CLASSES) if e.makes_images else None
    options = {'data': e.args.labels, 'data_dir': folder, 'rows': [arm.run for arm in rows]}
    return dataclasses.replace(e, args=argparse.Namespace(**{**vars(e.args), **options}))


def require(e: Experiment, option: str, named: str, data: str | None = None, masks: bool = False) -> None:
    """Look for what an option names before anything is trained, which takes hours; nothing is decoded for it.

    Args:
        e: The experiment, whose own data set must have labels or masks.
        option: What has named the data.
        named: What ships is named for data that are called so, or so and something more.
        data: Another data set's name or folder.
        masks: Whether to look for masks.
    """
    if e.args.ship and not (dataset_title(data) if data else e.dataset).startswith(named):
        raise ValueError(f'--ship: {data or e.dataset} is not called {named}, whose name the checkpoints have')
    try:
        train, val = (e.find(split, data, masks) for split in ('train', 'val'))
        if train.origins and val.origins and len(val.origins.among(train.origins)):
            raise ValueError(f'{train.place}: would be trained on and measured on as well; needs train/ and val/')
        for source in (train, val) if data is None and not masks else ():
            if not all(isinstance(sample.label, list) for sample in source.samples):
                raise ValueError(f'{source.place}: needs a labels.csv')
        if data is None and train.classes != val.classes:
            difference = class_difference(val.classes, train.classes, 'val has', 'train has')
            raise ValueError(f'{val.place}: the classes are not those of train: {difference}')
    except ValueError as error:
        raise ValueError(f'{option} {error}') from None


def given(e: Experiment) -> dict[bool, Checkpoint]:
    """The auto-encoder of ``--from``, with shortcuts."""
    if e.args.source is None:
        return {}
    source = find_checkpoint(e.args.source, 'autoencoder', '--from')
    source.require_architecture('scae_vgg16')
    if not source.config['decoder']['shortcuts']:
        raise ValueError(f'--from {source.name}: has no shortcuts; leave it out, and a control of that kind is trained')
    if e.args.ship and source.name != AUTOENCODERS[True]:
        raise ValueError(f'--ship: what starts from {source.name} is not what the checkpoints are named for; '
                         f'give --from {AUTOENCODERS[True]}')
    return {True: source}


def pretraining(e: Experiment, wanted: set[bool], source: Mapping[bool, Checkpoint]) -> dict[bool, Checkpoint | None]:
    """The auto-encoders, without and with shortcuts, that are wanted or given, and what earlier starts made so."""
    data = e.args.unlabelled
    train, val = (e.images(split, e.pick(**UNLABELLED_SIZE), data) for split in ('train', 'val'))
    made: dict[bool, Checkpoint | None] = {**source}
    for shortcuts, name in AUTOENCODERS.items():
        if shortcuts in source:
            continue
        settings = e.pick(**PRETRAINING).replace(shortcuts=shortcuts)
        made[shortcuts] = e.pretrain(name, train, settings, val, data=data, test_data=data) \
            if shortcuts in wanted else pretrained(e, name, settings, train)
    return made


def classification(e: Experiment, autoencoders: Mapping[bool, Checkpoint | None]) -> list[Checkpoint]:
    """Table 4; the method's classifier, if its row was chosen."""
    train, val = (e.images(split, e.pick(**SIZE)) for split in ('train', 'val'))
    arms = [Arm(row, None if shortcuts is None else autoencoders.get(shortcuts))
            for row, shortcuts in CLASSIFIERS.items()]
    return compare(e, CLASSIFIER, arms, e.pick(**FINETUNING), train, lambda seed: train, val)


def segmentation(
        e: Experiment, starts: list[Start], autoencoders: Mapping[bool, Checkpoint | None]) -> list[Checkpoint]:
    """Figure 3; the method's segmenter, if its row was chosen."""
    table = dataclasses.replace(e, out=e.out / 'segmentation', results={})
    train, val = e.images('train', e.pick(**SIZE), masks=True), e.pairs('val', e.pick(**TEST_SIZE))

    def images(start: Start, seed: int) -> ImageSet:
        return train if start.share == 1 else train.split(start.share, seed)[0]

    def settings(start: Start, seed: int) -> Segmenting:
        return e.pick(**SEGMENTING).replace(init=start.init, seed=seed)

    def source(start: Start) -> Checkpoint | None:
        return None if start.init == 'random' else autoencoders.get(start.shortcuts)

    made = [(start, table.segment(SEGMENTER, source(start), images(start, seed), settings(start, seed), val,
                                  start.arm.run_of(seed))) for start in starts for seed in e.seeds]
    for start in SEGMENTERS:
        begun = source(start)
        for seed, checkpoint in finished(table, start.arm, SEGMENTER):
            if has_recorded(checkpoint, {
                    **dataclasses.asdict(settings(start, seed)), 'data': images(start, seed).identity,
                    'test': val.identity, 'from': begun and begun.identity}):
                table.add(start.arm.row, seed, headline(checkpoint))
    table.report({}, '% mean IoU')
    methods = [checkpoint for start, checkpoint in made if start is METHOD]
    if methods and e.world.is_main:
        model = create_segmenter(methods[0].architecture, pretrained=True, weights=str(methods[0].folder.absolute()))
        save_figure(segmentations(model, val, PICTURES), table.out / 'pictures.png')
    return methods[:1]


def main() -> None:
    smoke = ('masks', 40, ('background', *VOC_CLASSES))
    masks = "VOC's images with masks: a folder with train/ and val/, images/ and masks/ in each, or torch/voc2012"
    with experiment(
            __doc__, 'data/voc2012subaug', smoke=smoke, rows=True, data_help=masks, options=add_options) as e:
        classifiers = [Arm(row, None) for row in CLASSIFIERS]
        runs = {arm.run for arm in chosen([*classifiers, *(start.arm for start in SEGMENTERS)], e)}
        rows = [arm for arm in classifiers if arm.run in runs]
        segmenters = [start for start in SEGMENTERS if start.arm.run in runs]
        wanted = {start.shortcuts for start in segmenters if start.init != 'random'} | {
            shortcuts for arm in rows if (shortcuts := CLASSIFIERS[arm.row]) is not None}
        source = given(e)
        trained = wanted - source.keys()
        # whose rows are kept where they are of these images
        earlier = any((e.out / name / name).is_dir() for kind, name in AUTOENCODERS.items() if kind not in source)
        table = on_labels(e, rows)
        if trained or earlier:
            require(e, '--unlabelled', 'imagenette', e.args.unlabelled)
        if rows:
            require(table, '--labels', 'voc2012sub')
        if segmenters:
            require(e, '--data-dir' if e.has_folders else '--data', 'voc2012sub', masks=True)
        autoencoders = pretraining(e, trained, source) if trained or earlier else source
        made = [checkpoint for shortcuts in sorted(trained) if (checkpoint := autoencoders[shortcuts])]
        if rows:
            made += classification(table, autoencoders)
        if segmenters:
            made += segmentation(e, segmenters, autoencoders)
        control = AUTOENCODERS[False]
        e.show(checkpoint for checkpoint in made if checkpoint.name == control)
        e.ship([checkpoint for checkpoint in made if checkpoint.name != control])


if __name__ == '__main__':
    main()
