"""Data sets by name, from small files in their official formats."""

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import ImageNetInfo
from torchvision import datasets

from scae_zoo.data.cache import load
from scae_zoo.data.sources import VOC_CLASSES, Pairs, few, find_source, load_images, only

from ..support.pictures import encoded, labels, refused, save, values, write_parquet, write_shard

WORDNET = ImageNetInfo().label_names()


def write_bytes(path: Path, array: np.ndarray) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    array.tofile(path)
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture
def stl10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The official binaries: pixels in column-major order, labels from 1."""
    folder = tmp_path / 'stl10_binary'

    def images(*values: int) -> np.ndarray:
        array = np.zeros((len(values), 3, 96, 96), np.uint8)
        array[:, 0] = np.array(values)[:, None, None]
        array[:, 1] = np.arange(96)[:, None]  # the stored rows are columns
        return array

    sums = {
        'train_X.bin': write_bytes(folder / 'train_X.bin', images(10, 20, 30, 40)),
        'train_y.bin': write_bytes(folder / 'train_y.bin', np.array([1, 2, 10, 2], np.uint8)),
        'unlabeled_X.bin': write_bytes(folder / 'unlabeled_X.bin', images(50, 60, 70)),
        'test_X.bin': write_bytes(folder / 'test_X.bin', images(80, 90)),
        'test_y.bin': write_bytes(folder / 'test_y.bin', np.array([3, 1], np.uint8)),
    }
    (folder / 'class_names.txt').write_text('\n'.join('abcdefghij') + '\n')
    (folder / 'fold_indices.txt').write_text('\n'.join(f'{i % 4} {(i + 1) % 4} ' for i in range(10)) + '\n')
    for kind in ('train_list', 'test_list'):
        files = [[name, sums[name]] for name, _ in getattr(datasets.STL10, kind)]
        monkeypatch.setattr(datasets.STL10, kind, files)
    return tmp_path


@pytest.mark.parametrize(('split', 'pixels', 'targets'), [
    ('train', [10, 20, 30, 40], [0, 1, 9, 1]),
    ('test', [80, 90], [2, 0]),
    ('val', [80, 90], [2, 0]),
    ('unlabeled', [50, 60, 70], None),
    ('fold0', [10, 20], [0, 1]),
    ('fold9', [20, 30], [1, 9]),
])
def test_stl10(stl10: Path, split: str, pixels: list[int], targets: list[int] | None) -> None:
    images = load_images('torch/stl10', split, size=None, root=stl10)
    assert images.images.shape == (len(pixels), 3, 96, 96)
    assert values(images) == pixels
    torch.testing.assert_close(images.images[0, 1, 5], torch.arange(96, dtype=torch.uint8))
    assert images.classes == tuple('abcdefghij')
    assert (images.targets is None) if targets is None else (labels(images) == targets)


def test_stl10_folds_are_images_of_train(stl10: Path) -> None:
    sets = {split: load_images('torch/stl10', split, size=None, root=stl10)
            for split in ('train', 'test', 'unlabeled', 'fold0', 'fold1')}
    for train, test, shared in (('unlabeled', 'test', 0), ('unlabeled', 'fold0', 0), ('fold0', 'test', 0),
                                ('train', 'fold0', 2), ('fold0', 'fold1', 1)):
        assert len(sets[test].origins.among(sets[train].origins)) == shared
    assert sets['fold0'].origins.among(sets['fold1'].origins).tolist() == [1]
    assert sets['fold0'].origins.file(1) == 'torch/stl10 train'  # what a refusal names


@pytest.mark.parametrize(('name', 'cls', 'key'), [
    ('torch/cifar10', datasets.CIFAR10, 'labels'),
    ('torch/cifar100', datasets.CIFAR100, 'fine_labels'),
])
def test_cifar(name: str, cls: type, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / cls.base_folder

    def write(file: str, content: dict) -> str:
        folder.mkdir(exist_ok=True)
        (folder / file).write_bytes(pickle.dumps(content))
        return hashlib.md5((folder / file).read_bytes()).hexdigest()

    for kind, first in (('train_list', 0), ('test_list', 100)):
        files = []
        for i, (file, _) in enumerate(getattr(cls, kind)):
            data = np.repeat(np.array([[first + i], [first + 50 + i]], np.uint8), 3072, axis=1)
            files.append([file, write(file, {'data': data, key: [i, 0]})])
        monkeypatch.setattr(cls, kind, files)
    meta = write(cls.meta['filename'], {cls.meta['key']: list('abcde')})
    monkeypatch.setattr(cls, 'meta', {**cls.meta, 'md5': meta})

    train, test = (load_images(name, split, size=None, root=tmp_path) for split in ('train', 'test'))
    expected = [v for i in range(len(cls.train_list)) for v in (i, 50 + i)]
    assert train.images.shape == (len(expected), 3, 32, 32)
    assert values(train) == expected
    assert labels(train) == [v for i in range(len(cls.train_list)) for v in (i, 0)]
    assert values(test) == [100, 150]
    assert train.classes == test.classes == tuple('abcde')
    assert train.identity != test.identity
    assert not len(test.origins.among(train.origins))


def no_download(*_: object, **__: object) -> None:
    raise AssertionError('nothing is to be downloaded')


def test_voc2007(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An object marked difficult counts neither way, unless another one of its class is there."""
    monkeypatch.setattr(datasets.voc, 'download_and_extract_archive', no_download)
    folder = tmp_path / 'VOCdevkit' / 'VOC2007'
    objects = {
        '000001': [('dog', 0), ('person', 1)],
        '000002': [('person', 1), ('person', 0)],
        '000003': [('person', 0), ('person', 1), ('tvmonitor', 0)],
    }
    for i, (name, entries) in enumerate(objects.items()):
        save(folder / 'JPEGImages' / f'{name}.jpg', 40 * i)
        (folder / 'Annotations').mkdir(exist_ok=True)
        xml = ''.join(f'<object><name>{c}</name><difficult>{d}</difficult><part><name>head</name></part></object>'
                      for c, d in entries)
        (folder / 'Annotations' / f'{name}.xml').write_text(f'<annotation>{xml}</annotation>')
    (folder / 'ImageSets' / 'Main').mkdir(parents=True)
    (folder / 'ImageSets' / 'Main' / 'trainval.txt').write_text('000001\n000003\n000002\n')
    images = load_images('torch/voc2007', 'train', size=17, root=tmp_path)
    assert images.images.shape == (3, 3, 17, 17)
    assert images.multi_label
    assert images.classes == VOC_CLASSES
    expected = torch.zeros(3, 20)
    dog, person, monitor = map(VOC_CLASSES.index, ('dog', 'person', 'tvmonitor'))
    expected[0, dog], expected[0, person] = 1, -1
    expected[1, [person, monitor]] = 1
    expected[2, person] = 1
    assert torch.equal(images.targets, expected)


