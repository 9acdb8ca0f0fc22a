"""Every recipe runs from end to end on a few images, and each of its checkpoints loads."""

import hashlib
import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from scae_zoo import create_autoencoder, create_segmenter
from scae_zoo.checkpoints.folder import open_folder
from scae_zoo.data.sources import VOC_CLASSES
from scae_zoo.experiments import sample_images
from scae_zoo.experiments.experiment import experiment
from scae_zoo.factory import create_encoder

from .support.networks import SHIPPED
from .support.processes import Process
from .support.recipe_runs import RECIPES, Smoke, networks, recipe, run

NAMES = sorted(path.stem for path in RECIPES.glob('*.py') if path.stem != 'peers_on_photographs')  # it trains nothing


@pytest.mark.parametrize('name', NAMES)
def test_smoke(name: str, ended: Callable[[str], Smoke]) -> None:
    made = [line.split()[1] for line in ended(name).printed.splitlines() if line.startswith('checkpoint ')]
    assert made
    with networks(name):
        for folder in made:
            checkpoint = open_folder(folder)
            assert f'recipes/{name}.py --budget smoke' in checkpoint.recipe
            weights = str(checkpoint.folder)
            if checkpoint.kind == 'autoencoder':
                create_autoencoder(checkpoint.architecture, weights=weights)
            elif checkpoint.kind == 'segmenter':
                create_segmenter(checkpoint.architecture, pretrained=True, weights=weights)
            else:
                assert create_encoder(checkpoint.architecture, checkpoint).num_classes == len(
                    checkpoint.config['pretrained_cfg']['label_names'])


def test_a_recipe_that_ended_trains_nothing_again(ended: Callable[[str], Smoke], tmp_path: Path) -> None:
    first = ended('cifar10_4k_labels')
    second = run('cifar10_4k_labels', Path(shutil.copytree(first.out, tmp_path / 'out')))
    assert 'epoch 1' in first.printed
    assert 'epoch 1' not in second.stdout
    assert '| pre-training |' in second.stdout
    assert first.printed.endswith(second.stdout.replace(str(tmp_path / 'out'), str(first.out)))  # the same table
    lines = [line for line in second.stderr.splitlines() if not line.startswith('found ')]
    assert second.stderr.count('has ended before') == len(lines) > 2


def test_rows_made_one_after_the_other(tmp_path: Path) -> None:
    """The table has what was made with the same settings in the same folder, by whichever start; each row and seed is
    trained as the recipe says; the recorded command makes that row."""
    out = tmp_path / 'out'
    for rows, seeds in (('no-pre-training', '0 1'), ('ablation-without-flips', '2'), ('no-pre-training', '3')):
        result = run('cifar10_4k_labels', out, '--rows', rows, '--seeds', *seeds.split())
        assert result.returncode == 0, result.stderr
    results = json.loads((out / 'results.json').read_text())
    assert {row: sorted(values) for row, values in results.items()} == {
        'no pre-training': ['0', '1', '3'], 'ablation, without flips': ['2']}
    table = (out / 'results.md').read_text()
    assert table in result.stdout
    assert table.index('| no pre-training |') < table.index('| ablation, without flips |')
    plain, today = (json.loads((out / folder / 'run.json').read_text())
                    for folder in ('no-pre-training-seed1', 'ablation-without-flips-seed2'))
    assert (plain['seed'], plain['flip'], plain['strength'], plain['from']) == (1, False, 0, None)
    assert (today['seed'], today['flip'], today['pad'], today['ema']) == (2, False, 2, 0.999)
    assert today['strength'] > 0
    assert today['from']['name'] == 'scae_springenberg9.dae_cifar10'
    recipe = next((out / 'ablation-without-flips-seed2').glob('*/recipe.yaml'))
    assert '--rows ablation-without-flips' in recipe.read_text()
    recipe.write_text(recipe.read_text().replace('cutmix: 0.0', 'cutmix: 0.5'))
    assert 'cutmix: 0.5' in recipe.read_text()
    result = run('cifar10_4k_labels', out, '--rows', 'no-pre-training')
    assert 'ablation, without flips' not in result.stdout  # of other settings than the recipe's
    recipe.write_text(recipe.read_text().replace('cutmix: 0.5', 'cutmix: 0.0'))
    assert 'ablation, without flips' in run('cifar10_4k_labels', out, '--rows', 'no-pre-training').stdout
    recipe.write_text(re.sub('(decoder.safetensors): .*', r'\1: 0123456789abcdef', recipe.read_text()))
    result = run('cifar10_4k_labels', out, '--rows', 'no-pre-training')
    assert 'ablation, without flips' not in result.stdout  # of another auto-encoder than the one in --out


