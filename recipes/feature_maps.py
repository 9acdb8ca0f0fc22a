"""Figure 4: feature maps of the networks that saw only animals or only vehicles, on images of both.

    python recipes/feature_maps.py --data-dir VOC_FOLDER --unlabelled IMAGENET_FOLDER

Makes scae_vgg16.dae_animals and .dae_vehicles, as imagenet_subsets.py does (give its --out to take them from there),
and feature_maps.png: photographs of VOC 2007, and beside them the strongest feature maps of each network.
"""

from imagenet_subsets import ARCHITECTURE, PRETRAINING, SIZE, SUBSETS, add_options, subset

from scae_zoo.data.sources import VOC_CLASSES
from scae_zoo.experiments.experiment import experiment
from scae_zoo.experiments.plots import draw_feature_maps
from scae_zoo.factory import create_encoder

PHOTOGRAPHS = 6
LAYER = 9  # the last one at 1/8 of the image's size
MAPS = 4  # of each network


def main() -> None:
    smoke = ('multi_label', 40, VOC_CLASSES)
    with experiment(__doc__, 'torch/voc2007', seeds=(0,), one_seed=True, smoke=smoke,
                    options=add_options) as e:
        size, pretraining = e.pick(**SIZE), e.pick(**PRETRAINING).replace(seed=e.seeds[0])
        photographs = e.images('test', size).images
        if len(photographs) < PHOTOGRAPHS:
            raise ValueError(f'the picture needs {PHOTOGRAPHS} test photographs; there are {len(photographs)}')
        made = {
            kind: e.pretrain(f'{ARCHITECTURE}.dae_{kind}', subset(e, kind, size), pretraining, data=e.args.unlabelled)
            for kind in SUBSETS}
        step = len(photographs) // PHOTOGRAPHS
        if e.world.is_main:
            encoders = {kind: create_encoder(ARCHITECTURE, checkpoint) for kind, checkpoint in made.items()}
            path = e.out / 'feature_maps.png'
            draw_feature_maps(encoders, list(photographs[::step][:PHOTOGRAPHS]), LAYER, MAPS, path)
            print(f'picture     {path.absolute()}')
        e.ship(made.values())


if __name__ == '__main__':
    main()
