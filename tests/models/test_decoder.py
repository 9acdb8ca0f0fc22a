"""The decoder of a small network of which no two layers are alike: what each layer is, and what it computes."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from scae_zoo import Scae, ScaeEncoder
from scae_zoo.models.architectures import ConvSpec
from scae_zoo.models.decoder import Deconv2d, ScaeDecoder

from ..support.networks import randomize

CONVS = ConvSpec(4, 5, 2), ConvSpec(6, 3, 1), ConvSpec(8, 7, 2), ConvSpec(10, 1, 1)


def layers(decoder: ScaeDecoder) -> list[tuple[int, ...]]:
    return [tuple(block.deconv.weight.shape) for block in decoder.blocks]


def test_each_layer_mirrors_one_of_the_encoders() -> None:
    decoder = ScaeDecoder(CONVS, in_chans=2)
    assert layers(decoder) == [(10, 8, 1, 1), (8, 6, 7, 7), (6, 4, 3, 3)]
    assert decoder.head.weight.shape == (4, 2, 5, 5)
    assert decoder.head.bias.tolist() == [0, 0]  # alone: a norm follows all the others
    assert all(block.deconv.bias is None and isinstance(block.bn.act, nn.ReLU) for block in decoder.blocks)
    assert [block.is_shortcut_target for block in decoder.blocks] == [False, True, False]
    assert not any(block.is_shortcut_target for block in ScaeDecoder(CONVS, shortcuts=False).blocks)
    weights = [p.detach() for p in decoder.parameters() if p.ndim == 4]
    assert all(weight.std().item() == pytest.approx(0.01, rel=0.3) for weight in weights)  # N(0, 0.01)


def test_three_channels_and_a_reconstruction_unless_something_else_is_asked_for() -> None:
    plain = ScaeDecoder(CONVS)
    assert plain.head.weight.shape == (4, 3, 5, 5)
    assert plain.num_classes is None
    assert plain.shortcuts
    segmenter = ScaeDecoder(CONVS, num_classes=3, shortcuts=False)
    assert isinstance(segmenter.head, nn.Conv2d)
    assert segmenter.head.weight.shape == (3, 4, 3, 3)
    assert layers(segmenter) == layers(plain)
    assert not segmenter.shortcuts
    for num_classes in (None, 3):
        other = ScaeDecoder(CONVS, 3, num_classes, True, 'silu', 'groupnorm1', dtype=torch.float64, device='meta')
        assert not any(isinstance(module, (nn.BatchNorm2d, nn.ReLU)) for module in other.modules())
        assert {(p.dtype, p.device.type) for p in other.parameters()} == {(torch.float64, 'meta')}


@pytest.mark.parametrize('size', [(21, 30), (22, 29), (23, 27), (24, 28)])
@pytest.mark.parametrize('in_chans', [1, 2])
def test_all_computed_by_hand(size: tuple[int, int], in_chans: int) -> None:
    model = randomize(Scae(ScaeEncoder(CONVS, in_chans=in_chans, num_classes=0), ScaeDecoder(CONVS, in_chans)))
    image = torch.randn(2, in_chans, *size)
    with torch.no_grad():
        x, raw = model.encode(image)
        for i, (block, z) in enumerate(zip(model.decoder.blocks, reversed(raw[1:]), strict=True)):
            _, kernel, stride = CONVS[3 - i]
            extra = [a - (stride * (b - 1) + 1) for a, b in zip(z.shape[2:], x.shape[2:], strict=True)]
            x = F.conv_transpose2d(x, block.deconv.weight, None, stride, kernel // 2, extra)
            x = block.bn(x + z if i == 1 else x)
        extra = [1 - side % 2 for side in size]
        x = F.conv_transpose2d(x, model.decoder.head.weight, model.decoder.head.bias, 2, 2, extra) + image
        torch.testing.assert_close(model(image), x)


def test_a_segmenters_last_layer_gives_logits_of_the_first_features_size() -> None:
    encoder, decoder = ScaeEncoder(CONVS, num_classes=0).eval(), randomize(ScaeDecoder(CONVS, num_classes=3))
    assert decoder.num_classes == 3
    with torch.no_grad():
        features, raw = encoder.forward_shortcuts(torch.randn(2, 3, 21, 30))
        logits = decoder(features, raw)
        assert logits.shape == (2, 3, *raw[1].shape[2:])
        x = decoder.forward_features(features, raw)
        torch.testing.assert_close(logits, F.conv2d(x, decoder.head.weight, decoder.head.bias, padding=1))


def test_checkpointing_computes_twice_and_gets_the_same_gradients() -> None:
    model = randomize(Scae(ScaeEncoder(CONVS, num_classes=0), ScaeDecoder(CONVS)))
    calls = []
    model.decoder.blocks[1].deconv.register_forward_hook(lambda *_: calls.append(None))
    gradients = []
    for enable in (False, True):  # at first it is off
        if enable:
            model.set_grad_checkpointing()
        calls.clear()
        model.zero_grad()
        model(torch.ones(1, 3, 21, 22)).square().mean().backward()
        assert len(calls) == (2 if enable else 1)
        gradients.append([p.grad for p in model.parameters()])
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize('size', [(8, 9), (9, 8), (7, 10)])
def test_exported_a_deconvolution_computes_the_same(size: tuple[int, int]) -> None:
    """With its bias, and with sizes that are not known beforehand."""
    layer = Deconv2d(2, 3, ConvSpec(2, 5, 2), bias=True)
    any_size = {2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO}
    with torch.fx.experimental._config.patch(backed_size_oblivious=True):
        example = torch.randn(1, 2, 6, 6), torch.randn(1, 3, 12, 12)
        exported = torch.export.export(layer, example, dynamic_shapes=(any_size, any_size)).module()
    mirrored = torch.randn(1, 3, *size)
    x = torch.randn(1, 2, *(-(-side // 2) for side in size))
    with torch.no_grad():
        torch.testing.assert_close(exported(x, mirrored), layer(x, mirrored))


def test_folding_takes_the_norms_and_scales_the_shortcuts() -> None:
    model = randomize(Scae(ScaeEncoder(CONVS, num_classes=0), ScaeDecoder(CONVS)))
    x = torch.randn(2, 3, 21, 24)
    with torch.no_grad():
        expected = model(x)
        features, raw = model.encode(x)
        for block in model.decoder.blocks:
            assert block.fuse() is block
        torch.testing.assert_close(model.decode(features, raw), expected, rtol=1e-4, atol=1e-4)
    assert not any(isinstance(block.bn, nn.BatchNorm2d) for block in model.decoder.blocks)
