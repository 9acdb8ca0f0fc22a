"""``scae pretrain``, ``finetune``, ``segment``, ``evaluate`` and ``probe``, as their user meets them."""

import json
import re
import shutil
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import yaml
from PIL import Image

from scae_zoo import create_autoencoder
from scae_zoo.checkpoints import finding
from scae_zoo.checkpoints.folder import open_folder
from scae_zoo.errors import CheckpointError
from scae_zoo.experiments import sample_images
from scae_zoo.methods.finetuning import FineTuning, create_classifier

from ..support.checkpoint_folders import edit, without_names
from ..support.networks import DEFAULT, SHIPPED
from ..support.training_commands import SMALL, run


def test_pretrain(pretrained: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = open_folder(pretrained / 'scae_springenberg9.dae_classes')
    assert checkpoint.kind == 'autoencoder'
    assert checkpoint.metrics['denoising_psnr']['images'] == 24  # the test split beside the training split
    assert checkpoint.config['pretrained_cfg']['input_size'] == [3, 29, 29]
    assert 'opt: muon\n' in checkpoint.read('recipe.yaml').decode()
    assert run('evaluate', pretrained, '--data', data / 'classes', '--limit', '5') == 0
    assert '5 images' in capsys.readouterr().out
    assert run('info', pretrained) == 0
    assert 'scae pretrain' in capsys.readouterr().out


def test_a_runs_folder_means_its_checkpoint(pretrained: Path, tmp_path: Path) -> None:
    """Also in Python."""
    model = create_autoencoder('scae_springenberg9', weights=pretrained)
    weights = open_folder(pretrained / 'scae_springenberg9.dae_classes').tensors('decoder.safetensors')
    assert torch.equal(model.decoder.head.weight, weights['head.weight'].float())
    (tmp_path / 'run.json').write_text('{}')
    with pytest.raises(CheckpointError, match='has made no checkpoint yet'):
        create_autoencoder('scae_springenberg9', weights=tmp_path)
    for tag in 'ab':
        shutil.copytree(pretrained / 'scae_springenberg9.dae_classes', tmp_path / f'scae_springenberg9.{tag}')
    with pytest.raises(CheckpointError, match='several checkpoints'):
        create_autoencoder('scae_springenberg9', weights=tmp_path)


def test_a_run_that_has_ended_says_so(pretrained: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = (pretrained / 'log.jsonl').read_bytes()
    assert run('pretrain', data / 'classes', *SMALL, '-o', pretrained) == 0
    assert f'{pretrained}: this run has ended before; nothing is trained again\n' in capsys.readouterr().err
    assert (pretrained / 'log.jsonl').read_bytes() == log


def test_stream(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('SCAE_ZOO_CACHE', str(tmp_path / 'cache'))
    out = tmp_path / 'out'
    args = ['pretrain', data / 'classes' / 'train', '--stream', *SMALL, '-o', out]
    assert run(*args) == 0
    checkpoint = open_folder(out / 'scae_springenberg9.dae_train')
    assert 'streamed' in checkpoint.read('recipe.yaml').decode()
    assert checkpoint.config['pretrained_cfg']['crop_pct'] == 29 / 32
    assert not (tmp_path / 'cache').exists()  # nothing was decoded into it


def test_finetune_and_evaluate(pretrained: Path, data: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / 'run'
    assert run('finetune', data / 'classes', '--from', pretrained, '--labels-per-class', '4', '--validation', '0.25',
               *SMALL, '-o', out) == 0
    checkpoint = open_folder(out / 'scae_springenberg9.dae_ft_classes')
    assert checkpoint.config['pretrained_cfg']['label_names'] == ['cat', 'dog', 'eel']
    assert 'validation' in json.loads((out / 'log.jsonl').read_text().splitlines()[-1])
    model = timm.create_model(f'local-dir:{checkpoint.folder}', pretrained=True).eval()
    assert model(torch.zeros(1, 3, 29, 29)).shape == (1, 3)
    capsys.readouterr()
    assert run('evaluate', out, '--data', data / 'classes') == 0
    printed = capsys.readouterr().out
    accuracy = checkpoint.metrics['accuracy']['value']
    assert printed.count(f'{accuracy:.2f} %') >= 2  # measured again, and from the card


def test_validation_costs_little(pretrained: Path, data: Path, tmp_path: Path) -> None:
    """As many images to measure on as to train on: every fourth pass, and the last one."""
    assert run('finetune', data / 'classes', '--from', pretrained, '--labels-per-class', '4', '--validation', '0.5',
               *SMALL, '--epochs', '9', '-o', tmp_path / 'run') == 0
    log = [json.loads(line) for line in (tmp_path / 'run' / 'log.jsonl').read_text().splitlines()]
    assert [row['epoch'] for row in log if 'validation' in row] == [4, 8, 9]


@pytest.mark.parametrize(('command', 'options', 'tag'), [
    ('pretrain', [], 'dae_classes'), ('finetune', ['--labels-per-class', '4'], 'dae_ft_classes')])
def test_growing_crops(
        command: str, options: list[str], tag: str, pretrained: Path, data: Path, tmp_path: Path) -> None:
    """The network is one of the last size, whatever it was shown first, and it was shown something else first."""
    start = ['--from', pretrained] if command == 'finetune' else []
    losses = {}
    for first in ('18', '29'):
        assert run(command, data / 'classes', *start, *options, *SMALL, '--epochs', '3', '--first-crop', first,
                   '-o', tmp_path / first) == 0
        losses[first] = json.loads((tmp_path / first / 'log.jsonl').read_text().splitlines()[0])['loss']
    assert losses['18'] != losses['29']
    checkpoint = open_folder(tmp_path / '18' / f'scae_springenberg9.{tag}')
    assert checkpoint.config['pretrained_cfg']['input_size'] == [3, 29, 29]
    assert 'first_crop: 18' in checkpoint.read('recipe.yaml').decode()


def test_freeze_keeps_the_encoder(pretrained: Path, data: Path, tmp_path: Path) -> None:
    assert run('finetune', data / 'classes', '--from', pretrained, '--freeze', *SMALL, '-o', tmp_path / 'run') == 0
    before, after = (open_folder(folder).tensors('model.safetensors') for folder in (
        pretrained / 'scae_springenberg9.dae_classes', tmp_path / 'run' / 'scae_springenberg9.dae_ft_classes'))
    assert all(torch.equal(value, after[key]) for key, value in before.items())
    assert 'head.fc.weight' in after


def test_an_architecture_alone_is_its_auto_encoder(data: Path, tmp_path: Path) -> None:
    """Not its default, a classifier that has seen labels."""
    assert run('finetune', data / 'classes', '--from', 'scae_springenberg9', *SMALL, '-o', tmp_path) == 0
    assert json.loads((tmp_path / 'run.json').read_text())['from']['name'] == SHIPPED


def test_a_classifier_is_kept_for_the_same_classes_alone() -> None:
    source = finding.find(DEFAULT)
    names = tuple(source.pretrained_cfg.label_names)
    weights = source.tensors('model.safetensors')
    same, other = (create_classifier('scae_springenberg9', source, classes, FineTuning()).state_dict()
                   for classes in (names, tuple(reversed(names))))
    for state in (same, other):
        assert torch.equal(state['blocks.3.conv.weight'], weights['blocks.3.conv.weight'].float())
    assert torch.equal(same['head.fc.weight'], weights['head.fc.weight'].float())
    assert not torch.isclose(other['head.fc.weight'], weights['head.fc.weight'].float()).all(1).any()


def test_many_labels(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / 'run'
    assert run('finetune', data / 'many', '--model', 'scae_springenberg9', *SMALL, '-o', out) == 0
    checkpoint = open_folder(out / 'scae_springenberg9.ft_many')
    assert set(checkpoint.metrics['average_precision']) == {'day', 'night', 'rain'}
    capsys.readouterr()
    assert run('evaluate', out, '--data', data / 'many') == 0
    assert f'{checkpoint.metrics["mean_average_precision"]["value"]:.2f} %' in capsys.readouterr().out


def test_a_name_alone_is_measured_as_timms_default(data: Path, tmp_path: Path, capsys) -> None:
    names = finding.find(DEFAULT).pretrained_cfg.label_names
    assert names is not None
    sample_images.write_classes(tmp_path, 32, 10, tuple(names))
    assert run('evaluate', 'scae_springenberg9', '--data', tmp_path) == 0
    assert capsys.readouterr().out.startswith(f'{DEFAULT}: ')


def test_probe(pretrained: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / 'probes'
    assert run('probe', pretrained, SHIPPED, '--data', data / 'classes', *SMALL, '--width', '4', '-o', out) == 0
    results = json.loads((out / 'probes.json').read_text())
    assert [layer['layer'] for layer in results[SHIPPED]] == list(range(1, 9))
    assert len(results) == 2
    assert json.loads((out / SHIPPED / 'run.json').read_text())['opt'] == 'adam'
    assert (out / 'probes.md').read_text() in capsys.readouterr().out
    assert (out / 'probes.png').stat().st_size > 10_000


def test_no_run_is_written_into_a_checkpoint(
        pretrained: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The folder of a run, to keep the probes there, has the checkpoint's where the probes' would be."""
    folder = Path(shutil.copytree(pretrained, tmp_path / 'run'))
    checkpoint = folder / 'scae_springenberg9.dae_classes'
    before = sorted(checkpoint.iterdir())
    assert run('probe', folder, '--data', data / 'classes', *SMALL, '--width', '4', '-o', folder) == 2
    assert f'{checkpoint}: is a checkpoint, into which no run is written' in capsys.readouterr().err
    assert run('pretrain', data / 'classes', *SMALL, '-o', checkpoint) == 2
    assert sorted(checkpoint.iterdir()) == before


def test_cards_name_what_was_measured_on(
        data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = Path(shutil.copytree(data / 'classes' / 'test', tmp_path / 'elsewhere'))
    assert run('pretrain', data / 'classes' / 'train', '--test', other, '--first-crop', '17', '--crop', '21', *SMALL,
               '-o', tmp_path / 'run') == 0
    card = next((tmp_path / 'run').glob('*/README.md')).read_text()
    assert 'random 21 x 21 crops that grow from 17 x 17, ' in card
    metadata = yaml.safe_load(card.split('---\n')[1])
    assert metadata['datasets'] == ['train']
    assert metadata['model-index'][0]['results'][0]['dataset'] == {'type': 'elsewhere', 'name': 'elsewhere'}


def test_names_that_are_no_text_or_too_long(
        data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photographs = Path(shutil.copytree(data / 'classes' / 'train', tmp_path / 'ph\udcf4tos'))
    assert run('pretrain', photographs, *SMALL, '-o', tmp_path / 'run') == 0
    assert 'ph\\udcf4tos' in next((tmp_path / 'run').glob('*/README.md')).read_text()
    assert run('pretrain', photographs, *SMALL, '--tag', 'x' * 240, '-o', tmp_path / 'long') == 2
    assert 'is too long for the name of a folder; give a shorter --tag' in capsys.readouterr().err
    assert not (tmp_path / 'long').exists()


def test_labels_that_are_too_few(
        pretrained: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start = ('--from', pretrained, *SMALL, '-o', tmp_path / 'run')
    assert run('finetune', data / 'classes', '--labels-per-class', '1', '--validation', '0.4', *start) == 2
    assert 'a share of 0.4 leaves no image of class ' in capsys.readouterr().err
    one = tmp_path / 'one'
    shutil.copytree(data / 'classes' / 'train' / 'cat', one / 'cat')
    assert run('finetune', one, *start) == 2
    assert 'there is one class only, cat; fine-tuning needs two or more' in capsys.readouterr().err
    many = Path(shutil.copytree(data / 'many' / 'test', tmp_path / 'many'))
    assert run('finetune', data / 'classes', '--test', many, *start) == 2
    assert not (tmp_path / 'run').exists()


def test_no_image_of_any_class_to_measure_on(
        data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    many = Path(shutil.copytree(data / 'many', tmp_path / 'many'))
    table = many / 'test' / 'labels.csv'
    table.write_text(re.sub(r'(?<=,)1(?=,|$)', '0', table.read_text(), flags=re.MULTILINE))
    start = ('finetune', many, '--model', 'scae_springenberg9', *SMALL, '-o', tmp_path / 'run')
    assert run(*start) == 2
    assert 'none of the images to be measured on is of any class' in capsys.readouterr().err
    assert not (tmp_path / 'run').exists()
    assert run(*start, '--test', data / 'many') == 0
    assert run('evaluate', tmp_path / 'run', '--data', many) == 2
    assert 'none of the images to be measured on is of any class' in capsys.readouterr().err


def test_tensorboard(data: Path, tmp_path: Path) -> None:
    assert run('pretrain', data / 'classes', *SMALL, '--epochs', '2', '--tensorboard', '-o', tmp_path) == 0
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    events = EventAccumulator(str(tmp_path / 'tensorboard')).Reload()
    assert 'loss' in events.Tags()['scalars']
    tag, = events.Tags()['images']
    first, second = (np.array(Image.open(BytesIO(event.encoded_image_string))) for event in events.Images(tag))
    shown = len(first) * 2 // 3  # clean and corrupted: the same examples each time
    assert (first[:shown] == second[:shown]).all()
    assert (first[shown:] != second[shown:]).any()


def test_a_test_folder_among_others(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It may be what is to be measured on, so that nothing is trained on it without a word."""
    for name in ('garden', 'test'):
        shutil.copytree(data / 'classes' / 'train' / 'cat', tmp_path / 'photos' / name)
    assert run('pretrain', tmp_path / 'photos', *SMALL, '-o', tmp_path / 'run') == 2
    assert 'has the split test, and images beside it that are in no split' in capsys.readouterr().err
    assert run('pretrain', tmp_path / 'photos' / 'garden', *SMALL, '-o', tmp_path / 'run') == 0
    assert 'denoising_psnr' not in open_folder(tmp_path / 'run').metrics


def test_networks_that_name_no_classes(pretrained: Path, data: Path, tmp_path: Path, capsys) -> None:
    """As others write them: they are measured on as many classes, and on no other number."""
    assert run('segment', data / 'masks', '--from', pretrained, *SMALL, '-o', tmp_path / 'segmenter') == 0
    assert run('finetune', data / 'classes', '--from', pretrained, *SMALL, '-o', tmp_path / 'classifier') == 0
    for kind in ('segmenter', 'classifier'):
        folder = open_folder(tmp_path / kind).folder
        edit(folder / 'config.json', without_names)
        (folder / 'metrics.json').write_text('{"accuracy": {"value": 3}, "mean_iou": 4}')
        capsys.readouterr()
        assert run('evaluate', folder, '--data', data / ('masks' if kind == 'segmenter' else 'classes')) == 0
        printed = capsys.readouterr().out
        assert ('mean IoU' if kind == 'segmenter' else 'accuracy') in printed
        assert 'card' not in printed
    source = Path(shutil.copytree(pretrained / 'scae_springenberg9.dae_classes', tmp_path / 'mine'))
    (source / 'manifest.json').unlink()
    (source / 'metrics.json').write_text('{"denoising_psnr": 3}')
    assert run('evaluate', source, '--data', data / 'classes') == 0
    assert 'card' not in capsys.readouterr().out
    sample_images.write_classes(tmp_path / 'five', 32, 10, tuple('abcde'))
    assert run('evaluate', folder, '--data', tmp_path / 'five') == 2
    assert 'needs the 3 classes' in capsys.readouterr().err
