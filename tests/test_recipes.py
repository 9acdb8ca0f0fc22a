"""Every recipe runs from end to end on a few images, and each of its checkpoints loads."""

import subprocess
import sys
from pathlib import Path

import pytest

from scae_zoo import checkpoints, create_autoencoder, create_segmenter
from scae_zoo.autoencoder import create_encoder
from scae_zoo.training import sample_images
from scae_zoo.training.sources import VOC_CLASSES

CHECKOUT = Path(__file__).parents[1]
RECIPES = sorted(path.stem for path in (CHECKOUT / 'recipes').glob('*.py'))


def run(recipe: str, out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(CHECKOUT / 'recipes' / f'{recipe}.py'), '--budget', 'smoke', '--device', 'cpu',
               '--out', str(out), *options]
    return subprocess.run(command, cwd=out.parent, capture_output=True, text=True)


@pytest.mark.parametrize('recipe', RECIPES)
def test_smoke(recipe: str, tmp_path: Path) -> None:
    result = run(recipe, tmp_path / 'out')
    assert result.returncode == 0, result.stderr
    folders = [line.split()[1] for line in result.stdout.splitlines() if line.startswith('checkpoint ')]
    assert folders
    for folder in folders:
        checkpoint = checkpoints.open_folder(tmp_path / folder)
        assert f'recipes/{recipe}.py --budget smoke' in checkpoint.recipe
        weights = str(checkpoint.folder)
        if checkpoint.kind == 'autoencoder':
            create_autoencoder(checkpoint.architecture, weights=weights)
        elif checkpoint.kind == 'segmenter':
            create_segmenter(checkpoint.architecture, pretrained=True, weights=weights)
        else:
            assert create_encoder(checkpoint.architecture, checkpoint).num_classes == len(
                checkpoint.config['pretrained_cfg']['label_names'])


def test_a_recipe_that_ended_trains_nothing_again(tmp_path: Path) -> None:
    first, second = (run('cifar10_4k_labels', tmp_path / 'out') for _ in range(2))
    assert 'epoch 1' in first.stdout
    assert 'epoch 1' not in second.stdout
    assert '| pre-training |' in second.stdout
    assert first.stdout.endswith(second.stdout)  # the same table


def test_rows_made_one_after_the_other(tmp_path: Path) -> None:
    out = tmp_path / 'out'
    first = run('cifar10_4k_labels', out, '--rows', 'no-pre-training')
    assert first.returncode == 0, first.stderr
    second = run('cifar10_4k_labels', out, '--rows', 'today', '--seeds', '1')
    assert second.returncode == 0, second.stderr
    table = (out / 'results.md').read_text()
    assert second.stdout.count('| 1 |') == table.count('| 1 |') == 2  # seeds of each row
    assert table.index('| no pre-training |') < table.index('| today |')
    assert not (out / 'pre-training-seed0').exists()


def test_rows_that_cannot_be_made(tmp_path: Path) -> None:
    out = tmp_path / 'out'
    unknown = run('cifar10_4k_labels', out, '--rows', 'tomorrow')
    assert 'error: --rows tomorrow: there are no-pre-training, ' in unknown.stderr
    early = run('cifar10_4k_labels', out, '--rows', 'today-self-training')
    assert early.returncode == 1
    assert 'today-seed0' in early.stderr
    assert 'Traceback' not in early.stderr


def test_other_images_to_pretrain_on(tmp_path: Path) -> None:
    sample_images.write_multi_label(tmp_path / 'voc', 40, 24, VOC_CLASSES)
    sample_images.write_classes(tmp_path / 'unlabelled', 40, 12, ('a', 'b', 'c'))
    result = run('voc2007_classification', tmp_path / 'out', '--data-dir', str(tmp_path / 'voc'),
                 '--unlabelled', str(tmp_path / 'unlabelled'))
    assert result.returncode == 0, result.stderr
    folder = next((tmp_path / 'out').glob('*/scae_vgg16.dae_imagenet'))
    recipe = (folder / 'recipe.yaml').read_text()
    assert 'images: 12\n' in recipe
    assert f'--unlabelled {tmp_path / "unlabelled"}' in recipe.replace('\n ', '')


def test_data_of_the_users_own(tmp_path: Path) -> None:
    assert run('cifar10_autoencoder', tmp_path / 'made').returncode == 0
    data = next((tmp_path / 'made' / 'data').iterdir())
    result = run('cifar10_autoencoder', tmp_path / 'own', '--data-dir', str(data))
    assert result.returncode == 0, result.stderr
    broken = next((data / 'train').rglob('*.png'))
    broken.write_bytes(b'broken')
    result = run('cifar10_autoencoder', tmp_path / 'other', '--data-dir', str(data))
    assert result.returncode == 1
    assert str(broken) in result.stderr
    assert 'Traceback' not in result.stderr