def test_self_training_makes_its_teacher(tmp_path: Path) -> None:
    result = run('cifar10_4k_labels', tmp_path / 'out', '--rows', 'today-self-training')
    assert result.returncode == 0, result.stderr
    student, = (tmp_path / 'out').glob('today-self-training-seed0/*/README.md')
    runs = [json.loads((tmp_path / 'out' / f'{row}-seed0' / 'run.json').read_text())
            for row in ('today', 'today-self-training')]
    assert {each['from']['name'] for each in runs} == {'scae_springenberg9.dae_cifar10'}
    assert runs[1]['images'] > runs[0]['images']
    teacher, = (tmp_path / 'out').glob('today-seed0/*/model.safetensors')
    assert hashlib.sha256(teacher.read_bytes()).hexdigest()[:16] in runs[1]['data']
    assert ' that an earlier classifier named' in student.read_text()
    assert '| today | ' in result.stdout
    assert '| today, self-training | ' in result.stdout
    recipe = student.parent / 'recipe.yaml'
    as_made = recipe.read_text()
    recipe.write_text(re.sub(r'and(\s+)0.8(\s+)of', r'and\g<1>0.6\g<2>of', as_made))
    assert recipe.read_text() != as_made
    assert '| today, self-training | ' not in run('cifar10_4k_labels', tmp_path / 'out', '--rows', 'today').stdout
    recipe.write_text(as_made)
    recipe.write_text(recipe.read_text().replace(runs[1]['data'][-16:], '0123456789abcdef'))
    result = run('cifar10_4k_labels', tmp_path / 'out', '--rows', 'today')
    assert '| today | ' in result.stdout
    assert '| today, self-training | ' not in result.stdout  # of another teacher than that one


def test_start_from_another_auto_encoder(pretrained: Path, tmp_path: Path) -> None:
    out = tmp_path / 'out'
    result = run('cifar10_all_labels', out, '--rows', 'pre-training', '--from', str(pretrained))
    assert result.returncode == 0, result.stderr
    started, = out.glob('pre-training-seed0/run.json')
    manifest, = pretrained.glob('*/manifest.json')
    sha256 = json.loads(manifest.read_text())['files']['model.safetensors']['sha256']
    assert json.loads(started.read_text())['from']['sha256']['model.safetensors'] == sha256[:16]
    # a row never mixes two auto-encoders
    result = run('cifar10_all_labels', out, '--rows', 'pre-training', '--seeds', '1', '--from', SHIPPED)
    assert result.returncode == 0, result.stderr
    assert list(json.loads((out / 'results.json').read_text())['pre-training']) == ['1']
    missing = run('cifar10_all_labels', out, '--from', 'scae_springenberg9.dae_cifar11')
    assert missing.returncode == 1
    assert missing.stderr.startswith('cifar10_all_labels: error: scae_springenberg9.dae_cifar11: ')


def test_curves(ended: Callable[[str], Smoke], tmp_path: Path) -> None:
    """Of the runs of this recipe, not of a copy that someone put aside."""
    out = Path(shutil.copytree(ended('cifar10_all_labels').out, tmp_path / 'out'))
    times = [(out / f'{row}-seed0' / 'log.jsonl').stat().st_mtime_ns for row in ('pre-training', 'no-pre-training')]
    assert times == sorted(times)  # the checkpoint that people wait for, then its control
    (out / 'pre-training-seed0').rename(out / 'pre-training-seed0.aside')
    assert run('cifar10_all_labels', out).returncode == 0
    results = json.loads((out / 'results.json').read_text())
    assert list(results) == ['no pre-training', 'pre-training']
    for row, figures in results.items():
        log = out / f'{row.replace(" ", "-")}-seed0' / 'log.jsonl'
        last = json.loads(log.read_text().splitlines()[-1])
        assert 'validation' in last
        assert list(figures) == ['0']
    assert (out / 'curves.png').is_file()


@pytest.mark.parametrize('name', ['layer_probes', 'feature_maps'])
def test_one_seed(name: str, tmp_path: Path) -> None:
    """Of two, one would go unused."""
    result = run(name, tmp_path / 'out', '--seeds', '0', '1')
    assert result.returncode == 2
    assert 'unrecognized arguments: 1' in result.stderr


