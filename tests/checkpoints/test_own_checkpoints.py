"""Checkpoints in folders of the user's own, and those of others."""

import json
import os
import shutil
from pathlib import Path

import pytest
import timm
import torch

from scae_zoo import CheckpointError, create_autoencoder, create_segmenter
from scae_zoo.checkpoints import finding, timm_configs
from scae_zoo.checkpoints.folder import open_folder
from scae_zoo.checkpoints.writing import update_manifest, write
from scae_zoo.factory import create_encoder, find_checkpoint, find_start

from ..support.checkpoint_folders import ARCHITECTURE, NOTES, edit, same, weights_without, write_autoencoder
from ..support.networks import DEFAULT, SHIPPED, randomize
from ..support.processes import Process, code, scae


@pytest.mark.parametrize('architecture', ['scae_swwae', 'scae_allconv15'])
@pytest.mark.parametrize('shortcuts', [True, False])
def test_written_and_read_back(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, architecture: str, shortcuts: bool) -> None:
    model = write_autoencoder(tmp_path / f'{architecture}.mine', architecture, shortcuts=shortcuts)
    monkeypatch.setenv('SCAE_ZOO_CHECKPOINTS', str(tmp_path))
    again = create_autoencoder(f'{architecture}.mine', pretrained=True)
    assert again.decoder.shortcuts == shortcuts
    assert same(again, model, 1e-3)
    with pytest.raises(ValueError, match='shortcuts'):
        create_autoencoder(f'{architecture}.mine', pretrained=True, shortcuts=not shortcuts)
    assert f'{architecture}.mine' in finding.names()
    assert finding.find(f'{architecture}.mine').metrics == {'figure': 1.5}


def test_own_folder_goes_before_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = write_autoencoder(tmp_path / SHIPPED)
    monkeypatch.setenv('SCAE_ZOO_CHECKPOINTS', str(tmp_path))
    assert same(timm.create_model(SHIPPED, pretrained=True), model.encoder, 1e-3)
    assert same(create_autoencoder(SHIPPED, pretrained=True), model, 1e-3)


@pytest.mark.parametrize('told_before_the_import', [True, False])
def test_own_classifier_under_a_name_of_the_zoo(tmp_path: Path, told_before_the_import: bool) -> None:
    """timm has its classes, mean and size, not those of the zoo's; what the caller asks for goes before."""
    encoder = timm.create_model('scae_springenberg9', num_classes=3)
    encoder.pretrained_cfg = {
        **encoder.pretrained_cfg, 'num_classes': 3, 'label_names': ['x', 'y', 'z'], 'mean': (0.1, 0.2, 0.3),
        'input_size': (3, 40, 40)}
    write(tmp_path / DEFAULT, encoder, None, recipe={}, metrics={}, card='')
    early, late = (str(tmp_path), None) if told_before_the_import else (None, str(tmp_path))
    text = f'''
import os, timm, scae_zoo
os.environ.update({{'SCAE_ZOO_CHECKPOINTS': {late!r}}} if {late!r} else {{}})
model = timm.create_model({DEFAULT!r}, pretrained=True)
assert model.num_classes == model.head.fc.out_features == 3
cfg = model.pretrained_cfg
assert tuple(cfg['label_names']) == ('x', 'y', 'z')
assert (cfg['mean'], cfg['input_size']) == ((0.1, 0.2, 0.3), (3, 40, 40))
model = timm.create_model({DEFAULT!r}, pretrained=True, num_classes=7, pretrained_cfg_overlay={{'mean': (0.5,) * 3}})
assert model.head.fc.out_features == 7
assert model.pretrained_cfg['mean'] == (0.5,) * 3
'''
    environment = {'SCAE_ZOO_CHECKPOINTS': early} if early else {}
    result = Process(tmp_path / 'log', code, text, **environment).wait()
    assert result.returncode == 0, result.stderr


