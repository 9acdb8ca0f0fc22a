"""Folders of images: what is read from each, and what each fault says."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from timm.data import ImageNetInfo

from scae_zoo.data.cache import load
from scae_zoo.data.sources import few, find_source, load_images, only

from ..support.pictures import labels, refused, save, save_mask, values

WORDNET = ImageNetInfo().label_names()


def test_flat_folder(tmp_path: Path) -> None:
    for i, name in enumerate(('b.png', 'a.PNG', 'c.bmp', '10.png', '9.png')):
        save(tmp_path / name, i)
    (tmp_path / 'notes.txt').touch()
    images = load_images(str(tmp_path), size=None)
    assert values(images) == [4, 3, 1, 0, 2]
    assert images.targets is None
    assert images.classes == ()
    save(tmp_path / 'more' / '0.png', 9)  # images beside a folder of images: no classes
    assert load_images(str(tmp_path), size=None, labels=False).targets is None
    refused(tmp_path, r'9.png: lies beside the folders of classes \(5 such images\); move it')


def test_class_folders(tmp_path: Path) -> None:
    for i, name in enumerate(('train/cat/0.png', 'train/dog/x/1.png', 'train/dog/y/2.png', 'valid/cat/3.png')):
        save(tmp_path / name, i)
    for hidden in ('.thumbnails/4.png', 'dog/.ipynb_checkpoints/5.png', 'dog/x/._1.png'):
        save(tmp_path / 'train' / hidden, 9)
    train = load_images(str(tmp_path), size=None)
    assert train.classes == ('cat', 'dog')  # the first level, as torchvision has it
    assert values(train) == [0, 1, 2]
    assert labels(train) == [0, 1, 1]
    assert values(load_images(str(tmp_path), 'test', size=None)) == [3]
    (tmp_path / 'valid' / 'cat' / '3.png').unlink()
    (tmp_path / 'valid' / 'cat').rmdir()
    (tmp_path / 'valid').rmdir()
    with pytest.raises(ValueError, match='has no split test, only train'):
        load_images(str(tmp_path), 'test', size=None)
    save(tmp_path / 'more' / '4.png', 4)  # a further folder does not make classes of the splits
    with pytest.raises(ValueError, match='has no split test, only train'):
        load_images(str(tmp_path), 'test', size=None)
    with pytest.raises(ValueError, match='has no split trian, only train'):
        load_images(str(tmp_path), 'trian', size=None)
    assert values(load_images(str(tmp_path), 'more', size=None)) == [4]


def test_classes_with_numbers(tmp_path: Path) -> None:
    """Their order is that of the numbers, and of small letters, as timm has it."""
    for name in ('10', '9', 'b2', 'B10', 'AB', 'a_b'):
        save(tmp_path / name / '0.png', 0)
    assert find_source(str(tmp_path)).classes == ('9', '10', 'a_b', 'AB', 'b2', 'B10')


def test_identity_stays_what_it_was(tmp_path: Path) -> None:
    """Of the names, the sizes and the table: runs that an earlier version began go on."""
    for i, name in enumerate(('a/0.png', 'b/1.png')):
        (tmp_path / 'set' / name).parent.mkdir(parents=True)
        (tmp_path / 'set' / name).write_bytes(b'x' * i)
    assert find_source(str(tmp_path / 'set')).identity == 'set 2 images fdc3eaf811707ead'
    (tmp_path / 'set' / 'labels.csv').write_text('image,cat\na/0.png,1\n')
    assert find_source(str(tmp_path / 'set')).identity == 'set 1 images b9d9c1e7c7ff8865'
    shutil.copytree(tmp_path / 'set' / 'b', tmp_path / 'set' / 'images')
    shutil.copytree(tmp_path / 'set' / 'b', tmp_path / 'set' / 'masks')
    assert find_source(str(tmp_path / 'set'), masks=True).identity == 'set 1 images 992b4c2ea21fa26c'


def test_classes_that_sort_alike(tmp_path: Path) -> None:
    """Their order is the same in every process, whatever Python's hashes are, and whatever the file system says."""
    for i, name in enumerate(('01', '1', 'A', 'a', 'B', 'b')):
        save(tmp_path / name / 'x.png', i)
        save(tmp_path / name / 'X.png', i)
    code = ('import sys; from scae_zoo.data.sources import find_source; source = find_source(sys.argv[1]); '
            'print(source.classes, [(sample.name, sample.label) for sample in source.samples])')
    seen = {subprocess.run([sys.executable, '-c', code, str(tmp_path)], env={**os.environ, 'PYTHONHASHSEED': seed},
                           check=True, capture_output=True, text=True).stdout for seed in '12'}
    assert len(seen) == 1
    images = load_images(str(tmp_path), size=None)
    assert images.classes == ('01', '1', 'A', 'a', 'B', 'b')
    assert values(images) == labels(images)


def test_folders_that_are_no_classes(tmp_path: Path) -> None:
    """Where labels are not wanted they do not matter."""
    save(tmp_path / 'caf\u00e9' / '0.png', 0)
    save(tmp_path / 'cafe\u0301' / '1.png', 1)
    refused(tmp_path, 'cafe\u0301 and caf\u00e9 would both be class caf\u00e9; rename one')
    (tmp_path / 'caf\u00e9').rename(tmp_path / 'c')
    (tmp_path / 'cafe\u0301').rename(tmp_path / 'a')
    (tmp_path / 'videos').mkdir()
    refused(tmp_path, 'videos: is a class without images')
    (tmp_path / 'labels.csv').write_text('name of the image,what is in it\n')
    refused(tmp_path, 'labels.csv: needs a header')
    images = load_images(str(tmp_path), size=None, labels=False)
    assert values(images) == [1, 0]
    assert images.targets is None
    (tmp_path / 'labels.csv').unlink()
    (tmp_path / 'videos').rmdir()
    assert load_images(str(tmp_path), size=None).classes == ('a', 'c')  # and not what was cached without


