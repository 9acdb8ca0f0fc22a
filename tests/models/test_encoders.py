"""The encoders meet timm's contract."""

from typing import Any

import pytest
import timm
import torch
from timm.data import create_transform, resolve_model_data_config
from timm.models import FeatureGraphNet, group_parameters, is_model_in_modules, reparameterize_model
from timm.optim import create_optimizer_v2
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor
from torchvision.transforms import Resize

from scae_zoo import create_autoencoder, create_segmenter

from ..support.networks import ARCHITECTURES, DEFAULT, assert_same, randomize

# widths, and the stride of each down-sampling conv by its number; facts of the paper, or of the network it names
LAYERS: dict[str, tuple[list[int], set[int]]] = {
    'scae_springenberg9': ([96] * 3 + [192] * 5, {3, 6}),
    'scae_allconv15': ([96] * 5 + [192] * 5 + [384] * 5, {5, 10}),
    'scae_swwae': ([64, 64, 128, 128, 256, 256, 256, 512, 512, 512], {1, 2, 4}),
    'scae_vgg16': ([64] * 2 + [128] * 2 + [256] * 3 + [512] * 6, {2, 4, 7, 10, 13}),
}
TAPS: dict[str, tuple[list[int], list[int]]] = {
    'scae_springenberg9': ([96, 192, 192], [1, 2, 4]),
    'scae_allconv15': ([96, 192, 384], [1, 2, 4]),
    'scae_swwae': ([64, 128, 512], [2, 4, 8]),
    'scae_vgg16': ([64, 128, 256, 512, 512, 512], [1, 2, 4, 8, 16, 32]),
}
IMAGE = (2, 3, 33, 40)

each_architecture = pytest.mark.parametrize('name', ARCHITECTURES)


def convs(model: nn.Module) -> list[nn.Conv2d]:
    return [m for m in model.modules() if isinstance(m, nn.Conv2d)]


def test_the_zoo_is_four_networks() -> None:
    assert tuple(timm.list_models('scae_*')) == ARCHITECTURES
    assert set(timm.list_models(module='scae')) == set(ARCHITECTURES)
    assert 'scae' in timm.list_modules()
    assert all(is_model_in_modules(name, {'scae'}) for name in ARCHITECTURES)


@each_architecture
def test_layers_are_the_papers(name: str) -> None:
    widths, strided = LAYERS[name]
    layers = convs(timm.create_model(name))
    assert [c.out_channels for c in layers] == widths
    assert {i for i, c in enumerate(layers, 1) if c.stride == (2, 2)} == strided
    kernels = [c.kernel_size for c in layers]
    assert kernels == [(3, 3)] * (len(widths) - 1) + [(1, 1) if name == 'scae_springenberg9' else (3, 3)]
    weights = sum(a * b * k * k for a, b, (k, _) in zip([3, *widths], widths, kernels, strict=False))
    size = sum(p.numel() for p in timm.create_model(name, num_classes=0).parameters())
    assert size == weights + 2 * sum(widths)  # no biases; scale and shift of each norm


def test_springenberg9_has_the_published_size() -> None:
    model = timm.create_model('scae_springenberg9', num_classes=10)
    assert convs(model)[-1].kernel_size == (1, 1)
    assert sum(p.numel() for p in model.parameters()) == 1_370_986


@each_architecture
def test_the_start_is_the_papers_and_the_seed_decides(name: str) -> None:
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        states.append(timm.create_model(name, num_classes=5).state_dict())
    first, again, other = states
    assert all(torch.equal(first[key], again[key]) for key in first)
    for key, value in first.items():
        if value.ndim > 1:  # convs and the classifier
            assert not torch.equal(value, other[key])
            error = 0.01 / value.numel() ** 0.5
            assert value.mean().abs() < 6 * error
            assert value.std() == pytest.approx(0.01, abs=6 * error)
    assert not first['head.fc.bias'].any()


@each_architecture
def test_classes_channels_and_pool(name: str) -> None:
    model = timm.create_model(name, num_classes=7, in_chans=4).eval()
    x = torch.randn(2, 4, 33, 40)
    assert model(x).shape == (2, 7)
    assert model.get_classifier().out_features == 7
    assert model.forward_head(model.forward_features(x), pre_logits=True).shape == (2, model.head_hidden_size)
    model.reset_classifier(3)
    assert model(x).shape == (2, 3)
    assert 0.005 < model.get_classifier().weight.std() < 0.015  # as at the start
    assert not model.get_classifier().bias.any()
    model.reset_classifier(0, '')
    assert model(x).shape == model.forward_features(x).shape
    model.reset_classifier(5, 'avgmax')
    model.reset_classifier(6, None)
    assert model.head.global_pool.pool_type == 'avgmax'
    assert model(x).shape == (2, 6)


