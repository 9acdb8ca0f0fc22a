"""What ``scae pretrain``, ``finetune``, ``segment``, ``evaluate`` and ``probe`` refuse, and how."""

import shutil
import sys
from pathlib import Path

import numpy
import pytest
import timm
from PIL import Image

from scae_zoo.checkpoints import finding
from scae_zoo.cli import main

from ..support.checkpoint_folders import edit
from ..support.networks import DEFAULT, SHIPPED
from ..support.pictures import encoded, write_parquet
from ..support.training_commands import SMALL, run


@pytest.mark.usefixtures('_without_swwae')
@pytest.mark.parametrize(('args', 'text'), [
    (['pretrain', 'none'], 'none'),
    (['pretrain', '.', '--lr', '-1'], '--lr'),
    (['pretrain', '.', '--epochs', '0'], '--epochs'),
    (['pretrain', '.', '--corruption', 'salt:1'], '--corruption'),
    (['pretrain', 'torch/cifar11'], 'torch/cifar11'),
    (['pretrain', 'DATA', '--device', 'abacus'], '--device'),
    (['pretrain', 'DATA', '--crop', '64', '--size', '32'], '64'),
    (['pretrain', 'DATA', '--size', '32', '--first-crop', '30'], '--first-crop 30'),
    (['finetune', 'DATA'], '--from'),
    (['finetune', 'DATA', '--from', 'none'], 'none'),
    (['finetune', 'DATA', '--model', 'scae_vgg16', '--from', SHIPPED], '--model'),
    (['finetune', 'DATA', '--from', SHIPPED, '--labels-per-class', '99'], '99'),
    (['finetune', 'DATA/train/cat', '--from', SHIPPED], 'labels'),
    (['segment', 'DATA', '--from', SHIPPED], 'images/'),
    (['segment', 'DATA', '--from', SHIPPED, '--init', 'random'], '--init random'),
    (['segment', 'DATA', '--from', DEFAULT], 'classifier'),
    (['finetune', 'DATA', '--from', SHIPPED, '--size', '32', '--crop', '36', '--pad', '2'], '--crop 36'),
    (['finetune', 'DATA', '--from', SHIPPED, '--size', '32', '--first-crop', '30'], '--first-crop 30'),
    (['finetune', 'MANY', '--from', SHIPPED, '--label-smoothing', '0.1'], '--label-smoothing'),
    (['finetune', 'MANY', '--from', SHIPPED, '--mixup', '0.1'], '--mixup'),
    (['probe', SHIPPED, '--data', 'DATA/train/cat', '--test', 'DATA'], 'label'),
    (['probe', SHIPPED, '--data', 'DATA', '--test', 'OTHER'], 'only the test images have fox (1 of 3 classes)'),
    (['finetune', 'DATA', '--from', SHIPPED, '--test', 'OTHER'], 'only the training images have eel (1 of 3 classes)'),
    (['probe', SHIPPED, '--data', 'DATA/train'], '--test'),
    (['evaluate', SHIPPED, '--data', 'none'], 'none'),
    (['evaluate', SHIPPED, '--data', 'DATA', '--sigma', '-1'], '--sigma must be a finite number'),
    (['evaluate', SHIPPED, '--data', 'DATA', '--sigma', 'nan'], '--sigma must be a finite number'),
    (['reconstruct', 'none.png', '--noise', 'salt:1'], '--noise: corruption'),
    (['finetune', 'DATA', '--from', 'scae_swwae'], '--from scae_swwae: no autoencoder of it; '),
    (['pretrain', 'DATA', '--model', 'scae_vgg16', '--crop', '32', '--batch-size', '1'], '--batch-size'),
    (['pretrain', 'DATA', '--model', 'scae_vgg16', '--crop', '33', '--first-crop', '17', '--batch-size', '1'],
     'larger --first-crop'),
    (['finetune', 'DATA', '--model', 'scae_vgg16', '--crop', '32', '--batch-size', '5', '--accumulate', '4'],
     'fewer parts than --accumulate 4, or, where the layers shrink a crop to one pixel, a larger --crop'),
    (['segment', 'MASKS', '--model', 'scae_vgg16', '--init', 'random', '--crop', '32', '--batch-size', '1'],
     'has one image of 32 x 32 pixels'),
    (['probe', SHIPPED, '--data', 'DATA', '--batch-size', '1'], 'larger --batch-size'),
])
def test_refusals_are_one_line(
        args: list[str], text: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, folder in (('DATA', 'classes'), ('MANY', 'many'), ('OTHER', 'other'), ('MASKS', 'masks')):
        args = [arg.replace(name, str(data / folder)) for arg in args]
    assert main(args) == 2
    captured = capsys.readouterr()
    assert captured.out == ''
    line = captured.err.strip().splitlines()[-1]
    assert line.startswith('scae: error: ')
    assert text in line
    assert captured.err.count('scae: error') == 1
    assert not [p for p in tmp_path.rglob('*') if p.suffix == '.safetensors']


def test_another_test_set_is_another_run(
        pretrained: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run('pretrain', data / 'classes', *SMALL, '-o', pretrained, '--test', data / 'masks/test/images') == 2
    assert 'test' in capsys.readouterr().err
    segment = ['segment', data / 'masks', '--from', pretrained, *SMALL, '-o', tmp_path / 'run']
    assert run(*segment) == 0
    shutil.copytree(data / 'masks' / 'test', tmp_path / 'fewer')
    for kind in ('images', 'masks'):
        sorted((tmp_path / 'fewer' / kind).iterdir())[0].unlink()
    capsys.readouterr()
    assert run(*segment, '--test', tmp_path / 'fewer') == 2
    assert 'another configuration (test ' in capsys.readouterr().err


def test_faulty_test_masks_are_found_before_the_training(
        pretrained: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And when they are mended the same command trains."""
    shutil.copytree(data / 'masks', tmp_path / 'masks')
    command = ['segment', tmp_path / 'masks', '--from', pretrained, *SMALL, '-o', tmp_path / 'run']
    mask = sorted((tmp_path / 'masks' / 'test' / 'masks').iterdir())[-1]
    whole = mask.read_bytes()
    for fault in (numpy.full((32, 32), 9, numpy.uint8), numpy.zeros((32, 31), numpy.uint8)):
        Image.fromarray(fault).save(mask)
        assert run(*command) == 2
        captured = capsys.readouterr()
        assert f'{mask}: has ' in captured.err
        assert 'epoch' not in captured.out
    mask.write_bytes(whole)
    assert run(*command) == 0


def test_test_images_without_labels_are_found_before_the_training(
        data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the very classes, as the test split of ImageNet has them."""
    write_parquet(tmp_path / 'train', [encoded(i, size=(32, 32)) for i in range(8)], [0, 1] * 4, ['cat', 'dog'])
    write_parquet(tmp_path / 'test', [encoded(i, size=(32, 32)) for i in range(4)], [-1] * 4, ['cat', 'dog'])
    start = ('finetune', f'hfds/{tmp_path}/train', '--model', 'scae_springenberg9', '--root', tmp_path / 'root', *SMALL)
    assert run(*start, '--test', f'hfds/{tmp_path}/test', '--test-split', 'train', '-o', tmp_path / 'run') == 2
    captured = capsys.readouterr()
    assert 'the test images have no labels' in captured.err
    assert 'epoch' not in captured.out
    assert not (tmp_path / 'run').exists()
    assert run(*start, '-o', tmp_path / 'run') == 0
    assert run('evaluate', tmp_path / 'run', '--data', f'hfds/{tmp_path}/test', '--split', 'train') == 2
    assert 'needs the 2 classes' in (fault := capsys.readouterr().err)
    assert fault.endswith('; the images have no labels\n')


def test_packages_to_measure_with_are_asked_for_before_the_training(
        pretrained: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch) -> None:
    start = (*SMALL, '-o', tmp_path / 'run')
    many = data / 'many' / 'train'
    for package, *command in (
            ('torchmetrics', 'pretrain', data / 'classes'), ('torchmetrics', 'segment', data / 'masks'),
            ('sklearn', 'finetune', data / 'many'), ('sklearn', 'finetune', many, '--validation', '0.5'),
            ('sklearn', 'probe', pretrained, '--data', data / 'classes')):
        source = ('--from', pretrained) if command[0] in ('segment', 'finetune') else ()
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, package, None)  # as if it were not installed
            assert run(*command, *source, *start) == 2
        captured = capsys.readouterr()
        assert captured.err.strip().endswith(f"this needs {package}: pip install 'scae-zoo[train]'")
        assert 'epoch' not in captured.out
    for package in ('sklearn', 'torchmetrics'):
        monkeypatch.setitem(sys.modules, package, None)
    assert run('pretrain', data / 'classes', *SMALL, '-o', pretrained) == 0  # it has ended, and is not measured again
    assert run('pretrain', data / 'classes' / 'train' / 'cat', *start) == 0
    assert run('finetune', data / 'classes', '--from', pretrained, *SMALL, '-o', tmp_path / 'classifier') == 0


def test_a_decoder_that_the_manifest_does_not_list(
        pretrained: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    classifier = Path(shutil.copytree(finding.WEIGHTS / DEFAULT, tmp_path / DEFAULT))
    (classifier / 'decoder.safetensors').write_bytes(b'')
    assert run('finetune', data / 'classes', '--from', classifier, *SMALL, '-o', tmp_path / 'run') == 2
    assert f'decoder.safetensors: not part of {DEFAULT}' in capsys.readouterr().err


def test_weights_without_a_manifest_are_told_apart(pretrained: Path, data: Path, tmp_path: Path, capsys) -> None:
    source = Path(shutil.copytree(pretrained / 'scae_springenberg9.dae_classes', tmp_path / 'mine'))
    (source / 'manifest.json').unlink()
    finetune = ['finetune', data / 'classes', '--from', source, *SMALL, '-o', tmp_path / 'run']
    assert run(*finetune) == 0
    edit(source / 'model.safetensors', lambda state: {**state, 'blocks.3.bn.bias': state['blocks.3.bn.bias'] + 1})
    assert run(*finetune) == 2
    assert 'another configuration (from ' in capsys.readouterr().err


def test_a_checkpoint_of_another_network(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    timm.models._hub.save_for_hf(timm.create_model('test_resnet', num_classes=4), tmp_path / 'other',
                                 safe_serialization=True)
    for command in (['finetune', data / 'classes', '--from'], ['probe', '--data', data / 'classes'],
                    ['evaluate', '--data', data / 'classes'], ['info']):
        assert run(*command, tmp_path / 'other') == 2
        assert 'other/config.json: is for test_resnet, not one of this zoo' in capsys.readouterr().err


def test_a_tag_names_no_folder(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run('pretrain', data / 'classes', '--tag', 'a/b')
    assert '--tag' in capsys.readouterr().err