def test_a_sweep_chooses_for_method_and_controls_alike(ended: Callable[[str], Smoke]) -> None:
    """The same change, the same images to learn from, and training images to measure on."""
    out = ended('stl10_sweep').out
    runs = [json.loads((out / f'{start}-weight-decay-0-5-seed0' / 'run.json').read_text())
            for start in ('no-pre-training', 'no-shortcut', 'shortcuts')]
    for key, value in (('weight_decay', 0.5), ('data', runs[0]['data']), ('test', runs[0]['test'])):
        assert [each[key] for each in runs] == [value] * 3
    assert re.match('train .* 4 per class, seed 1000$', runs[0]['test'])
    assert [each['from'] and each['from']['name'] for each in runs] == [
        None, 'scae_swwae.dae_noskip_classes96', 'scae_swwae.dae_classes96']


def test_a_sweep_takes_the_auto_encoders_of_its_recipe(ended: Callable[[str], Smoke], tmp_path: Path) -> None:
    made = ended('stl10_folds').out
    result = run('stl10_sweep', tmp_path / 'out', '--data-dir', str(made / 'data' / 'classes96'),
                 '--autoencoders', str(made), '--rows', 'shortcuts')
    assert result.returncode == 0, result.stderr
    assert 'scae_swwae.dae_classes96: this run has ended before; nothing is trained again' in result.stderr
    assert result.stdout.count('epoch 1 ') == 1  # of the classifier


@pytest.mark.parametrize('name', ['cifar10_4k_sweep', 'stl10_sweep'])
def test_a_sweep_has_nothing_to_ship(name: str, tmp_path: Path) -> None:
    result = run(name, tmp_path / 'out', '--ship')
    assert result.returncode == 2
    assert 'unrecognized arguments: --ship' in result.stderr


def test_rows_measured_on_other_images_are_no_rows(tmp_path: Path) -> None:
    data, out = tmp_path / 'Mine', tmp_path / 'out'
    sample_images.write_classes(data, 32, 12, ('a', 'b', 'c'))
    for row in ('no pre-training', 'pre-training'):
        result = run('cifar10_all_labels', out, '--data-dir', str(data), '--rows', row.replace(' ', '-'))
        assert result.returncode == 0, result.stderr
        assert list(json.loads((out / 'results.json').read_text())) == [row]
        next((data / 'test').rglob('*.png')).unlink()
    assert 'datasets:\n- mine\n' in next(out.glob('*/*/README.md')).read_text()


@pytest.mark.parametrize(('option', 'code'), [
    (('--ship',), 2), (('--data-dir', 'none'), 2), (('--ship', '--budget', 'cpu', '--data-dir', 'mine'), 1),
    (('--ship', '--budget', 'cpu', '--data', 'torch/cifar100'), 1)])
def test_refused_at_once(
        option: tuple[str, ...], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'mine' / 'train').mkdir(parents=True)
    refused = run('cifar10_4k_labels', tmp_path / 'out', *option)
    assert refused.returncode == code
    assert f'error: {option[0]}' in refused.stderr
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(('name', 'rows'), [  # the most labels of all
    ('cifar10_4k_sweep', ['--rows', 'no-pre-training', 'gaussian-25']), ('layer_probes', [])])
def test_smoke_on_ten_classes(name: str, rows: list[str], tmp_path: Path) -> None:
    sample_images.write_classes(tmp_path / 'ten', 32, 100, tuple('abcdefghij'))
    result = run(name, tmp_path / 'out', '--data-dir', str(tmp_path / 'ten'), *rows)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize('name', [
    name for name in NAMES if 'rows=True' in (RECIPES / f'{name}.py').read_text()])
def test_no_such_row(name: str, tmp_path: Path) -> None:
    """It is refused before anything is loaded: there is nothing to load here."""
    (tmp_path / 'empty').mkdir()
    unknown = run(name, tmp_path / 'out', '--data-dir', str(tmp_path / 'empty'), '--rows', 'tomorrow')
    assert unknown.returncode == 1
    assert re.search('error: --rows tomorrow: there are (no-pre-training|random-gaussian), ', unknown.stderr)


def test_two_processes_share_a_pretraining(tmp_path: Path) -> None:
    """The second one waits for it, and each makes its row."""
    out = tmp_path / 'out'
    assert run('cifar10_4k_labels', out, '--rows', 'no-pre-training').returncode == 0  # makes the data
    processes = [Process(tmp_path / row, recipe, 'cifar10_4k_labels', out, '--rows', row)
                 for row in ('pre-training', 'today')]
    first, second = (process.wait() for process in processes)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert (first.stdout + second.stdout).count('epoch 1 ') == 3  # one pre-training, and a fine-tuning each
    assert len(list(out.glob('*-seed0/scae_*/manifest.json'))) == 3