def test_own_tags_come_after_the_zoos_and_damaged_ones_are_passed_over(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / f'{ARCHITECTURE}.a').mkdir()
    (tmp_path / f'{ARCHITECTURE}.a' / 'model.safetensors').touch()
    model = write_autoencoder(tmp_path / f'{ARCHITECTURE}.b')
    write_autoencoder(tmp_path / 'scae_allconv15.c', 'scae_allconv15')
    write_autoencoder(tmp_path / 'scae_swwae.d', ARCHITECTURE)
    monkeypatch.setenv('SCAE_ZOO_CHECKPOINTS', str(tmp_path))
    monkeypatch.setattr(finding, 'WEIGHTS', weights_without('scae_swwae', tmp_path / 'weights'))
    assert finding.find(ARCHITECTURE, kind='autoencoder').name == SHIPPED
    assert finding.find('scae_allconv15', 'c').name == 'scae_allconv15.c'
    with pytest.raises(CheckpointError, match='scae_swwae: no checkpoint of it'):
        finding.find('scae_swwae')
    assert same(create_autoencoder(ARCHITECTURE, weights='b'), model, 1e-3)
    # timm learns of them when the package is imported
    text = f"""
import timm, scae_zoo
print(timm.list_pretrained('scae_*'))
print(timm.create_model('{ARCHITECTURE}.b', pretrained=True).pretrained_cfg['file'])
print(timm.create_model('{ARCHITECTURE}').pretrained_cfg['tag'])
"""
    result = Process(tmp_path / 'log', code, text).wait()
    assert result.stdout.splitlines() == [
        str(sorted([f'{ARCHITECTURE}.b', *timm.list_pretrained('scae_*'), 'scae_allconv15.c'])),
        str(tmp_path / f'{ARCHITECTURE}.b' / 'model.safetensors'), DEFAULT.partition('.')[2]]


def test_the_default_is_a_classifier_or_the_one_that_is_marked(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finding, 'WEIGHTS', tmp_path)
    write_autoencoder(tmp_path / f'{ARCHITECTURE}.a')
    segmenter = create_segmenter(ARCHITECTURE, 4, init='random')
    write(tmp_path / f'{ARCHITECTURE}.b', segmenter.encoder, segmenter.decoder, **NOTES)
    classifier = timm.create_model(f'{ARCHITECTURE}.untrained', num_classes=2)
    classifier.pretrained_cfg |= {'num_classes': 2, 'label_names': ['x', 'y'], 'pool_size': (9, 9)}
    write(tmp_path / f'{ARCHITECTURE}.c', classifier, **NOTES)
    update_manifest(tmp_path)
    cfgs = timm_configs.pretrained_cfgs({ARCHITECTURE: {}})
    assert list(cfgs) == [f'{ARCHITECTURE}.c', f'{ARCHITECTURE}.a']
    first = cfgs[f'{ARCHITECTURE}.c']
    assert (first.num_classes, first.label_names, first.pool_size) == (2, ('x', 'y'), (9, 9))
    entries = json.loads((tmp_path / 'manifest.json').read_text())
    entries[f'{ARCHITECTURE}.a']['default'] = True
    (tmp_path / 'manifest.json').write_text(json.dumps(entries))
    update_manifest(tmp_path)
    assert list(timm_configs.pretrained_cfgs({ARCHITECTURE: {}})) == [f'{ARCHITECTURE}.a', f'{ARCHITECTURE}.c']


def test_another_activation_is_that_of_the_checkpoint(tmp_path: Path) -> None:
    """timm writes it into config.json; also pooling and the like."""
    encoder = randomize(timm.create_model(
        f'{ARCHITECTURE}.untrained', act_layer='silu', global_pool='max', num_classes=3))
    timm.models._hub.save_for_hf(encoder, tmp_path / 'mine', safe_serialization=True)
    x = torch.randn(2, 3, 29, 29)
    expected = timm.create_model(f'local-dir:{tmp_path / "mine"}', pretrained=True).eval()(x)
    assert not torch.allclose(expected, torch.zeros(()))
    model = create_encoder(ARCHITECTURE, open_folder(tmp_path / 'mine'))
    torch.testing.assert_close(model.eval()(x), expected)
    model = timm.create_model(ARCHITECTURE, pretrained=True, pretrained_cfg_overlay={
        'file': str(tmp_path / 'mine')})
    torch.testing.assert_close(model.eval()(x), expected)
    timm.models._hub.save_for_hf(model, tmp_path / 'again', safe_serialization=True)
    again = timm.create_model(f'local-dir:{tmp_path / "again"}', pretrained=True)
    torch.testing.assert_close(again.eval()(x), expected)
    segmenter = create_segmenter(ARCHITECTURE, 2, 'encoder', weights=str(tmp_path / 'mine'), act_layer=None)
    assert isinstance(segmenter.encoder.blocks[0].bn.act, torch.nn.SiLU)
    model = randomize(write_autoencoder(tmp_path / f'{ARCHITECTURE}.silu', act_layer='silu')).eval()
    write(tmp_path / f'{ARCHITECTURE}.silu', model.encoder, model.decoder, **NOTES)
    again = create_autoencoder(ARCHITECTURE, weights=str(tmp_path / f'{ARCHITECTURE}.silu')).eval()
    assert (again(x) - model(x)).norm() < 0.01 * model(x).norm()  # stored as fp16
    assert isinstance(again.decoder.blocks[0].bn.act, torch.nn.SiLU)
    not_given = create_autoencoder(
        ARCHITECTURE, weights=str(tmp_path / f'{ARCHITECTURE}.silu'), act_layer=None, norm_layer=None, dtype=None)
    torch.testing.assert_close(not_given.eval()(x), again(x))
    model = create_encoder(ARCHITECTURE, open_folder(tmp_path / 'mine'), act_layer=None)
    torch.testing.assert_close(model.eval()(x), expected)


