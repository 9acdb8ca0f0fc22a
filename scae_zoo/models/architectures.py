"""The architectures as data: the convolutions of each encoder, which one encoder and one decoder class read."""

from typing import NamedTuple


class ConvSpec(NamedTuple):
    """One convolution of the encoder, and of the deconvolution that mirrors it."""

    channels: int
    kernel_size: int = 3
    stride: int = 1


def _convs(*specs: int | tuple[int, ...]) -> tuple[ConvSpec, ...]:
    return tuple(ConvSpec(spec) if isinstance(spec, int) else ConvSpec(*spec) for spec in specs)


def _down(channels: int) -> tuple[int, int, int]:
    return channels, 3, 2


ARCHITECTURES: dict[str, tuple[ConvSpec, ...]] = {
    # All-CNN-C (Springenberg et al. 2015, Table 1) less its 1x1x10 classifier; the paper's 9-layer network (Table 2)
    'scae_springenberg9': _convs(96, 96, _down(96), 192, 192, _down(192), 192, (192, 1)),
    # 15 convs as in RED30 (Mao et al. 2016); widths are not in the paper: All-CNN's 96, doubled at each down-sampling
    'scae_allconv15': _convs(96, 96, 96, 96, _down(96), 192, 192, 192, 192, _down(192), 384, 384, 384, 384, 384),
    # SWWAE's STL-10 encoder (Zhao et al. 2015), its pools replaced by strides, the last one by global average pooling
    'scae_swwae': _convs(_down(64), _down(64), 128, _down(128), 256, 256, 256, 512, 512, 512),
    # VGG-16, configuration D (Simonyan & Zisserman 2015), each pool replaced by a stride in the conv before it
    'scae_vgg16': _convs(
        64, _down(64), 128, _down(128), 256, 256, _down(256), 512, 512, _down(512), 512, 512, _down(512)),
}
