"""The checkpoint store: writing and finding."""

import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file

from scae_zoo import CheckpointError, create_autoencoder, create_segmenter
from scae_zoo.checkpoints import finding
from scae_zoo.checkpoints.writing import write
from scae_zoo.models.loading import adapt_image_channels

from ..support.checkpoint_folders import ARCHITECTURE, NOTES, TAG, same
from ..support.networks import DEFAULT, SHIPPED

# -- what is shipped ---------------------------------------------------------------------------------------------------

def test_listed_is_what_loads_without_a_network() -> None:
    names = timm.list_pretrained('scae_*')
    assert names == [name for name in finding.names() if finding.kind_of(name) != 'segmenter']
    assert SHIPPED in names
    for name in names:
        model = timm.create_model(name, pretrained=True)
        assert not same(model, timm.create_model(name.partition('.')[0], num_classes=model.num_classes))


def test_every_way_gives_the_same_encoder() -> None:
    folder = finding.WEIGHTS / SHIPPED
    whole = create_autoencoder(SHIPPED, pretrained=True)
    for model in (
            timm.create_model(SHIPPED, pretrained=True),
            timm.create_model(f'local-dir:{folder}', pretrained=True),
            create_autoencoder(ARCHITECTURE, pretrained=True).encoder,
            create_autoencoder(ARCHITECTURE, weights=TAG).encoder,
            create_autoencoder(ARCHITECTURE, weights=str(folder)).encoder,
            create_autoencoder(ARCHITECTURE, weights=folder).encoder):
        assert same(model, whole.encoder)
    stored = load_file(folder / 'model.safetensors')
    assert stored.keys() == whole.encoder.state_dict().keys()
    half = {key for key, value in stored.items() if value.dtype == torch.float16}
    assert half == {key for key in stored if key.endswith('conv.weight')}


