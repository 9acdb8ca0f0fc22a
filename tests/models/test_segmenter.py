"""The segmenter: sizes of its logits, its last layer, and training it from scratch."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from timm.models import reparameterize_model
from torch import nn

from scae_zoo import CheckpointError, create_segmenter
from scae_zoo.checkpoints.finding import find

from ..support.networks import ARCHITECTURES, DEFAULT, SHIPPED, assert_same, randomize

CLASSES = 5

each_architecture = pytest.mark.parametrize('name', ARCHITECTURES)


@each_architecture
def test_logits_have_the_images_size(name: str) -> None:
    model = create_segmenter(name, CLASSES, init='random').eval()
    with torch.no_grad():
        for size in ((17, 17), (32, 33), (35, 18), (48, 64)):
            assert model(torch.randn(1, 3, *size)).shape == (1, CLASSES, *size)
    assert model.num_classes == CLASSES
    meta = create_segmenter(name, CLASSES, init='random', device='meta')
    assert {t.device.type for t in meta.state_dict().values()} == {'meta'}
    assert meta(torch.empty(2, 3, 33, 34, device='meta')).shape == (2, CLASSES, 33, 34)


@each_architecture
def test_last_layer_is_a_convolution_that_gives_the_logits(name: str) -> None:
    model = randomize(create_segmenter(name, CLASSES, init='random'))
    assert type(model.decoder.head) is nn.Conv2d
    assert model.decoder.head.kernel_size == (3, 3)
    outputs: list[torch.Tensor] = []
    model.decoder.head.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    with torch.no_grad():
        logits = model(torch.randn(1, 3, 34, 45))
    own, = outputs
    if name == 'scae_swwae':  # its first conv has stride 2, which the replaced deconvolution undid
        assert own.shape == (1, CLASSES, 17, 23)
        assert torch.equal(logits, F.interpolate(own, (34, 45), mode='bilinear', align_corners=False))
    else:
        assert torch.equal(logits, own)


@each_architecture
def test_no_image_is_added(name: str) -> None:
    model = randomize(create_segmenter(name, CLASSES, init='random', in_chans=CLASSES))
    nn.init.zeros_(model.decoder.head.weight)
    nn.init.zeros_(model.decoder.head.bias)
    with torch.no_grad():
        assert not model(torch.randn(1, CLASSES, 33, 34)).any()


@each_architecture
@pytest.mark.parametrize('shortcuts', [True, False])
def test_every_parameter_trains_also_with_checkpointing(name: str, shortcuts: bool) -> None:
    model = randomize(create_segmenter(name, CLASSES, init='random', shortcuts=shortcuts)).train()
    x, target = torch.randn(2, 3, 33, 34), torch.randint(CLASSES, (2, 33, 34))
    gradients = []
    for enable in (False, True):
        model.set_grad_checkpointing(enable)
        model.zero_grad()
        F.cross_entropy(model(x), target).backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(checkpointed, plain)
    assert all(g.abs().sum() > 0 for g in gradients[0])


@each_architecture
def test_a_step_of_training_lowers_the_loss(name: str) -> None:
    model = create_segmenter(name, CLASSES, init='random')
    x, target = torch.randn(2, 3, 33, 34), torch.randint(CLASSES, (2, 33, 34))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    losses = []
    for _ in range(2):
        loss = F.cross_entropy(model(x), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[1] < losses[0]


@each_architecture
@pytest.mark.parametrize('shortcuts', [True, False])
def test_folding_keeps_the_logits(name: str, shortcuts: bool) -> None:
    model = randomize(create_segmenter(name, CLASSES, init='random', shortcuts=shortcuts))
    folded = reparameterize_model(model)
    x = torch.randn(1, 3, 33, 34)
    with torch.no_grad():
        assert_same(folded(x), model(x))
    norms = sum(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
    assert norms == ((len(model.encoder.blocks) - 1) // 2 if shortcuts else 0)  # those behind the raw outputs


@each_architecture
@pytest.mark.usefixtures('_fresh_compiler')
def test_compiled_traced_exported_it_computes_the_same(name: str) -> None:
    model = randomize(create_segmenter(name, CLASSES, init='random'))
    compiled = torch.compile(model, fullgraph=True, backend='eager')
    traced = torch.fx.symbolic_trace(model)
    dims = {axis: torch.export.Dim(f'side{axis}', min=17) for axis in (2, 3)}
    with torch.fx.experimental._config.patch(backed_size_oblivious=True):  # feature maps of size 1, too
        exported = torch.export.export(model, (torch.randn(1, 3, 48, 41),), dynamic_shapes=(dims,)).module()
    with torch.no_grad():
        for size in ((33, 34), (48, 35), (17, 32)):
            x = torch.randn(1, 3, *size)
            expected = model(x)
            for other in (compiled, traced, exported):
                assert_same(other(x), expected)


def test_channels_last_and_bfloat16() -> None:
    model = randomize(create_segmenter('scae_swwae', CLASSES, init='random'))
    x = torch.randn(2, 3, 33, 34)
    with torch.no_grad():
        expected = model(x)
        output = model.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
        assert output.is_contiguous(memory_format=torch.channels_last)
        assert_same(output, expected)
        with torch.autocast('cpu', dtype=torch.bfloat16):
            rough = model(x).float()
    assert (rough - expected).square().mean() < 0.01 * expected.square().mean()


@pytest.mark.parametrize(('arguments', 'message'), [
    ({'num_classes': 5, 'init': 'bogus'}, "init must be .* not 'bogus'"),
    ({'num_classes': 5, 'init': None}, 'init must be .* not None'),
    ({'init': 'random'}, 'num_classes is needed'),
    ({'init': 'encoder'}, 'num_classes is needed'),
    ({}, 'num_classes is needed'),
    ({'num_classes': 0, 'init': 'random'}, 'num_classes must be at least 1, not 0'),
    ({'num_classes': 5, 'init': 'random', 'weights': 'dae_cifar10'}, "init='random' takes no weights"),
])
def test_wrong_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        create_segmenter('scae_swwae', **arguments)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('init', ['autoencoder', 'encoder'])
def test_other_shortcuts_than_the_checkpoints_are_refused(init: Any) -> None:
    with pytest.raises(ValueError, match='trained with shortcuts=True, not shortcuts=False'):
        create_segmenter(SHIPPED, CLASSES, init, shortcuts=False)
    assert create_segmenter(SHIPPED, CLASSES, init, shortcuts=True).decoder.shortcuts


def test_any_encoder_will_do_where_only_that_is_taken() -> None:
    """A classifier's, where it is named; of an architecture alone the auto-encoder's."""
    for name, source, shortcuts in (
            (DEFAULT, DEFAULT, None), (DEFAULT, DEFAULT, False), ('scae_springenberg9', SHIPPED, None)):
        model = create_segmenter(name, CLASSES, 'encoder', shortcuts=shortcuts)
        weights = find(source).tensors('model.safetensors')
        assert torch.equal(model.encoder.blocks[3].conv.weight, weights['blocks.3.conv.weight'].float())
        assert model.decoder.shortcuts == (shortcuts is None)
        assert 'label_names' not in model.encoder.pretrained_cfg  # those of the source, not of the masks
    with pytest.raises(CheckpointError, match='a classifier, not an autoencoder'):
        create_segmenter(DEFAULT, CLASSES)


def test_unknown_names_are_refused() -> None:
    for init in ('autoencoder', 'random'):
        with pytest.raises(ValueError, match='scae_vgg19.*scae_vgg16'):
            create_segmenter('scae_vgg19', CLASSES, init)
    with pytest.raises(TypeError, match='no_such_option'):
        create_segmenter('scae_vgg16', CLASSES, init='random', no_such_option=1)
