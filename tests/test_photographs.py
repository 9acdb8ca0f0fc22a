"""The checkpoints that were trained on photographs: what each call gives, and that their recipes make them."""

import dataclasses
import importlib
import re
from pathlib import Path

import pytest
import timm
import torch
import yaml

from scae_zoo import create_autoencoder, create_segmenter
from scae_zoo.checkpoints import finding
from scae_zoo.cli import main
from scae_zoo.data.sources import VOC_CLASSES
from scae_zoo.images import CLASS_COLOURS

from .support.pictures import save
from .support.recipe_runs import RECIPES
from .test_hub import load

AUTOENCODER, CLASSIFIER, SEGMENTER = (
    f'scae_vgg16.{tag}' for tag in ('dae_imagenette', 'dae_ft_voc2012sub', 'dae_seg_voc2012sub'))


def test_each_call_takes_its_own() -> None:
    model = load('vgg16_scae')
    by_name = create_autoencoder(AUTOENCODER, pretrained=True).state_dict()
    assert all(torch.equal(value, by_name[key]) for key, value in model.state_dict().items())
    x = torch.randn(1, 3, 47, 52)
    with torch.inference_mode():
        assert model.eval()(x).shape == x.shape
        classifier = timm.create_model('scae_vgg16', pretrained=True).eval()
        assert classifier.pretrained_cfg['tag'] == CLASSIFIER.partition('.')[2]
        assert classifier.pretrained_cfg['label_names'] == VOC_CLASSES
        assert classifier(x).shape == (1, 20)
        segmenter = create_segmenter('scae_vgg16', pretrained=True).eval()
        assert segmenter.pretrained_cfg['label_names'] == ('background', *VOC_CLASSES)
        assert segmenter(x).shape == (1, 21, 47, 52)
    assert load('vgg16_scae_encoder').num_classes == 20
    assert load('vgg16_scae_segmenter').num_classes == 21


def test_features_of_photographs() -> None:
    backbone = timm.create_model('scae_vgg16', pretrained=True, features_only=True).eval()
    with torch.inference_mode():
        features = backbone(torch.randn(1, 3, 65, 65))
    assert [tuple(each.shape[1:]) for each in features] == [
        (64, 65, 65), (128, 33, 33), (256, 17, 17), (512, 9, 9), (512, 5, 5), (512, 3, 3)]


def test_the_smaller_networks_calls_take_their_own() -> None:
    x = torch.randn(1, 3, 47, 52)
    with torch.inference_mode():
        assert load('swwae_scae').eval()(x).shape == x.shape
        classifier = timm.create_model('scae_swwae', pretrained=True).eval()
        assert classifier.pretrained_cfg['tag'] == 'dae_ft_imagenette96'
        assert classifier(x).shape == (1, 10) == (1, len(classifier.pretrained_cfg['label_names']))


@pytest.mark.parametrize(('name', 'recipe', 'budget', 'constant', 'size'), [
    (AUTOENCODER, 'photographs', 'gpu', 'PRETRAINING', 'UNLABELLED_SIZE'),
    (CLASSIFIER, 'photographs', 'gpu', 'FINETUNING', 'SIZE'),
    (SEGMENTER, 'photographs', 'gpu', 'SEGMENTING', 'SIZE'),
    ('scae_swwae.dae_imagenette96', 'stl10_folds', 'cpu', 'PRETRAINING', 'SIZE'),
    ('scae_swwae.dae_ft_imagenette96', 'stl10_folds', 'cpu', 'FINETUNING', 'SIZE')])
def test_the_recipe_has_their_settings(
        name: str, recipe: str, budget: str, constant: str, size: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each setting of the budget, and the size of the images, which is in what their data are called."""
    monkeypatch.syspath_prepend(str(RECIPES))
    constants = vars(importlib.import_module(recipe))
    recorded = yaml.safe_load(finding.find(name).read('recipe.yaml'))
    settings = dataclasses.asdict(constants[constant][budget])
    assert settings == {key: recorded[key] for key in settings}
    side = constants[size] if isinstance(constants[size], int) else constants[size][budget]
    assert re.fullmatch(rf'train \d+ images [0-9a-f]+ {side}( 100 labels per class, seed 0)?', recorded['data'])


def test_class_colours_are_those_of_voc() -> None:
    assert CLASS_COLOURS[[0, 1, 2, 15, 20, 255]].tolist() == [
        [0, 0, 0], [128, 0, 0], [0, 128, 0], [192, 128, 128], [0, 64, 128], [224, 224, 192]]


def test_reconstruct_corrupts_as_in_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photograph = save(tmp_path / 'photo.png', 3, (64, 64))
    for model, picture in (('scae_vgg16', 'photo_block-0.25-16.png'), ('scae_springenberg9', 'photo_gaussian-25.png')):
        assert main(['reconstruct', str(photograph), '--model', model, '-o', str(tmp_path / 'out')]) == 0
        assert capsys.readouterr().out.endswith(f'{picture}\n')