@pytest.mark.parametrize('names', [('Train', 'Test'), ('TRAINING', 'VAL'), ('train', 'Test')])
def test_splits_in_any_case(tmp_path: Path, names: tuple[str, str]) -> None:
    for i, split in enumerate(names):
        for name in ('cat', 'dog'):
            save(tmp_path / split / name / '0.png', i)
    for i, split in enumerate(('train', 'test')):
        images = load_images(str(tmp_path), split, size=None)
        assert images.classes == ('cat', 'dog')
        assert values(images) == [i, i]


@pytest.mark.parametrize('target', ['.', '..', '../..', '../dog'])
def test_links_to_folders(tmp_path: Path, target: str) -> None:
    """One that leads back to where it is adds nothing; another one is a folder like any."""
    for i, name in enumerate(('train/cat', 'train/dog', 'test/cat')):
        save(tmp_path / name / f'{i}.png', i)
    (tmp_path / 'train' / 'cat' / 'again').symlink_to(target)
    images = load_images(str(tmp_path / 'train'), size=None, labels=False)
    assert values(images) == ([0, 1, 1] if target == '../dog' else [0, 1])


def test_a_folder_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its images are not passed over."""
    for name in ('cat', 'dog'):
        save(tmp_path / name / '0.png', 0)
    scandir = os.scandir

    def refuse(path: str):
        if str(path).endswith('dog'):
            raise PermissionError(13, 'Permission denied', path)
        return scandir(path)

    monkeypatch.setattr(os, 'scandir', refuse)  # root may list any
    with pytest.raises(PermissionError, match='dog'):
        load_images(str(tmp_path), size=None)


def test_names_that_are_no_ascii(tmp_path: Path) -> None:
    """Digits that are no numbers, names in Latin-1, and e with its accent as a Mac has it: two characters."""
    for i, name in enumerate(('cafe\u0301', '\u2461', '5\u00b2')):
        save(tmp_path / 'train' / name / f'{i}\udce9.png', i)
    save(tmp_path / 'test' / 'caf\u00e9' / '0.png', 0)
    images = load_images(str(tmp_path), size=None)
    assert images.classes == ('5\u00b2', 'caf\u00e9', '\u2461')
    assert values(images) == [2, 0, 1]
    assert load_images(str(tmp_path), 'test', size=None).classes == ('caf\u00e9',)


def test_a_class_of_trains_is_no_split(tmp_path: Path) -> None:
    for i, name in enumerate(('car', 'train')):
        save(tmp_path / name / f'{i}.png', i)
    (tmp_path / 'train' / '.thumbnails').mkdir()
    for split in ('train', 'test', 'validation'):
        images = load_images(str(tmp_path), split, size=None)
        assert images.classes == ('car', 'train')
        assert values(images) == [0, 1]
    with pytest.raises(ValueError, match='has no split tests'):
        load_images(str(tmp_path), 'tests', size=None)


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


def test_a_few(tmp_path: Path) -> None:
    """As many of each class, however many there are."""
    for i, name in enumerate('aaaaaaab'):
        save(tmp_path / name / f'{i}.png', i)
    source = find_source(str(tmp_path))
    assert few(source, 8) is source
    assert labels(load(few(source, 2), None)) == [0, 1]
    assert labels(load(few(source, 5), None)) == [0, 0, 0, 0, 1]
    assert few(source, 2).identity != few(source, 3).identity != source.identity
    save(tmp_path / '8.png', 8)  # no classes any more
    assert values(load(few(find_source(str(tmp_path), labels=False), 3), None)) == [8, 2, 5]


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
    for kind in ('images', 'masks'):  # a test split inside the training data
        shutil.copytree(masked / kind / 'x', masked / 'test' / kind)
    assert load_images(str(masked), size=4, masks=True).identity == images.identity
    (masked / 'classes.txt').write_text('sky\nlad\n\n')
    assert load_images(str(masked), size=4, masks=True).identity != images.identity


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
    save(masked / 'images' / 'x' / '1.webp', 0)
    refused(masked, 'images/x/1.webp: has the name of 1.jpg; .* remove or rename one', masks=True)
    (masked / 'images' / 'x' / '1.webp').unlink()
    save_mask(masked / 'masks' / '.hidden' / '8.png', 0)
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
    capsys.readouterr()
    load_images(str(tmp_path), size=None, max_unreadable=0.2)
    printed = capsys.readouterr().err
    assert 'left out: ' in printed
    assert '; 2 such files; to try again, remove ' in printed


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
    refused(f'hfds/{tmp_path}/none', 'none: cannot be opened under (?!.*offline)', root=tmp_path)
    monkeypatch.setenv('https_proxy', 'http://127.0.0.1:9')  # where nobody listens
    refused('torch/cifar10', r'torch/cifar10: cannot be opened under .*; offline, put its files there', root=tmp_path)
    refused('wds/x', r'wds/x: cannot be opened under .*split train not found', root=tmp_path)
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    refused('hfds/x', r"hfds/x: needs datasets; pip install 'scae-zoo\[hfds\]'")
    refused('wds/x', r"wds/x: needs webdataset; pip install 'scae-zoo\[wds\]'")