@each_architecture
def test_defaults_and_grey_images(name: str) -> None:
    x = torch.randn(2, 1, 33, 40)
    model = timm.create_model(f'{name}.untrained', in_chans=1).eval()
    assert model(x).shape == (2, 1000 if name == 'scae_vgg16' else 10)
    again = timm.create_model(name, pretrained=True, in_chans=1, num_classes=0, pretrained_cfg_overlay={
        'state_dict': {key: value for key, value in model.state_dict().items() if 'head' not in key}, 'num_classes': 0})
    assert torch.equal(again.blocks[0].conv.weight, model.blocks[0].conv.weight)  # grey as it is
    backbone = timm.create_model(name, num_classes=0, in_chans=1).eval()
    assert isinstance(backbone.get_classifier(), nn.Identity)
    torch.testing.assert_close(backbone(x), backbone.forward_features(x).mean((2, 3)))
    both = timm.create_model(name, num_classes=0, global_pool='catavgmax').eval()
    assert both(torch.randn(IMAGE)).shape == (2, both.head_hidden_size) == (2, 2 * both.num_features)


@each_architecture
def test_feature_levels(name: str) -> None:
    channels, reductions = TAPS[name]
    backbone = timm.create_model(name, features_only=True).eval()
    assert backbone.feature_info.channels() == channels
    assert backbone.feature_info.reduction() == reductions
    x = torch.randn(IMAGE)
    levels = backbone(x)
    for level, width, reduction in zip(levels, channels, reductions, strict=True):
        assert level.shape == (2, width, -(-33 // reduction), -(-40 // reduction))
    two = timm.create_model(name, features_only=True, out_indices=(0, 2)).eval()
    assert two.feature_info.channels() == [channels[0], channels[2]]
    assert [f.shape for f in two(x)] == [levels[0].shape, levels[2].shape]
    last = len(channels) - 1
    with pytest.raises(ValueError, match=rf'^out_indices must be 0 to {last} .*, not 0, {last + 1}; .* encoder_depth='):
        timm.create_model(name, features_only=True, out_indices=(0, last + 1))


@each_architecture
@pytest.mark.parametrize('output_stride', [1, 2, 4, 8, 16, 32])
def test_output_stride_keeps_what_the_strides_skip(name: str, output_stride: int) -> None:
    """Dilated, the same weights give the same features, and those of the places between."""
    reductions = TAPS[name][1]
    if output_stride > reductions[-1]:
        with pytest.raises(ValueError, match=rf'^output_stride must be 1 or .* {reductions[-1]} for .*, not \d+$'):
            timm.create_model(name, output_stride=output_stride)
        return
    plain = randomize(timm.create_model(name, features_only=True))
    dense = timm.create_model(name, features_only=True, output_stride=output_stride).eval()
    dense.load_state_dict(plain.state_dict())
    assert dense.feature_info.reduction() == [min(reduction, output_stride) for reduction in reductions]
    x = torch.randn(1, 3, 21, 18)
    with torch.no_grad():
        for level, expected, reduction in zip(dense(x), plain(x), reductions, strict=True):
            kept = min(reduction, output_stride)
            assert level.shape[-2:] == (-(-21 // kept), -(-18 // kept))
            step = reduction // kept
            assert_same(level[..., ::step, ::step], expected)


def test_pretrained_weights_take_any_output_stride() -> None:
    plain, dense = (timm.create_model(DEFAULT, pretrained=True, output_stride=stride) for stride in (None, 2))
    assert all(torch.equal(value, dense.state_dict()[key]) for key, value in plain.state_dict().items())
    with pytest.raises(TypeError, match='output_stride: no such argument'):
        create_autoencoder(DEFAULT, output_stride=2)
    with pytest.raises(TypeError, match='output_stride: no such argument'):
        create_segmenter(DEFAULT, 5, 'random', output_stride=2)


@each_architecture
@pytest.mark.parametrize('kind', ['list', 'dict', 'hook', 'fx', 'getter'])
def test_every_feature_extractor_gives_the_intermediates(name: str, kind: str) -> None:
    x = torch.randn(IMAGE)
    torch.manual_seed(1)
    expected = timm.create_model(name).forward_intermediates(x, [0, -1], intermediates_only=True)  # the batch's norms
    torch.manual_seed(1)
    levels = timm.create_model(name, features_only=True, feature_cls=kind, out_indices=(0, -1))(x)
    levels = list(levels.values()) if isinstance(levels, dict) else levels
    for level, tensor in zip(levels, expected, strict=True):
        torch.testing.assert_close(level, tensor)


@each_architecture
def test_intermediates(name: str) -> None:
    model = randomize(timm.create_model(name))
    x = torch.randn(IMAGE)
    final, every = model.forward_intermediates(x)
    assert torch.equal(final, model.forward_features(x))
    assert torch.equal(every[-1], final)
    ran = []
    hooks = [m.register_forward_hook(lambda *_: ran.append(1)) for m in convs(model)]
    first, = model.forward_intermediates(x, [0], stop_early=True, intermediates_only=True)
    assert torch.equal(first, every[0])
    assert len(ran) == min(LAYERS[name][1] - {1}) - 1  # up to the conv before the next down-sampling
    for hook in hooks:
        hook.remove()
    last, = model.forward_intermediates(x, 1, intermediates_only=True)
    assert torch.equal(last, every[-1])
    with pytest.raises(ValueError, match='NCHW'):
        model.forward_intermediates(x, output_fmt='NLC')


@each_architecture
@pytest.mark.parametrize('indices', [[0], [0, 1], 1])
def test_pruning_leaves_no_unused_parameter(name: str, indices: Any) -> None:
    model = timm.create_model(name)
    x = torch.randn(IMAGE)
    model.eval()
    before = model.forward_intermediates(x, indices, intermediates_only=True)
    kept = model.prune_intermediate_layers(indices)
    after = model.forward_intermediates(x, kept, intermediates_only=True)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert torch.equal(model.forward_features(x), before[-1])  # nothing is left behind the last tap
    model.train()(x).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


@each_architecture
@pytest.mark.parametrize('norm_layer', ['batchnorm2d', 'groupnorm'])
def test_training_reaches_every_parameter_also_with_checkpointing(name: str, norm_layer: str) -> None:
    model = randomize(timm.create_model(name, num_classes=5, norm_layer=norm_layer)).train()
    x = torch.randn(IMAGE)
    gradients = []
    for enable in (False, True):
        model.set_grad_checkpointing(enable)
        model.zero_grad()
        model(x).square().mean().backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(checkpointed, plain)
    assert all(g.abs().sum() > 0 for g in gradients[0])


@each_architecture
def test_layer_wise_lr_decay_groups_by_block(name: str) -> None:
    model = timm.create_model(name, num_classes=10)
    groups = group_parameters(model, model.group_matcher())
    depth = len(convs(model))
    assert len(groups) == depth + 1
    optimizer = create_optimizer_v2(model, 'adamw', lr=1., layer_decay=0.5, weight_decay=0.1)
    scales = {id(p): group['lr_scale'] for group in optimizer.param_groups for p in group['params']}
    for key, parameter in model.named_parameters():
        below_the_head = depth - int(key.split('.')[1]) if key.startswith('blocks.') else 0
        assert scales[id(parameter)] == 0.5 ** below_the_head


@each_architecture
@pytest.mark.usefixtures('_fresh_compiler')
def test_script_trace_compile_export(name: str) -> None:
    model = randomize(timm.create_model(name, num_classes=5))
    x = torch.randn(IMAGE)
    expected = model(x)
    torch.testing.assert_close(torch.jit.script(model)(x), expected)
    levels = timm.create_model(name, features_only=True, feature_cls='getter')
    for level, tensor in zip(torch.jit.script(levels)(x), levels(x), strict=True):
        torch.testing.assert_close(level, tensor)
    torch.testing.assert_close(torch.fx.symbolic_trace(model)(x), expected)
    extractor = create_feature_extractor(model, ['blocks.1', 'head'])
    torch.testing.assert_close(extractor(x)['head'], expected)
    last = len(TAPS[name][0]) - 1
    graph = FeatureGraphNet(model, (0, last))
    for level, tensor in zip(graph(x), model.forward_intermediates(x, [0, last])[1], strict=True):
        torch.testing.assert_close(level, tensor)
    torch.testing.assert_close(torch.compile(model, fullgraph=True, backend='aot_eager')(x), expected)
    dims = {0: torch.export.Dim('n', min=1), 2: torch.export.Dim('h', min=17), 3: torch.export.Dim('w', min=17)}
    with torch.fx.experimental._config.patch(backed_size_oblivious=True):  # feature maps of size 1, too
        exported = torch.export.export(model, (x,), dynamic_shapes=(dims,)).module()
    for shape in ((3, 3, 48, 35), (1, 3, 33, 64), (1, 3, 17, 17)):
        other = torch.randn(shape)
        torch.testing.assert_close(exported(other), model(other))


@each_architecture
def test_device_and_dtype_reach_every_layer(name: str) -> None:
    meta = timm.create_model(name, num_classes=5, device='meta')
    assert {t.device.type for t in meta.state_dict().values()} == {'meta'}
    assert meta(torch.empty(IMAGE, device='meta')).shape == (2, 5)
    for dtype in (torch.float64, torch.bfloat16):
        model = timm.create_model(name, dtype=dtype)
        model.reset_classifier(3)
        assert {t.dtype for t in model.state_dict().values() if t.is_floating_point()} == {dtype}
        assert model(torch.randn(IMAGE, dtype=dtype)).dtype == dtype


@each_architecture
def test_layers_by_name_and_unknown_keywords(name: str) -> None:
    model = timm.create_model(name, act_layer='silu', norm_layer='groupnorm')
    kinds = {type(m) for m in model.modules()}
    assert nn.SiLU in kinds
    assert not any(issubclass(kind, (nn.ReLU, nn.BatchNorm2d)) for kind in kinds)
    x = torch.randn(IMAGE)
    torch.testing.assert_close(model(x)[:1], model(x[:1]))  # in training, a batch norm would mix the images
    assert model.forward_features(x).min() < 0  # ReLU would not
    with pytest.raises(TypeError, match='no_such_option'):
        timm.create_model(name, no_such_option=1)


@each_architecture
def test_folding_the_norms_keeps_the_output(name: str) -> None:
    model = randomize(timm.create_model(name))
    folded = reparameterize_model(model)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
    assert any(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    x = torch.randn(IMAGE)
    torch.testing.assert_close(folded(x), model(x), rtol=1e-4, atol=1e-5)


@each_architecture
def test_evaluation_crop_is_the_papers(name: str) -> None:
    model = timm.create_model(f'{name}.untrained', num_classes=2)
    config = resolve_model_data_config(model)
    crop = {'scae_swwae': 89, 'scae_vgg16': 225}.get(name, 29)
    whole = {29: 32, 89: 96, 225: 256}[crop]
    assert config['crop_pct'] == crop / whole
    assert config['input_size'] == (3, crop, crop)
    transform = create_transform(**config)
    assert [t.size for t in transform.transforms if isinstance(t, Resize)] == [whole]
    with torch.device('meta'):
        features = timm.create_model(name, device='meta').forward_features(torch.empty(1, 3, crop, crop))
    assert tuple(features.shape[-2:]) == model.pretrained_cfg['pool_size']


@pytest.mark.parametrize('option', ['drop_rate', 'in_drop_rate', 'down_drop_rate'])
def test_dropout_acts_in_training_alone(option: str) -> None:
    x = torch.ones(4, 3, 32, 32)
    model = timm.create_model('scae_springenberg9', norm_layer='groupnorm', **{option: 0.5})
    assert not torch.equal(model(x), model(x))
    plain = timm.create_model('scae_springenberg9', norm_layer='groupnorm').eval()
    plain.load_state_dict(model.state_dict())
    assert torch.equal(model.eval()(x), plain(x))


def test_dropout_is_on_the_image_and_behind_each_down_sampling() -> None:
    model = timm.create_model('scae_springenberg9', act_layer='silu', in_drop_rate=0.2, down_drop_rate=0.5)
    zeros = []
    for layer in convs(model):
        layer.register_forward_pre_hook(lambda _, inputs: zeros.append((inputs[0] == 0).float().mean().item()))
    model(torch.ones(4, 3, 32, 32))
    # All-CNN drops a fifth of the image and half of what conv 3 and conv 6 give, which convs 4 and 7 read
    assert zeros == pytest.approx([0.2, 0, 0, 0.5, 0, 0, 0.5, 0], abs=0.03)
