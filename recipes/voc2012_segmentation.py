"""Figure 3: VOC 2012 segmentation with the fully convolutional VGG-16, whose last deconvolution becomes a convolution.

    python recipes/voc2012_segmentation.py --data-dir VOC_FOLDER --unlabelled IMAGENET_FOLDER

Makes scae_vgg16.dae_imagenet and .dae_noskip_imagenet, with the settings of voc2007_classification.py, and
.dae_seg_voc2012. Three starts are compared: N(0, 0.01), the pre-trained encoder, and both pre-trained halves; and as
the control both halves without shortcuts. Mean IoU on val.
"""

from voc2007_classification import ARCHITECTURE, PRETRAINING, SIZE, add_options

from scae_zoo.checkpoints.folder import Checkpoint
from scae_zoo.data.sources import VOC_CLASSES
from scae_zoo.experiments.experiment import experiment, headline
from scae_zoo.methods.segmenting import Segmenting

SEGMENTING = {
    'cpu': Segmenting(epochs=15, crop=225, min_scale=0.9, max_scale=2.),
    'gpu': Segmenting(epochs=100, crop=225, min_scale=0.9, max_scale=2.),
    'smoke': Segmenting(epochs=1, crop=33),
}
STARTS = (  # row, init, whether the auto-encoder has shortcuts; the last one is the method
    ('random Gaussian', 'random', True),
    ('encoder and decoder, no shortcut', 'autoencoder', False),
    ('encoder', 'encoder', True),
    ('encoder and decoder', 'autoencoder', True),
)


def main() -> None:
    smoke = ('masks', 40, ('background', *VOC_CLASSES))
    with experiment(__doc__, 'torch/voc2012', smoke=smoke, options=add_options) as e:
        size, pretraining = e.pick(**SIZE), e.pick(**PRETRAINING)
        unlabelled, train = e.images('train', size, e.args.unlabelled), e.images('train', size, masks=True)
        autoencoders = {
            shortcuts: e.pretrain(f'{ARCHITECTURE}.{tag}', unlabelled, pretraining.replace(shortcuts=shortcuts),
                                  data=e.args.unlabelled)
            for shortcuts, tag in ((False, 'dae_noskip_imagenet'), (True, 'dae_imagenet'))}
        method: Checkpoint | None = None
        for row, init, shortcuts in STARTS:
            source = None if init == 'random' else autoencoders[shortcuts]
            for seed in e.seeds:
                settings = e.pick(**SEGMENTING).replace(init=init, seed=seed)
                run = f'{row.replace(" ", "-").replace(",", "")}-seed{seed}'
                made = e.segment(f'{ARCHITECTURE}.dae_seg_voc2012', source, train, settings, e.pairs('val'), run)
                e.add(row, seed, headline(made))
                method = made if seed == e.seeds[0] else method
        e.report({row: 'a plot only' for row, _, _ in STARTS}, '% mean IoU')
        assert method is not None
        e.ship([*autoencoders.values(), method])


if __name__ == '__main__':
    main()