def test_voc2012(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.voc, 'download_and_extract_archive', no_download)
    folder = tmp_path / 'VOCdevkit' / 'VOC2012'
    for i, name in enumerate(('2007_000032', '2007_000039')):
        save(folder / 'JPEGImages' / f'{name}.jpg', 100 * i)
        mask = Image.fromarray(np.array([[0, 20], [255, i]], np.uint8)).convert('P').resize((8, 6), 0)
        mask.putpalette(np.random.default_rng(0).integers(0, 256, 768).tolist())
        (folder / 'SegmentationClass').mkdir(exist_ok=True)
        mask.save(folder / 'SegmentationClass' / f'{name}.png')
    (folder / 'ImageSets' / 'Segmentation').mkdir(parents=True)
    (folder / 'ImageSets' / 'Segmentation' / 'val.txt').write_text('2007_000039\n2007_000032\n')
    source = find_source('torch/voc2012', 'test', masks=True, root=tmp_path)
    assert source.classes == ('background', *VOC_CLASSES)
    assert source.origins.file(0) == str(folder / 'JPEGImages' / '2007_000039.jpg')
    (image, mask), _ = Pairs(source)
    assert image.shape == (3, 6, 8)
    assert mask[[0, 0, -1, -1], [0, -1, 0, -1]].tolist() == [0, 20, 255, 1]
    assert load(source, 4).targets.shape == (2, 4, 4)


def test_hugging_face_folder(tmp_path: Path) -> None:
    for i in range(4):
        save(tmp_path / 'set' / 'train' / 'ab'[i % 2] / f'{i}.png', 10 * i)
    images = load_images(f'hfds/{tmp_path}/set', size=None, root=tmp_path / 'root')
    assert images.classes == ('a', 'b')
    assert sorted(zip(values(images), labels(images), strict=True)) == [(0, 0), (10, 1), (20, 0), (30, 1)]