@pytest.mark.parametrize(('weights', 'message'), [
    (SHIPPED, f'{SHIPPED}: is for {ARCHITECTURE}, not scae_allconv15'),
    (f'{ARCHITECTURE}.nonsense', f'{ARCHITECTURE}.nonsense: is for {ARCHITECTURE}, not scae_allconv15'),
    ('scae_allconv15.nonsense', 'scae_allconv15.nonsense: no such checkpoint'),
    ('nonsense.safetensors', 'nonsense.safetensors: no such checkpoint'),
])
def test_a_name_that_does_not_fit_is_refused(weights: str, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        create_autoencoder('scae_allconv15', weights=weights)


@pytest.mark.usefixtures('_without_swwae')
def test_a_network_without_weights_says_how_it_is_made() -> None:
    with pytest.raises(CheckpointError, match='scae_swwae: no autoencoder of it; .*for one still to be trained: '):
        create_autoencoder('scae_swwae', pretrained=True)


def test_the_default_is_a_classifier_that_knows_its_classes() -> None:
    model = timm.create_model(ARCHITECTURE, pretrained=True)
    assert same(model, timm.create_model(DEFAULT, pretrained=True))
    assert model.num_classes == 10
    assert ' '.join(model.pretrained_cfg['label_names']) == (
        'airplane automobile bird cat deer dog frog horse ship truck')
    x = torch.randn(2, 3, 32, 32)
    pooled = timm.create_model(ARCHITECTURE, pretrained=True, num_classes=0).eval()
    torch.testing.assert_close(pooled(x), model.eval().forward_features(x).mean((2, 3)))


def test_another_number_of_classes_means_a_new_head_without_names() -> None:
    model, default = (timm.create_model(ARCHITECTURE, pretrained=True, **kwargs) for kwargs in ({'num_classes': 5}, {}))
    assert model.head.fc.weight.shape == (5, 192)
    assert torch.equal(model.blocks[3].conv.weight, default.blocks[3].conv.weight)
    assert 'label_names' not in model.pretrained_cfg
    assert len(default.pretrained_cfg['label_names']) == 10


def test_the_encoder_adapts_as_timm_users_expect() -> None:
    whole = timm.create_model(SHIPPED, pretrained=True)
    classifier = timm.create_model(SHIPPED, pretrained=True, num_classes=10, in_chans=1)
    assert torch.equal(classifier.blocks[3].conv.weight, whole.blocks[3].conv.weight)
    torch.testing.assert_close(classifier.blocks[0].conv.weight, whole.blocks[0].conv.weight.sum(1, keepdim=True))
    levels = timm.create_model(SHIPPED, pretrained=True, features_only=True).eval()(torch.ones(1, 3, 32, 32))
    torch.testing.assert_close(levels[-1], whole.eval().forward_features(torch.ones(1, 3, 32, 32)))


def test_grey_images_are_reconstructed_like_grey_colour_images() -> None:
    colour = create_autoencoder(SHIPPED, pretrained=True).eval()
    grey = create_autoencoder(SHIPPED, pretrained=True, in_chans=1).eval()
    x = torch.randn(2, 1, 20, 24)
    torch.testing.assert_close(grey(x), colour(x.expand(2, 3, 20, 24)).mean(1, keepdim=True), rtol=1e-3, atol=1e-4)
    assert create_autoencoder(SHIPPED, pretrained=True, in_chans=5)(torch.randn(1, 5, 20, 24)).shape == (1, 5, 20, 24)


def test_decoder_weights_for_other_channels() -> None:
    """One channel is the mean of the three, more are the three over again; the rest stays."""
    weight = torch.arange(24.).view(2, 3, 2, 2)
    three = {'head.weight': weight, 'head.bias': torch.tensor([1., 2., 6.]), 'other': torch.ones(1)}
    grey, four = (adapt_image_channels(three, n) for n in (1, 4))
    assert torch.equal(grey['head.weight'], weight[:, 1:2])  # each second channel lies between its neighbours
    assert torch.equal(grey['head.bias'], torch.tensor([3.]))
    assert torch.equal(four['head.weight'], weight[:, [0, 1, 2, 0]])
    assert torch.equal(four['head.bias'], torch.tensor([1., 2., 6., 1.]))
    assert grey['other'] is four['other'] is three['other']
    assert adapt_image_channels(three, 3) is three


def test_package_manifest_is_complete() -> None:
    manifest = json.loads((finding.WEIGHTS / 'manifest.json').read_text())
    assert set(manifest) == {p.name for p in finding.WEIGHTS.iterdir() if p.is_dir()}
    for name, entry in manifest.items():
        checkpoint = finding.find(name)
        files = {p.name for p in (finding.WEIGHTS / name).iterdir()} - {'manifest.json'}
        assert set(entry['files']) == files
        assert all(checkpoint.read(file) for file in files)


# -- segmenters from the auto-encoder ----------------------------------------------------------------------------------

def test_segmenter_starts_from_what_init_says() -> None:
    source = create_autoencoder(SHIPPED, pretrained=True)
    both = create_segmenter(SHIPPED, 5, init='autoencoder')
    encoder = create_segmenter(SHIPPED, 5, init='encoder')
    neither = create_segmenter(ARCHITECTURE, 5, init='random')
    assert [same(m.encoder, source.encoder) for m in (both, encoder, neither)] == [True, True, False]
    assert [same(m.decoder.blocks, source.decoder.blocks) for m in (both, encoder, neither)] == [True, False, False]
    assert both(torch.randn(1, 3, 19, 22)).shape == (1, 5, 19, 22)


def test_trained_segmenter_comes_back(tmp_path: Path) -> None:
    model = create_segmenter(SHIPPED, 5)
    folder = tmp_path / f'{ARCHITECTURE}.seg'
    assert write(folder, model.encoder, model.decoder, **NOTES).kind == 'segmenter'
    again = create_segmenter(ARCHITECTURE, pretrained=True, weights=str(folder))
    assert again.num_classes == 5
    assert same(again, model, 1e-3)
    other = create_segmenter(ARCHITECTURE, 7, pretrained=True, weights=str(folder))
    assert other.eval()(torch.randn(1, 3, 20, 20)).shape[1] == 7
    assert same(other.decoder.blocks, again.decoder.blocks)
    with pytest.raises(CheckpointError, match='segmenter, not an autoencoder'):
        create_autoencoder(ARCHITECTURE, weights=str(folder))
    with pytest.raises(CheckpointError, match='autoencoder, not a segmenter'):
        create_segmenter(ARCHITECTURE, 5, pretrained=True, weights=str(finding.WEIGHTS / SHIPPED))
