"""Nothing is measured on what it was trained on, whatever the paths are called."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from scae_zoo.checkpoints.folder import open_folder
from scae_zoo.data.image_set import ImageSet
from scae_zoo.data.sources import Pairs, few, find_source, load_images, only
from scae_zoo.methods.runs import require_disjoint
from scae_zoo.methods.self_training import pseudo_labelled
from scae_zoo.training.streaming import ImageStream

from ..support.pictures import encoded, save, write_parquet, write_shard
from ..support.training_commands import SMALL, run


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for split in ('train', 'test'):
        for i in range(6):
            save(tmp_path / 'set' / split / 'ab'[i % 2] / f'{i}.png', i)
    return tmp_path / 'set'


def overlap(train: ImageSet | ImageStream, *measured: ImageSet | Pairs | None) -> str:
    """What is said of images that are in both; nothing where none are."""
    try:
        require_disjoint(train, measured)
    except ValueError as error:
        return str(error)
    return ''


def test_the_same_files(images: Path, tmp_path: Path) -> None:
    """By other paths, links and copies of links; a copy is another file."""
    train, test = (load_images(str(images), split, size=None) for split in ('train', 'test'))
    assert not overlap(train, test, None)
    (tmp_path / 'link').symlink_to(images / 'train')
    hard, soft, copied = (tmp_path / name / 'b' for name in ('hard', 'soft', 'copied'))
    for folder in (hard, soft, copied):
        folder.mkdir(parents=True)
        shutil.copy(images / 'test' / 'a' / '0.png', folder / '0.png')
    os.link(images / 'train' / 'b' / '3.png', hard / '9.png')
    (soft / '9.png').symlink_to(images / 'train' / 'b' / '3.png')
    shutil.copy(images / 'train' / 'b' / '3.png', copied / '9.png')
    for place, number, of, first in (
            (tmp_path / 'link', 6, 6, tmp_path / 'link/a/0.png'),
            (tmp_path / 'set/../set/train', 6, 6, 'train/a/0.png'), (images / 'train' / 'b', 3, 3, '1.png'),
            (hard.parent, 1, 2, hard / '9.png'), (soft.parent, 1, 2, soft / '9.png')):
        fault = overlap(train, load_images(str(place), size=None, labels=False))
        assert f'{first}: would be trained on and measured on as well ({number} such images of {of})' in fault
        assert '\n' not in fault
        streamed = ImageStream(find_source(str(images)), 8)
        assert overlap(streamed, load_images(str(place), size=None, labels=False)) == fault
    assert not overlap(train, load_images(str(copied.parent), size=None))


def test_parts_of_a_set(images: Path) -> None:
    source = find_source(str(images))
    train = load_images(str(images), size=None)
    held, rest = train.split(0.4, seed=0)
    assert not overlap(rest, held)
    assert overlap(train, held)
    assert overlap(train.labelled(2, 0), train.labelled(3, 0))
    some, others = (train.subset(index, '') for index in train.per_class(1, 0))
    assert not overlap(some, others)
    a, b = (Pairs(only(source, [name])) for name in 'ab')
    assert not overlap(ImageStream(a.source, 8), b)
    assert '(3 such images of 3)' in overlap(train, a)
    assert '(2 such images of 2)' in overlap(train, Pairs(few(source, 2)))


def test_around_images_that_cannot_be_read(images: Path) -> None:
    """Those after them are not taken for others, whether they are decoded now or were before."""
    (images / 'train' / 'a' / '0.png').write_bytes(b'broken')
    for _ in range(2):
        train = load_images(str(images), size=None, max_unreadable=0.5)
        assert len(train) == 5
        first = train.subset(torch.tensor([0]), 'first')  # a/2.png
        whole = load_images(str(images / 'train' / 'a'), size=None, max_unreadable=0.5)
        assert 'train/a/2.png: would be' in overlap(first, whole)
        assert not overlap(train.subset(torch.tensor([1]), 'second'), first)


def test_broken_links(images: Path) -> None:
    """None of them is the file that another one would be."""
    for split in ('train', 'test'):
        (images / split / 'a' / '9.png').symlink_to(f'no_{split}.png')
    train, test = (find_source(str(images), split) for split in ('train', 'test'))
    assert not overlap(ImageStream(train, 8), Pairs(test))
    assert '(1 such images of 7)' in overlap(ImageStream(few(train, 1), 8), Pairs(train))


def test_images_that_a_classifier_named(images: Path, tmp_path: Path, data: Path) -> None:
    teacher = tmp_path / 'teacher'
    assert run('finetune', data / 'classes', '--model', 'scae_springenberg9', *SMALL, '-o', teacher) == 0
    train = load_images(str(data / 'classes'), size=32)
    labelled, others = (train.subset(index, '') for index in train.per_class(2, 0))
    student = pseudo_labelled(open_folder(teacher), labelled, others, 1., torch.device('cpu'))
    assert len(student) == len(train)
    assert f'({len(others)} such images of {len(others)})' in overlap(student, others)
    assert overlap(others, student).startswith(str(data / 'classes' / 'train'))
    assert not overlap(student, load_images(str(data / 'classes'), 'test', size=32))


def test_rows_of_the_hub(tmp_path: Path) -> None:
    """Slices of a split are known; other splits have other rows."""
    for split in ('train', 'test'):
        write_parquet(tmp_path / split, [encoded(i) for i in range(10)], [0, 1] * 5, ['cat', 'dog'])
        (tmp_path / 'set').mkdir(exist_ok=True)
        (tmp_path / split / 'train-00000-of-00001.parquet').rename(tmp_path / 'set' / f'{split}-0.parquet')
    sets = {split: load_images(f'hfds/{tmp_path}/set', split, size=None, root=tmp_path / 'root')
            for split in ('train', 'test', 'train[:60%]', 'train[40%:]', 'train[60%:]')}
    assert not overlap(sets['train'], sets['test'])
    assert not overlap(sets['train[:60%]'], sets['train[60%:]'])
    assert '(2 such images of 6)' in overlap(sets['train[:60%]'], sets['train[40%:]'])
    assert overlap(sets['train[:60%]'], sets['train']).startswith(f'hfds/{tmp_path}/set train: would be')


def test_shards(tmp_path: Path) -> None:
    write_shard(tmp_path / 'train-0.tar', [(encoded(10), 0), (encoded(20), 1)])
    train = load_images('wds/mine', size=None, root=tmp_path)
    assert '(2 such images of 2)' in overlap(train, load_images('wds/mine', size=20, root=tmp_path))


@pytest.mark.parametrize('command', [
    ['pretrain'], ['pretrain', '--stream'], ['finetune', '--model', 'scae_springenberg9'],
    ['segment', '--from', 'scae_springenberg9'], ['probe', 'scae_springenberg9.dae_cifar10', '--data']])
def test_no_command_measures_so(
        command: list[str], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name, *options = command
    folder = data / ('masks' if name == 'segment' else 'classes')
    place = [*options, folder] if name == 'probe' else [folder, *options]
    assert run(name, *place, '--test', folder, '--test-split', 'train', *SMALL, '-o', tmp_path / 'run') == 2
    fault = capsys.readouterr().err.splitlines()[-1]
    assert ': would be trained on and measured on as well (' in fault
    assert not (tmp_path / 'run').exists()


def test_an_image_twice_is_not_held_back(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(shutil.copytree(data / 'classes' / 'train', tmp_path / 'set'))
    for path in sorted(folder.rglob('*.png')):
        path.with_name(f'again_{path.name}').symlink_to(path)
    assert run('finetune', folder, '--model', 'scae_springenberg9', '--validation', '0.5', *SMALL, '-o',
               tmp_path / 'run') == 2
    assert ': would be trained on and measured on as well (' in capsys.readouterr().err


def test_evaluate_says_what_was_trained_on(
        pretrained: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    note = 'scae_springenberg9.dae_classes was trained on these images (train 24 images '
    assert run('evaluate', pretrained, '--data', data / 'classes', '--split', 'train', '--limit', '3') == 0
    assert note in capsys.readouterr().err
    assert run('evaluate', pretrained, '--data', data / 'classes', '--limit', '3') == 0
    assert 'was trained on' not in capsys.readouterr().err
    recorded = json.loads((pretrained / 'run.json').read_text())['data']
    assert recorded.startswith('train 24 images ')
