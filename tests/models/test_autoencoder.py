"""The auto-encoder: sizes, shortcuts, and what PyTorch can do with it."""

import pytest
import timm
import torch
import torch.nn.functional as F
from timm.models import reparameterize_model
from torch import nn

from scae_zoo import Scae, ScaeEncoder, create_autoencoder, create_segmenter, reconstruct
from scae_zoo.models import scae
from scae_zoo.models.decoder import ScaeDecoder

from ..support.networks import ARCHITECTURES, SHIPPED, assert_same, randomize

SIZES = [(height, width) for height in range(17, 98) for width in (17, 32, 97)]

each_architecture = pytest.mark.parametrize('name', ARCHITECTURES)


def depth(name: str) -> int:
    return len(scae.ARCHITECTURES[name])


def export(model: nn.Module) -> nn.Module:
    """One exported program, for any number of images of any size from 17 to 128."""
    dims = {axis: torch.export.Dim(label, min=low, max=high)
            for axis, label, low, high in ((0, 'n', 1, 64), (2, 'h', 17, 128), (3, 'w', 17, 128))}
    # or PyTorch specialises on feature maps of size 1, and scae_vgg16's program takes sides from 33 up alone
    with torch.fx.experimental._config.patch(backed_size_oblivious=True):
        return torch.export.export(model, (torch.randn(2, 3, 48, 41),), dynamic_shapes=(dims,)).module()