@pytest.mark.parametrize('names', [None, [f'name {i}' for i in range(1000)]])
def test_hugging_face_imagenet(tmp_path: Path, names: list[str] | None) -> None:
    """Its classes are known by WordNet id, so that some can be chosen."""
    folder = tmp_path / 'imagenet-1k'
    write_parquet(folder, [encoded(10), b'never decoded', encoded(30)], [999, 0, 5], names)
    source = find_source(f'hfds/{folder}', root=tmp_path / 'root')
    assert source.classes == tuple(WORDNET)
    images = load(only(source, [WORDNET[5], WORDNET[999]]), None)
    assert only(source, [WORDNET[5]]).total == 1
    assert images.classes == (WORDNET[5], WORDNET[999])
    assert values(images) == [10, 30]
    assert labels(images) == [1, 0]


def test_hugging_face_unreadable(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Named and left out, not replaced by the next image; labels without names are numbered."""
    write_parquet(tmp_path / 'set', [encoded(10), encoded(20)[:50], encoded(30), None], [0, 1, 2, 3], None)
    images = load_images(f'hfds/{tmp_path}/set', size=None, root=tmp_path / 'root', max_unreadable=0.5)
    assert values(images) == [10, 30]
    assert labels(images) == [0, 2]
    assert images.classes == ('0', '1', '2')
    printed = capsys.readouterr().err
    assert f'left out: hfds/{tmp_path}/set image 1: ' in printed
    assert f'left out: hfds/{tmp_path}/set image 3: cannot be read (there is none)' in printed


def test_hugging_face_without_labels(tmp_path: Path) -> None:
    for i in range(3):
        save(tmp_path / 'set' / f'{i}.png', i)
    images = load_images(f'hfds/{tmp_path}/set', size=None, root=tmp_path / 'root')
    assert values(images) == [0, 1, 2]
    assert images.targets is None


def test_some_without_labels(tmp_path: Path) -> None:
    """Then there are none."""
    write_parquet(tmp_path / 'set', [encoded(10), encoded(20)], [3, -1], None)
    images = load_images(f'hfds/{tmp_path}/set', size=None, root=tmp_path / 'root')
    assert values(images) == [10, 20]
    assert images.targets is None


def test_webdataset(tmp_path: Path) -> None:
    write_shard(tmp_path / 'train-0.tar', [(encoded(10), 3), (encoded(20), 999), (encoded(30), 0)])
    images = load_images('wds/imagenet-1k', size=None, root=tmp_path)
    assert images.images.shape == (3, 3, 6, 8)
    assert values(images) == [10, 20, 30]
    assert labels(images) == [3, 999, 0]
    assert images.classes == tuple(WORDNET)
    for name in ('mine', 'tiny-imagenet', 'imagenet-12k'):
        images = load_images(f'wds/{name}', 'train-{0..0}.tar', size=None, root=tmp_path)
        assert images.classes == tuple(map(str, range(1000)))
    write_shard(tmp_path / 'train-0.tar', [(b'never decoded', 3), (encoded(20), 999), (encoded(30), 0)])
    one = load(only(find_source('wds/imagenet-1k', root=tmp_path), [WORDNET[999]]), None)
    assert values(one) == [20]
    write_shard(tmp_path / 'train-0.tar', [(encoded(10), 3), (encoded(20), 999), (b'never decoded', 0)])
    assert values(load(few(find_source('wds/imagenet-1k', root=tmp_path), 2), None)) == [10, 20]


def test_webdataset_labels(tmp_path: Path) -> None:
    write_shard(tmp_path / 'train-0.tar', [(encoded(10), None), (encoded(20), None)])
    images = load_images('wds/x', size=None, root=tmp_path)
    assert values(images) == [10, 20]
    assert images.targets is None
    write_shard(tmp_path / 'train-0.tar', [(encoded(10), 'cat')])
    refused('wds/x', 'wds/x 0000: its label cannot be read as a number', root=tmp_path)


def test_webdataset_unreadable(tmp_path: Path) -> None:
    write_shard(tmp_path / 'train-0.tar', [(encoded(10), 0), (encoded(20)[:50], 1)])
    with pytest.raises(ValueError, match=r'wds/x 0001: .*truncated.*; 1 such files of 2 are'):
        load_images('wds/x', size=None, root=tmp_path)
    assert values(load_images('wds/x', size=None, root=tmp_path, max_unreadable=0.5)) == [10]
    write_shard(tmp_path / 'train-0.tar', [(encoded(10), 0), (encoded(20), 1)])
    with (tmp_path / 'train-0.tar').open('r+b') as shard:
        shard.truncate(2700)
    fault = 'wds/x train 2: 1 images are missing or cannot be read; 1 such files of 2'
    with pytest.warns(UserWarning, match='unexpected end of data'):
        refused('wds/x', fault, root=tmp_path)
