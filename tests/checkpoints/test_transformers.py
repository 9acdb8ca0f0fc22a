"""Checkpoints' folders in the hands of transformers, which reads timm's layout in its own way."""

import json
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image

from scae_zoo.checkpoints.finding import WEIGHTS, names
from scae_zoo.checkpoints.folder import open_folder
from scae_zoo.checkpoints.writing import write

from ..support.checkpoint_folders import ARCHITECTURE, NOTES
from ..support.networks import DEFAULT, SHIPPED, randomize

MULTI_LABEL = 'multi_label_classification'
SEVERAL = 'scae_vgg16.dae_ft_voc2012sub'  # of several labels an image


@pytest.fixture(scope='module')
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a classifier of several labels with another activation."""
    encoder = randomize(timm.create_model(f'{ARCHITECTURE}.untrained', num_classes=3, act_layer='silu'))
    encoder.pretrained_cfg = {**encoder.pretrained_cfg, 'label_names': ('x', 'y', 'z')}
    folder = tmp_path_factory.mktemp('written') / 'mine'
    return write(folder, encoder, multi_label=True, **NOTES).folder


def config_of(folder: Path) -> dict:
    return json.loads((folder / 'config.json').read_text())


@pytest.mark.parametrize('name', names())
def test_layout_of_what_ships(name: str) -> None:
    config = config_of(WEIGHTS / name)
    assert 'num_classes' not in config['model_args']
    is_classifier = open_folder(WEIGHTS / name).kind == 'classifier'
    assert config.get('label_names') == (config['pretrained_cfg']['label_names'] if is_classifier else None)
    assert config.get('problem_type') == (MULTI_LABEL if name == SEVERAL else None)


def test_layout_of_what_is_written(classifier: Path) -> None:
    config = config_of(classifier)
    assert config['model_args'] == {'act_layer': 'silu', 'global_pool': 'avg', 'in_chans': 3}
    assert config['label_names'] == config['pretrained_cfg']['label_names'] == ['x', 'y', 'z']
    assert (config['num_classes'], config['problem_type']) == (3, MULTI_LABEL)


def test_the_network_is_timms(classifier: Path) -> None:
    transformers = pytest.importorskip('transformers', reason="transformers is not installed: it is in the extra 'dev'")
    x = torch.randn(2, 3, 40, 33)
    for folder in (WEIGHTS / DEFAULT, classifier):
        expected = timm.create_model(f'local-dir:{folder}', pretrained=True).eval()
        model = transformers.AutoModelForImageClassification.from_pretrained(folder).eval()
        assert [*model.config.id2label.values()] == [*expected.pretrained_cfg['label_names']]
        torch.testing.assert_close(model(x).logits, expected(x), rtol=1e-5, atol=1e-5)
    for folder in (WEIGHTS / SHIPPED, classifier):
        expected = timm.create_model(f'local-dir:{folder}', pretrained=True, num_classes=0).eval()
        found = transformers.AutoModel.from_pretrained(folder).eval()(x).pooler_output
        torch.testing.assert_close(found, expected(x), rtol=1e-5, atol=1e-5)


def test_pipeline_names_the_classes(classifier: Path) -> None:
    """Several labels each have a probability of their own."""
    transformers = pytest.importorskip('transformers', reason="transformers is not installed: it is in the extra 'dev'")
    image = Image.effect_noise((50, 60), 80).convert('RGB')
    for folder, together in ((WEIGHTS / DEFAULT, True), (classifier, False)):
        found = transformers.pipeline('image-classification', model=str(folder), device='cpu')(image, top_k=99)
        assert {each['label'] for each in found} == {*config_of(folder)['label_names']}
        assert (sum(each['score'] for each in found) == pytest.approx(1, abs=1e-5)) == together