@each_architecture
def test_every_size_eager_and_exported(name: str) -> None:
    # the network's own layers, a 16th as wide: kernels and strides alone decide about sizes
    convs = tuple(spec._replace(channels=spec.channels // 16) for spec in scae.ARCHITECTURES[name])
    model = randomize(Scae(ScaeEncoder(convs, num_classes=0), ScaeDecoder(convs)))
    exported = export(model)
    for size in SIZES:
        x = torch.randn(1, 3, *size)
        with torch.no_grad():
            expected = model(x)
            output = exported(x)
        assert expected.shape == x.shape
        assert_same(output, expected)


@each_architecture
def test_the_whole_network_eager_and_exported(name: str) -> None:
    model = randomize(create_autoencoder(name))
    exported = export(model)
    for n, size in enumerate(SIZES[::31], 1):
        x = torch.randn(min(n, 3), 3, *size)
        with torch.no_grad():
            expected = model(x)
            assert expected.shape == x.shape
            assert_same(exported(x), expected)


@each_architecture
@pytest.mark.parametrize('shortcuts', [True, False])
def test_network_is_the_papers(name: str, shortcuts: bool) -> None:
    """Against a second writing of the network, in functions alone, from the text (section 2)."""
    model = randomize(create_autoencoder(name, shortcuts=shortcuts)).double()
    w = model.state_dict()
    convs = scae.ARCHITECTURES[name]
    n = len(convs)

    def norm_relu(x: torch.Tensor, key: str) -> torch.Tensor:
        mean, var, scale, shift = (
            w[f'{key}.bn.{part}'].view(-1, 1, 1) for part in ('running_mean', 'running_var', 'weight', 'bias'))
        return torch.relu((x - mean) / (var + 1e-5).sqrt() * scale + shift)

    image = torch.randn(2, 3, 34, 45, dtype=torch.float64)
    z, x = [image], image
    for i, (_, kernel, stride) in enumerate(convs):
        z.append(F.conv2d(x, w[f'encoder.blocks.{i}.conv.weight'], stride=stride, padding=kernel // 2))
        x = norm_relu(z[-1], f'encoder.blocks.{i}')
    for i in range(n, 0, -1):  # d_n ... d_1; d_i gives z_{i-1}'s shape
        _, kernel, stride = convs[i - 1]
        key = f'decoder.blocks.{n - i}'
        weight, bias = w['decoder.head.weight'], w['decoder.head.bias']
        if i > 1:
            weight, bias = w[f'{key}.deconv.weight'], None
        extra = [a - (stride * (b - 1) + 1) for a, b in zip(z[i - 1].shape[2:], x.shape[2:], strict=True)]
        x = F.conv_transpose2d(x, weight, bias, stride, kernel // 2, extra)
        if shortcuts and (i - 1) % 2 == 0:
            x = x + z[i - 1]
        if i > 1:
            x = norm_relu(x, key)
    torch.testing.assert_close(model(image), x)


@each_architecture
def test_shortcuts_start_at_the_image_and_every_second_conv(name: str) -> None:
    model = randomize(create_autoencoder(name))
    with torch.no_grad():
        features, raw = model.encode(torch.randn(1, 3, 33, 34))
        assert len(raw) == depth(name)
        output = model.decode(features, raw)
        for i, z in enumerate(raw):
            changed = model.decode(features, [*raw[:i], z + 1, *raw[i + 1:]])
            assert torch.equal(changed, output) == (i % 2 == 1)
        torch.testing.assert_close(model.decode(features, [raw[0] + 1, *raw[1:]]), output + 1)


@each_architecture
def test_without_shortcuts_the_decoder_reads_sizes_alone(name: str) -> None:
    model = randomize(create_autoencoder(name, shortcuts=False))
    x = torch.randn(1, 3, 33, 34)
    with torch.no_grad():
        features, raw = model.encode(x)
        assert torch.equal(model.decode(features, [torch.full_like(z, torch.nan) for z in raw]), model(x))


@each_architecture
@pytest.mark.parametrize('checkpointing', [False, True])
def test_encode_gives_features_and_raw_convolutions(name: str, checkpointing: bool) -> None:
    model = randomize(create_autoencoder(name))
    model.set_grad_checkpointing(checkpointing)
    convolved: list[torch.Tensor] = []
    for block in model.encoder.blocks:
        block.conv.register_forward_hook(lambda _module, _inputs, output: convolved.append(output.clone()))
    x = torch.randn(1, 3, 33, 34)
    with torch.no_grad():
        features, raw = model.encode(x)
        assert torch.equal(features, model.encoder.forward_features(x))
    # the activations that follow work in place, and must not have touched these
    for z, expected in zip(raw, [x, *convolved], strict=False):
        assert torch.equal(z, expected)


@each_architecture
def test_reconstruction_starts_near_the_image(name: str) -> None:
    x = torch.randn(4, 3, 48, 45)
    with torch.no_grad():
        residual = create_autoencoder(name)(x) - x
        alone = create_autoencoder(name, shortcuts=False)(x)
    assert residual.square().mean() < 0.1
    assert alone.square().mean() < 0.1  # no link from input to output: it starts near zero instead


@each_architecture
def test_other_channels_dtypes_and_devices(name: str) -> None:
    assert create_autoencoder(name, in_chans=1)(torch.randn(2, 1, 33, 34)).shape == (2, 1, 33, 34)
    meta = create_autoencoder(name, device='meta')
    assert {t.device.type for t in meta.state_dict().values()} == {'meta'}
    for dtype in (torch.float64, torch.bfloat16):
        model = create_autoencoder(name, dtype=dtype)
        assert {t.dtype for t in model.state_dict().values() if t.is_floating_point()} == {dtype}
        assert model(torch.randn(2, 3, 33, 34, dtype=dtype)).dtype == dtype


@each_architecture
def test_norm_and_activation_by_name(name: str) -> None:
    model = create_autoencoder(name, norm_layer='groupnorm', act_layer='silu')
    assert not any(isinstance(m, (nn.BatchNorm2d, nn.ReLU)) for m in model.modules())
    x = torch.randn(2, 3, 33, 34)
    with torch.no_grad():  # in training, a batch norm would mix the images
        torch.testing.assert_close(model(x)[:1], model(x[:1]))


def test_unknown_names_are_refused() -> None:
    for pretrained in (False, True):
        with pytest.raises(ValueError, match='scae_vgg19.*scae_vgg16'):
            create_autoencoder('scae_vgg19', pretrained)
    with pytest.raises(TypeError, match='no_such_option'):
        create_autoencoder('scae_vgg16', no_such_option=1)


def test_the_encoder_is_timms_without_classifier() -> None:
    encoder = create_autoencoder('scae_allconv15').encoder
    assert encoder.state_dict().keys() == timm.create_model('scae_allconv15', num_classes=0).state_dict().keys()


@each_architecture
def test_training_reaches_every_parameter_also_with_checkpointing(name: str) -> None:
    model = randomize(create_autoencoder(name)).train()
    x, target = torch.randn(2, 2, 3, 33, 34)
    gradients = []
    for enable in (False, True):
        model.set_grad_checkpointing(enable)
        model.zero_grad()
        F.mse_loss(model(x), target).backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(checkpointed, plain)
    assert all(g.abs().sum() > 0 for g in gradients[0])


def test_checkpointing_saves_memory_in_both_halves() -> None:
    """Of what a forward pass keeps for the backward pass."""
    def kept(model: torch.nn.Module, x: torch.Tensor) -> int:
        memory: dict[int, int] = {}

        def note(tensor: torch.Tensor) -> torch.Tensor:
            memory[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            result = model(x)
        del result
        return sum(memory.values())

    x = torch.randn(2, 3, 40, 40)
    for model in (create_autoencoder('scae_springenberg9').train(),
                  create_segmenter('scae_springenberg9', 3, init='random').train()):
        plain = kept(model, x)
        model.encoder.set_grad_checkpointing()
        half = kept(model, x)
        model.set_grad_checkpointing()
        assert kept(model, x) < half - 0.5 * (plain - half) < half < plain


def test_timm_finds_the_configuration() -> None:
    for model in (create_autoencoder(SHIPPED, pretrained=True),
                  create_segmenter('scae_springenberg9', 3, weights='dae_cifar10')):
        config = timm.data.resolve_model_data_config(model)
        assert config['input_size'] == (3, 29, 29)
        assert config['mean'] == pytest.approx((0.4914, 0.4822, 0.4465))
        assert 'state_dict' not in model.pretrained_cfg  # which would keep all weights twice
        model.pretrained_cfg = {**model.pretrained_cfg, 'mean': (0.1, 0.2, 0.3)}
        assert timm.data.resolve_model_data_config(model)['mean'] == (0.1, 0.2, 0.3)


@pytest.mark.parametrize('pretrained', [False, True])
def test_there_are_no_classes(pretrained: bool) -> None:
    with pytest.raises(TypeError, match='num_classes: no such argument'):
        create_autoencoder('scae_springenberg9', pretrained, num_classes=0)


def test_the_decoder_alone() -> None:
    model = create_autoencoder('scae_springenberg9').eval()
    x = torch.randn(1, 3, 33, 34)
    with torch.no_grad():
        assert torch.equal(model.decoder(*model.encode(x)) + x, model(x))


@each_architecture
@pytest.mark.usefixtures('_fresh_compiler')
def test_compiled_whole_it_computes_the_same(name: str) -> None:
    model = randomize(create_autoencoder(name))
    compiled = torch.compile(model, fullgraph=True, backend='aot_eager')
    for size in ((33, 34), (48, 35)):  # the second makes the sizes dynamic
        x = torch.randn(1, 3, *size)
        with torch.no_grad():
            assert_same(compiled(x), model(x))


@pytest.mark.usefixtures('_fresh_compiler')
def test_compiled_whole_it_trains_the_same() -> None:
    model = randomize(create_autoencoder('scae_swwae')).train()
    x = torch.randn(2, 3, 33, 34)
    gradients = []
    for forward in (model, torch.compile(model, fullgraph=True, backend='aot_eager')):
        model.zero_grad()
        forward(x).square().mean().backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    for eager, compiled in zip(*gradients, strict=True):
        assert_same(compiled, eager)


@each_architecture
def test_traced_by_fx_it_takes_any_size(name: str) -> None:
    model = randomize(create_autoencoder(name))
    traced = torch.fx.symbolic_trace(model)
    for size in ((17, 18), (34, 33)):
        x = torch.randn(1, 3, *size)
        with torch.no_grad():
            torch.testing.assert_close(traced(x), model(x))


@each_architecture
def test_channels_last_in_channels_last_out(name: str) -> None:
    model = randomize(create_autoencoder(name))
    x = torch.randn(2, 3, 33, 34)
    with torch.no_grad():
        expected = model(x)
        output = model.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
    assert output.is_contiguous(memory_format=torch.channels_last)
    assert_same(output, expected)


@each_architecture
def test_folding_leaves_the_norms_behind_the_raw_outputs(name: str) -> None:
    model = randomize(create_autoencoder(name))
    folded = reparameterize_model(model)  # a copy
    n = depth(name)
    sources = {f'encoder.blocks.{source - 1}.bn' for source in range(2, n, 2)}
    assert {key for key, m in folded.named_modules() if isinstance(m, nn.BatchNorm2d)} == sources
    again = reparameterize_model(randomize(create_autoencoder(name)))
    again.load_state_dict(folded.state_dict())
    x = torch.randn(1, 3, 33, 34)
    with torch.no_grad():
        assert_same(folded(x), model(x))
        assert_same(again(x), model(x))
        assert_same(reconstruct(folded, x, strip=1), model(x))


@each_architecture
def test_folding_leaves_no_norm_without_shortcuts(name: str) -> None:
    model = randomize(create_autoencoder(name, shortcuts=False))
    folded = reparameterize_model(model)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
    x = torch.randn(1, 3, 33, 34)
    with torch.no_grad():
        assert_same(folded(x), model(x))


@each_architecture
def test_bfloat16_autocast(name: str) -> None:
    model = randomize(create_autoencoder(name))
    x = torch.randn(1, 3, 33, 34)
    with torch.no_grad():
        expected = model(x)
        with torch.autocast('cpu', dtype=torch.bfloat16):
            output = model(x)
    assert output.dtype == torch.float32  # the image is added as it came
    error = (output - expected).square().mean() / expected.square().mean()
    assert 0 < error < 0.01
