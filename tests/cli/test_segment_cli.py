"""``scae segment`` and the evaluation of segmenters, as their user meets them."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from scae_zoo.checkpoints.folder import open_folder

from ..support.networks import DEFAULT
from ..support.training_commands import SMALL, run


@pytest.mark.parametrize('init', ['autoencoder', 'encoder', 'random'])
def test_segment(init: str, pretrained: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start = ['--model', 'scae_springenberg9'] if init == 'random' else ['--from', str(pretrained)]
    out = tmp_path / 'run'
    assert run('segment', data / 'masks', *start, '--init', init, *SMALL, '-o', out) == 0
    checkpoint = open_folder(next(out.glob('scae_springenberg9.*')))
    assert checkpoint.kind == 'segmenter'
    assert checkpoint.config['pretrained_cfg']['label_names'] == ['dark', 'grey', 'light']
    capsys.readouterr()
    assert run('evaluate', out, '--data', data / 'masks') == 0
    assert f'mean IoU  {checkpoint.metrics["mean_iou"]["value"]:.2f} %' in capsys.readouterr().out


def test_a_classifiers_encoder_for_a_segmenter(data: Path, tmp_path: Path) -> None:
    assert run('segment', data / 'masks', '--from', DEFAULT, '--init', 'encoder', *SMALL, '-o', tmp_path) == 0
    assert json.loads((tmp_path / 'run.json').read_text())['from']['name'] == DEFAULT
    checkpoint = open_folder(tmp_path)
    assert checkpoint.config['pretrained_cfg']['label_names'] == ['dark', 'grey', 'light']
    assert checkpoint.config['decoder']['shortcuts']


def test_masks_of_other_classes(
        pretrained: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    masks = Path(shutil.copytree(data / 'masks', tmp_path / 'masks'))
    other = Path(shutil.copytree(data / 'masks', tmp_path / 'other'))
    (other / 'classes.txt').write_text('light\ngrey\ndark\n')
    assert run('segment', masks, '--test', other, '--from', pretrained, *SMALL, '-o', tmp_path / 'refused') == 2
    assert (difference := 'these masks have light, grey, dark; the network knows dark, grey, light') in (
        capsys.readouterr().err)
    assert not (tmp_path / 'refused').exists()
    assert run('segment', masks, '--from', pretrained, *SMALL, '-o', tmp_path / 'run') == 0
    assert run('evaluate', tmp_path / 'run', '--data', other) == 2
    assert difference in capsys.readouterr().err
    (masks / 'classes.txt').unlink()  # numbers: measured on masks with names and without
    assert run('segment', masks, '--test', other, '--from', pretrained, *SMALL, '-o', tmp_path / 'numbers') == 0
    assert run('evaluate', tmp_path / 'numbers', '--data', other) == 0


def test_masks_with_nothing_to_learn_or_to_measure(
        pretrained: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Such as those that mark one kind of thing with 255."""
    masks = Path(shutil.copytree(data / 'masks', tmp_path / 'masks'))
    start = ('--from', pretrained, *SMALL, '-o', tmp_path / 'run')
    for path in (masks / 'test').rglob('masks/*.png'):
        Image.new('L', Image.open(path).size, 255).save(path)
    assert run('segment', masks, *start) == 2
    assert f'{masks / "test"}, split test: no pixel of these masks is counted (all are 255)' in capsys.readouterr().err
    for path in (masks / 'train').rglob('masks/*.png'):
        picture = Image.new('L', Image.open(path).size, 0)
        picture.paste(255, (0, 0, 9, 9))
        picture.save(path)
    assert run('segment', masks, *start) == 2
    assert (f'{masks / "train"}, split train: the masks have no class but 0 (255 stands for pixels that are not '
            'counted)') in capsys.readouterr().err
    assert not (tmp_path / 'run').exists()