def test_another_norm_is_that_of_the_checkpoint(tmp_path: Path) -> None:
    """In both halves."""
    model = randomize(write_autoencoder(tmp_path / 'mine', norm_layer='groupnorm'))
    write(tmp_path / 'mine', model.encoder, model.decoder, **NOTES)
    again = create_autoencoder(ARCHITECTURE, weights=str(tmp_path / 'mine'))
    assert same(again, model, 1e-3)
    assert isinstance(again.decoder.blocks[0].bn, torch.nn.GroupNorm)


@pytest.mark.parametrize('args', [
    {'act_layer': 'nonsense'}, {'norm_layer': 7}, {'global_pool': 'most'}, ['act_layer']])
def test_arguments_that_timm_does_not_know(tmp_path: Path, args: object) -> None:
    write_autoencoder(tmp_path / 'mine')
    edit(tmp_path / 'mine' / 'config.json', lambda config: {**config, 'model_args': args})
    with pytest.raises(CheckpointError, match='config.json: (model_args are none of timm|pretrained_cfg is not)'):
        create_autoencoder(ARCHITECTURE, weights=tmp_path / 'mine')
    ours = {'global_pool': '', 'drop_path_rate': 0.1, 'img_size': 29}  # what does not concern what is built here
    edit(tmp_path / 'mine' / 'config.json', lambda config: {**config, 'model_args': ours})
    encoder = create_encoder(ARCHITECTURE, open_folder(tmp_path / 'mine'), num_classes=2)
    assert encoder(torch.randn(1, 3, 29, 29)).shape == (1, 2)


@pytest.mark.parametrize('arguments', [{'num_classes': 5}, {'num_classes': 0}, {'in_chans': 1}, {}])
def test_what_is_on_the_hub_alone(tmp_path: Path, arguments: dict[str, int]) -> None:
    """timm is told of it when the package is imported, before its configuration is at hand."""
    package = Path(shutil.copytree(finding.WEIGHTS.parent, tmp_path / 'scae_zoo'))
    (package / 'weights' / DEFAULT).rename(tmp_path / 'hub')
    manifest = package / 'weights' / 'manifest.json'
    entries = json.loads(manifest.read_text())
    entries[DEFAULT]['hub'] = True
    manifest.write_text(json.dumps(entries))
    text = f'''
import huggingface_hub, pathlib, sys, timm
sys.path.insert(0, {str(tmp_path)!r})
huggingface_hub.hf_hub_download = lambda repo, file, **_: str(pathlib.Path({str(tmp_path / 'hub')!r}) / file)
import scae_zoo
assert scae_zoo.__file__.startswith({str(tmp_path)!r})
model = timm.create_model({DEFAULT!r}, pretrained=True, **{arguments!r})
assert model.num_classes == {arguments.get('num_classes', 10)}
assert model.pretrained_cfg['mean'] == (0.4914, 0.4822, 0.4465)
assert len(model.pretrained_cfg.get('label_names') or ()) == (0 if {arguments.get('num_classes', 10)} == 5 else 10)
assert timm.create_model({DEFAULT!r}).num_classes == 10
'''
    result = Process(tmp_path / 'log', code, text).wait()
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize('value', ['~nobody-of-that-name/x', 'x' * 300, 'no/such/folder'])
def test_a_useless_folder_of_ones_own_stops_nothing(tmp_path: Path, value: str) -> None:
    result = Process(tmp_path / 'log', scae, 'list', SCAE_ZOO_CHECKPOINTS=value).wait()
    assert result.returncode == 0, result.stderr
    assert SHIPPED in result.stdout


