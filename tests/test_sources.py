"""Folders and named data sets: what is read from each, and what each fault says."""

import hashlib
import io
import json
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import ImageNetInfo
from torchvision import datasets

from scae_zoo.training.cache import load
from scae_zoo.training.data import ImageSet
from scae_zoo.training.sources import VOC_CLASSES, find_source, load_images, only, read_pairs

WORDNET = ImageNetInfo().label_names()


def picture(value: int, size: tuple[int, int] = (8, 6)) -> Image.Image:
    """One colour, width x height."""
    return Image.new('RGB', size, (value, 2 * value, 255 - value))


def save(path: Path, value: int, size: tuple[int, int] = (8, 6)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(value, size).save(path)
    return path


def save_mask(path: Path, value: int, size: tuple[int, int] = (8, 6)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('L', size, value).save(path)


def values(images: ImageSet) -> list[int]:
    """The first channel of each picture."""
    assert images.images.dtype == torch.uint8
    return images.images[:, 0, 0, 0].tolist()


def labels(images: ImageSet) -> list:
    assert images.targets is not None
    return images.targets.tolist()


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
    (image, mask), _ = read_pairs(source)
    assert image.shape == (3, 6, 8)
    assert mask[[0, 0, -1, -1], [0, -1, 0, -1]].tolist() == [0, 20, 255, 1]
    assert load(source, 4).targets.shape == (2, 4, 4)


def test_hugging_face_folder(tmp_path: Path) -> None:
    for i in range(4):
        save(tmp_path / 'set' / 'train' / 'ab'[i % 2] / f'{i}.png', 10 * i)
    images = load_images(f'hfds/{tmp_path}/set', size=None, root=tmp_path / 'root')
    assert images.classes == ('a', 'b')
    assert sorted(zip(values(images), labels(images), strict=True)) == [(0, 0), (10, 1), (20, 0), (30, 1)]


def write_parquet(folder: Path, pictures: list[bytes], targets: list[int], names: list[str] | None) -> None:
    from datasets import ClassLabel, Dataset, Features, Value
    from datasets import Image as ImageFeature

    folder.mkdir(parents=True)
    features = Features({
        'image': ImageFeature(), 'label': Value('int64') if names is None else ClassLabel(names=names)})
    rows = {'image': [{'bytes': data, 'path': None} for data in pictures], 'label': targets}
    Dataset.from_dict(rows, features=features).to_parquet(folder / 'train-00000-of-00001.parquet')


def encoded(value: int, kind: str = 'PNG') -> bytes:
    buffer = io.BytesIO()
    picture(value).save(buffer, kind)
    return buffer.getvalue()


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
    write_parquet(tmp_path / 'set', [encoded(10), encoded(20)[:50], encoded(30)], [0, 1, 2], None)
    images = load_images(f'hfds/{tmp_path}/set', size=None, root=tmp_path / 'root', max_unreadable=0.5)
    assert values(images) == [10, 30]
    assert labels(images) == [0, 2]
    assert images.classes == ('0', '1', '2')
    assert f'left out: hfds/{tmp_path}/set image 1: ' in capsys.readouterr().err


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


def write_shard(path: Path, samples: list[tuple[bytes, int | str | None]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, 'w') as tar:
        for i, (image, label) in enumerate(samples):
            for kind, data in (('png', image), *(() if label is None else (('cls', str(label).encode()),))):
                entry = tarfile.TarInfo(f'{i:04}.{kind}')
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
    split = {'name': 'train', 'filenames': [path.name], 'shard_lengths': [len(samples)], 'num_samples': len(samples)}
    (path.parent / '_info.json').write_text(json.dumps({'splits': {'train': split}}))


def test_webdataset(tmp_path: Path) -> None:
    write_shard(tmp_path / 'train-0.tar', [(encoded(10), 3), (encoded(20), 999), (encoded(30), 0)])
    images = load_images('wds/imagenet-1k', size=None, root=tmp_path)
    assert images.images.shape == (3, 3, 6, 8)
    assert values(images) == [10, 20, 30]
    assert labels(images) == [3, 999, 0]
    assert images.classes == tuple(WORDNET)
    assert load_images('wds/mine', 'train-{0..0}.tar', size=None, root=tmp_path).classes == tuple(map(str, range(1000)))
    write_shard(tmp_path / 'train-0.tar', [(b'never decoded', 3), (encoded(20), 999), (encoded(30), 0)])
    one = load(only(find_source('wds/imagenet-1k', root=tmp_path), [WORDNET[999]]), None)
    assert values(one) == [20]


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


def test_flat_folder(tmp_path: Path) -> None:
    for i, name in enumerate(('b.png', 'a.PNG', 'c.bmp', '10.png', '9.png')):
        save(tmp_path / name, i)
    (tmp_path / 'notes.txt').touch()
    images = load_images(str(tmp_path), size=None)
    assert values(images) == [4, 3, 1, 0, 2]
    assert images.targets is None
    assert images.classes == ()
    save(tmp_path / 'more' / '0.png', 9)  # images beside a folder of images: no classes
    assert load_images(str(tmp_path), size=None).targets is None


def test_class_folders(tmp_path: Path) -> None:
    for i, name in enumerate(('train/cat/0.png', 'train/dog/x/1.png', 'train/dog/y/2.png', 'valid/cat/3.png')):
        save(tmp_path / name, i)
    (tmp_path / 'train' / '.thumbnails').mkdir()
    train = load_images(str(tmp_path), size=None)
    assert train.classes == ('cat', 'dog_x', 'dog_y')
    assert values(train) == labels(train) == [0, 1, 2]
    assert values(load_images(str(tmp_path), 'test', size=None)) == [3]
    (tmp_path / 'valid' / 'cat' / '3.png').unlink()
    (tmp_path / 'valid' / 'cat').rmdir()
    (tmp_path / 'valid').rmdir()
    with pytest.raises(ValueError, match='has no split test, only train'):
        load_images(str(tmp_path), 'test', size=None)


def test_only_some_classes(tmp_path: Path) -> None:
    for i, name in enumerate((WORDNET[0], WORDNET[1], WORDNET[2])):
        save(tmp_path / name / f'{i}.png', i)
    source = find_source(str(tmp_path))
    images = load(only(source, {WORDNET[2], WORDNET[0]}), None)
    assert images.classes == (WORDNET[0], WORDNET[2])
    assert values(images) == [0, 2]
    assert labels(images) == [0, 1]
    assert images.identity != load(source, None).identity
    with pytest.raises(ValueError, match=f'has no class {WORDNET[9]} '):
        only(source, [WORDNET[0], WORDNET[9]])


def test_multi_label_folder(tmp_path: Path) -> None:
    for i in range(3):
        save(tmp_path / f'{i}.png', i)
    (tmp_path / 'labels.csv').write_text('\ufeffimage,cat,"dog, big"\r\n2.png,1,0\r\n0.png,,1\r\n\r\n', 'utf-8')
    images = load_images(str(tmp_path), size=None)
    assert images.multi_label
    assert images.classes == ('cat', 'dog, big')
    assert values(images) == [2, 0]
    assert labels(images) == [[1, 0], [-1, 1]]


@pytest.fixture
def masked(tmp_path: Path) -> Path:
    for i in range(2):
        save(tmp_path / 'images' / 'x' / f'{i}.jpg', i)
        save_mask(tmp_path / 'masks' / 'x' / f'{i}.png', i)
    (tmp_path / 'classes.txt').write_text('sky\nsea\n\n')
    return tmp_path


def test_masks(masked: Path) -> None:
    images = load_images(str(masked), size=4, masks=True)
    assert images.classes == ('sky', 'sea')
    assert images.images.shape == (2, 3, 4, 4)
    assert torch.equal(images.targets, torch.tensor([0, 1], dtype=torch.uint8)[:, None, None].expand(2, 4, 4))
    assert load_images(str(masked), size=None).images.shape == (2, 3, 6, 8)  # without masks: the images alone


@pytest.mark.parametrize(('table', 'fault'), [
    ('', 'labels.csv: needs a header'),
    ('image\n0.png\n', 'labels.csv: needs a header'),
    ('image,cat\n', 'labels.csv: needs a header'),
    ('image,cat\n0.png,1\n1.png,1\n', 'labels.csv, line 3: there is no image .*1.png'),
    ('image,cat\n\n0.png,yes\n', 'labels.csv, line 3: needs a file name and 1 cells that are 1, 0 or empty'),
    ('image,cat\n0.png,1,0\n', 'labels.csv, line 2: needs'),
    ('image,c\xe4t\n0.png,1\n', 'labels.csv: cannot be read as a table in UTF-8'),
])
def test_faulty_labels(tmp_path: Path, table: str, fault: str) -> None:
    save(tmp_path / '0.png', 0)
    (tmp_path / 'labels.csv').write_text(table, 'latin-1')
    refused(tmp_path, fault)


def refused(folder: Path | str, fault: str, **options) -> None:
    with pytest.raises(ValueError, match=fault) as caught:
        load_images(str(folder), **{'size': None, **options})
    assert '\n' not in str(caught.value)


def test_empty_folders(tmp_path: Path) -> None:
    refused(tmp_path, f'{tmp_path}: no image in this folder or below it')
    refused(tmp_path / 'none', 'none: is neither a folder nor a data set')
    save(tmp_path / 'cat' / '0.png', 0)
    save(tmp_path / 'dog_big' / '0.png', 0)
    (tmp_path / 'dog' / 'deep').mkdir(parents=True)
    (tmp_path / 'dog' / 'notes.txt').touch()
    refused(tmp_path, 'dog: is a class without images; add some, or remove the folder')


def test_images_and_masks_must_agree(masked: Path) -> None:
    save(masked / 'images' / '7.png', 0)
    refused(masked, r'images/7.png: has no mask of the same name \(1 such', masks=True)
    (masked / 'images' / '7.png').rename(masked / 'masks' / '7.png')
    refused(masked, r'masks/7.png: has no image of the same name', masks=True)
    (masked / 'masks' / '7.png').unlink()
    save_mask(masked / 'masks' / 'x' / '1.png', 1, (6, 8))
    refused(masked, r'masks/x/1.png: has 6x8 pixels, its image 8x6; they must agree', masks=True)
    save(masked / 'masks' / 'x' / '1.png', 1)
    refused(masked, r'masks/x/1.png: is a RGB image; a mask has one class index a pixel', masks=True)
    refused(masked / 'images', 'needs images/ and masks/', masks=True)


def test_unreadable_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Named and left out up to the share that is allowed, beyond it an error."""
    for i in range(10):
        save(tmp_path / f'{i}.png', i)
    (tmp_path / '3.png').write_bytes((tmp_path / '3.png').read_bytes()[:40])
    (tmp_path / '7.png').unlink()
    (tmp_path / '7.png').symlink_to(tmp_path / 'gone.png')
    fault = r'3.png: .*; 2 such files of 10 are more than 10.0%: replace or remove them, or raise --max-unreadable'
    refused(tmp_path, fault, max_unreadable=0.1)
    capsys.readouterr()
    images = load_images(str(tmp_path), size=None, max_unreadable=0.2)
    assert values(images) == [0, 1, 2, 4, 5, 6, 8, 9]
    printed = capsys.readouterr().err
    assert 'left out: ' in printed
    assert '3.png: ' in printed
    assert '7.png: cannot be read' in printed
    refused(tmp_path, fault, max_unreadable=0.1)  # though they are decoded by now


def test_sizes_differ(tmp_path: Path) -> None:
    save(tmp_path / '0.png', 0, (8, 6))
    save(tmp_path / '1.png', 1, (6, 8))
    refused(tmp_path, '1.png: 6x8 pixels, but .*0.png has 8x6; all images must have one size here, or give --size')
    assert load_images(str(tmp_path), size=20).images.shape == (2, 3, 20, 20)


def test_unknown_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused('torch/cifar11', 'torch/cifar11: is not known; there are torch/cifar10, torch/cifar100', root=tmp_path)
    refused('torch/stl10', 'torch/stl10: has the splits train, test, unlabeled, fold0, .*, not fold10', split='fold10')
    refused('torch/cifar10', 'torch/cifar10: has no masks', masks=True)
    refused('torch/voc2012', 'torch/voc2012: has masks, for `scae segment`')
    refused(f'hfds/{tmp_path}/none', 'none: cannot be opened under ', root=tmp_path)
    refused('wds/x', r'wds/x: cannot be opened under .*split train not found', root=tmp_path)
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    refused('hfds/x', r"hfds/x: needs datasets; pip install 'scae-zoo\[hfds\]'")
    refused('wds/x', r"wds/x: needs webdataset; pip install 'scae-zoo\[wds\]'")