def test_other_images_to_pretrain_on(tmp_path: Path) -> None:
    sample_images.write_multi_label(tmp_path / 'voc', 40, 24, VOC_CLASSES)
    sample_images.write_classes(tmp_path / 'unlabelled', 40, 12, ('a', 'b', 'c'))
    result = run('voc2007_classification', tmp_path / 'out', '--data-dir', str(tmp_path / 'voc'),
                 '--unlabelled', str(tmp_path / 'unlabelled'))
    assert result.returncode == 0, result.stderr
    folder = next((tmp_path / 'out').glob('*/scae_vgg16.dae_imagenet'))
    recipe, card = ((folder / name).read_text() for name in ('recipe.yaml', 'README.md'))
    assert 'images: 12\n' in recipe
    assert re.search(r'dataset:\n +type: voc$', card, re.MULTILINE)  # measured on
    assert f'--unlabelled {tmp_path / "unlabelled"}' in recipe.replace('\n ', '')
    sample_images.write_classes(tmp_path / 'others', 40, 12, ('a', 'b', 'c', 'd'))
    result = run('voc2007_classification', tmp_path / 'out', '--data-dir', str(tmp_path / 'voc'),
                 '--unlabelled', str(tmp_path / 'others'), '--rows', 'random-gaussian')
    assert list(json.loads((tmp_path / 'out' / 'results.json').read_text())) == ['random Gaussian']


def test_a_name_for_images_in_a_folder(tmp_path: Path) -> None:
    sample_images.write_classes(tmp_path / 'imagenette160', 96, 24, ('a', 'b', 'c'))
    images = ('--data-dir', str(tmp_path / 'imagenette160'), '--name', 'imagenette96')
    result = run('stl10_folds', tmp_path / 'out', *images, '--rows', 'pre-training')
    assert result.returncode == 0, result.stderr
    assert [line.rpartition('/')[2].split()[0] for line in result.stdout.splitlines() if 'checkpoint ' in line] == [
        'scae_swwae.dae_imagenette96', 'scae_swwae.dae_ft_imagenette96']
    assert '75.8' not in result.stdout  # the paper's figure is of STL-10
    card = next((tmp_path / 'out').rglob('scae_swwae.dae_ft_imagenette96/README.md')).read_text()
    assert 'datasets:\n- imagenette160\n' in card
    ship = run('stl10_folds', tmp_path / 'other', *images, '--rows', 'no-pre-training', '--budget', 'cpu', '--ship')
    assert 'fewer than the 100 labels' in ship.stderr  # it may ship, named for what it is trained on


def test_what_is_not_imagenet_does_not_ship(tmp_path: Path) -> None:
    sample_images.write_multi_label(tmp_path / 'voc2007', 40, 24, VOC_CLASSES)
    sample_images.write_classes(tmp_path / 'unlabelled', 40, 12, ('a', 'b', 'c'))
    result = run('voc2007_classification', tmp_path / 'out', '--data-dir', str(tmp_path / 'voc2007'), '--unlabelled',
                 str(tmp_path / 'unlabelled'), '--rows', 'pre-training', '--budget', 'cpu', '--ship')
    assert result.returncode == 1
    assert f'--ship: {tmp_path / "unlabelled"} is not known to be ImageNet' in result.stderr


def test_data_of_the_users_own(ended: Callable[[str], Smoke], tmp_path: Path) -> None:
    made, = (ended('cifar10_all_labels').out / 'data').glob('*/')
    data = Path(shutil.copytree(made, tmp_path / 'data'))
    result = run('cifar10_all_labels', tmp_path / 'own', '--data-dir', str(data))
    assert result.returncode == 0, result.stderr
    broken = next((data / 'train').rglob('*.png'))
    broken.write_bytes(b'broken')
    result = run('cifar10_all_labels', tmp_path / 'other', '--data-dir', str(data))
    assert result.returncode == 1
    assert str(broken) in result.stderr
    assert 'Traceback' not in result.stderr


def test_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """By Ctrl-C: one line."""
    monkeypatch.setattr(sys, 'argv', ['mine.py', '--out', str(tmp_path)])
    with pytest.raises(SystemExit) as caught, experiment('A recipe.', 'torch/cifar10'):
        raise KeyboardInterrupt
    assert caught.value.code == 130
    assert capsys.readouterr().err == 'mine: stopped; the same command goes on from here\n'