def test_a_folder_that_is_called_like_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ('dae_cifar10', SHIPPED, ARCHITECTURE):
        (tmp_path / name).mkdir()
    for weights in ('dae_cifar10', SHIPPED):
        assert same(create_autoencoder(ARCHITECTURE, weights=weights), create_autoencoder(SHIPPED, pretrained=True))
    assert find_checkpoint(ARCHITECTURE).name == DEFAULT
    assert find_start(ARCHITECTURE).name == find_checkpoint(SHIPPED).name == SHIPPED
    write_autoencoder(tmp_path / SHIPPED)
    assert find_checkpoint(SHIPPED).folder == Path(SHIPPED)
    monkeypatch.chdir(SHIPPED)  # what the working directory is itself does not matter
    assert not same(timm.create_model(SHIPPED, pretrained=True), create_autoencoder(SHIPPED, weights=os.curdir).encoder)
    (tmp_path / SHIPPED / 'run.json').touch()
    assert timm.create_model(DEFAULT, pretrained=True).num_classes == 10


def test_a_folder_given_to_timm_says_its_classes(tmp_path: Path) -> None:
    """Whether or not the caller says how many they are."""
    encoder = randomize(timm.create_model(ARCHITECTURE, num_classes=5))
    encoder.pretrained_cfg = {**encoder.pretrained_cfg, 'num_classes': 5, 'label_names': list('abcde')}
    write(tmp_path / 'mine', encoder, **NOTES)
    for given in ({}, {'num_classes': 5}):
        for path in (tmp_path / 'mine', tmp_path / 'mine' / 'model.safetensors'):
            model = timm.create_model(
                ARCHITECTURE, pretrained=True, pretrained_cfg_overlay={'file': str(path)}, **given)
            assert same(model, encoder, 1e-2)
            assert model.pretrained_cfg['label_names'] == tuple('abcde')


def test_random_weights_know_no_classes() -> None:
    assert timm.create_model(DEFAULT, pretrained=True).pretrained_cfg['label_names']
    for name in (ARCHITECTURE, DEFAULT):
        model = timm.create_model(name, num_classes=10)
        assert 'label_names' not in model.pretrained_cfg
        assert 'label_names' not in model.default_cfg
    known = timm.create_model(DEFAULT, pretrained=True).pretrained_cfg
    assert 'label_names' not in timm.create_model(DEFAULT, pretrained_cfg=known).pretrained_cfg
    assert 'label_names' in timm.create_model(f'local-dir:{finding.WEIGHTS / DEFAULT}').pretrained_cfg
    model = timm.create_model(ARCHITECTURE, num_classes=3, pretrained_cfg_overlay={'label_names': tuple('abc')})
    assert model.pretrained_cfg['label_names'] == tuple('abc')


def test_a_folder_that_others_wrote_loads_too(tmp_path: Path) -> None:
    encoder = timm.create_model(ARCHITECTURE, num_classes=3)
    folder = tmp_path / 'mine'
    timm.models._hub.save_for_hf(encoder, folder, safe_serialization=True)
    assert same(timm.create_model(f'local-dir:{folder}', pretrained=True), encoder)
    again = timm.create_model(ARCHITECTURE, pretrained=True, num_classes=3, pretrained_cfg_overlay={
        'file': str(folder / 'model.safetensors'), 'num_classes': 3})
    assert same(again, encoder)


def test_manifest_follows_the_folders(tmp_path: Path) -> None:
    write_autoencoder(tmp_path / f'{ARCHITECTURE}.b')
    write_autoencoder(tmp_path / f'{ARCHITECTURE}.a')
    update_manifest(tmp_path)
    manifest = json.loads((tmp_path / 'manifest.json').read_text())
    assert list(manifest) == [f'{ARCHITECTURE}.a', f'{ARCHITECTURE}.b']
    assert manifest[f'{ARCHITECTURE}.a']['kind'] == 'autoencoder'
