"""Folders as people have them: where splits and classes are found, and what is refused."""

from pathlib import Path

import pytest

from scae_zoo.cli import main
from scae_zoo.data.sources import find_source, load_images
from scae_zoo.data.splits import split_name

from ..support.pictures import save, save_mask


def layout(folder: Path, *files: str) -> Path:
    """A folder ``set`` with these images; those below a folder of masks are masks."""
    for i, file in enumerate(files):
        is_mask = {'masks', 'annotations', 'ann_dir'} & {*Path(file).parts}
        (save_mask if is_mask else save)(folder / 'set' / file, i)
    return folder / 'set'


def found(folder: Path, split: str = 'train', **options: bool) -> list[str]:
    source = find_source(str(folder), split, **options)
    return [str(Path(sample.name).relative_to(folder)) for sample in source.samples]


def refused(folder: Path, fault: str, **options: bool) -> None:
    for split in ('train', 'test'):
        with pytest.raises(ValueError, match=fault) as caught:
            find_source(str(folder), split, **options)
        assert '\n' not in str(caught.value)


@pytest.mark.parametrize(('images', 'masks', 'train', 'val'), [
    ('images', 'masks', 'train', 'val'), ('images', 'annotations', 'training', 'validation'),
    ('img_dir', 'ann_dir', 'train', 'val'), ('images', 'masks', 'Train', 'TEST')])
def test_splits_of_images_and_of_masks(images: str, masks: str, train: str, val: str, tmp_path: Path) -> None:
    """As ADE20K and mmseg have them; images alone are never masks."""
    files = [f'{kind}/{file}.png' for kind in (images, masks) for file in (f'{train}/a', f'{val}/b')]
    folder = layout(tmp_path, *files)
    assert (split_name(folder, 'train'), split_name(folder, 'test')) == (train, val)
    for options in ({'masks': True}, {'labels': False}):
        assert found(folder, 'train', **options) == [f'{images}/{train}/a.png']
        assert found(folder, 'test', **options) == [f'{images}/{val}/b.png']
    for sample in find_source(str(folder), 'test', masks=True).samples:
        assert sample.mask == folder / masks / val / 'b.png'


def test_images_and_masks_below_each_split(tmp_path: Path) -> None:
    files = [f'{split}/{kind}/0.png' for split in ('train', 'val') for kind in ('img_dir', 'ann_dir')]
    folder = layout(tmp_path, *files)
    assert found(folder, 'test', masks=True) == ['val/img_dir/0.png']


def test_annotations_that_are_no_masks(tmp_path: Path) -> None:
    folder = layout(tmp_path, 'images/0.png')
    touch(folder / 'annotations' / '0.xml')
    assert found(folder, labels=False) == ['images/0.png']


def test_a_split_without_masks(tmp_path: Path) -> None:
    """The next one that has some is measured on."""
    folder = layout(tmp_path, 'images/train/a.png', 'masks/train/a.png', 'images/val/b.png', 'masks/val/b.png',
                    'images/test/c.png')
    assert found(folder, 'test', masks=True) == ['images/val/b.png']


@pytest.mark.parametrize(('files', 'fault'), [
    (['images/train/a.png', 'images/val/b.png', 'masks/a.png', 'masks/b.png'],
     'images: has the splits train, val, and .*masks has none; arrange both alike'),
    (['JPEGImages/a.png', 'SegmentationClass/a.png'],
     'needs images/ and masks/ .*img_dir/ and ann_dir/.*; its sub-folders: JPEGImages, SegmentationClass'),
    (['images/city/train/a.png', 'images/city/val/b.png', 'masks/city/train/a.png', 'masks/city/val/b.png'],
     'images/city: has the splits train, val; put the splits first, as in images/train and masks/train'),
])
def test_masks_that_are_refused(files: list[str], fault: str, tmp_path: Path) -> None:
    refused(layout(tmp_path, *files), fault, masks=True)


@pytest.mark.parametrize(('train', 'test', 'more'), [
    ('training_set', 'test_set', []), ('training_set/training_set', 'test_set/test_set', []),
    ('seg_train/seg_train', 'seg_test/seg_test', ['seg_pred/seg_pred/9.png']), ('train2017', 'val2017', []),
    ('TrainImages', 'ValidationImages', ['more/9.png']), ('train', 'test1', []), ('Training', 'Testing', []),
    ('set/train/train', 'set/test/test', [])])
def test_names_that_splits_have(train: str, test: str, more: list[str], tmp_path: Path) -> None:
    """And folders that are doubled, as archives are unpacked."""
    folder = layout(tmp_path, *(f'{split}/{name}/0.png' for split in (train, test) for name in ('cat', 'dog')), *more)
    for split, name in (('train', train), ('test', test)):
        for labels in (True, False):
            assert found(folder, split, labels=labels) == [f'{name}/cat/0.png', f'{name}/dog/0.png']
        assert find_source(str(folder), split).classes == ('cat', 'dog')
    assert split_name(folder, 'train') != split_name(folder, 'test')


def test_splits_in_each_class(tmp_path: Path) -> None:
    folder = layout(tmp_path, 'cat/train/0.png', 'cat/test/1.png', 'dog/Train/x/0.png', 'dog/TEST/1.png')
    for labels in (True, False):
        assert found(folder, labels=labels) == ['cat/train/0.png', 'dog/Train/x/0.png']
        assert found(folder, 'val', labels=labels) == ['cat/test/1.png', 'dog/TEST/1.png']
    assert find_source(str(folder)).classes == ('cat', 'dog')
    assert (split_name(folder, 'train'), split_name(folder, 'test')) == ('train', 'test')
    assert split_name(folder, 'train', in_classes=False) is None  # they may be data sets
    with pytest.raises(ValueError, match='has no split extra'):
        find_source(str(folder), 'extra')


@pytest.mark.parametrize(('files', 'fault'), [
    (['cat/train/0.png', 'cat/test/1.png', 'dog/0.png'], 'cat: has the splits test, train, but .*set/dog has images'),
    (['cat/train/0.png', 'cat/test/1.png', 'cat/2.png'], 'cat: has the splits test, train, but .*set/cat has images'),
    (['cat/train/0.png', 'cat/test/1.png', '2.png'], 'cat: has the splits test, train, but .*set has images'),
    (['a/b/cat/train/0.png', 'a/b/cat/test/1.png', 'c/0.png'], 'a/b/cat: has the splits test, train; give the folder'),
    (['train/cat/train/0.png', 'train/cat/val/1.png', 'test/cat/0.png', 'test/cat/train/0.png', 'test/cat/test/1.png'],
     'cat: has the splits'),
    (['train_cats/0.png', 'train_dogs/0.png', 'test_cats/0.png', 'test_dogs/0.png'],
     r'named as splits are \(test_cats, test_dogs, train_cats, train_dogs\).*; arrange the images as train/CLASS and'),
    (['trainA/0.png', 'trainB/0.png', 'testA/0.png', 'testB/0.png'], 'named as splits are'),
])
def test_a_mixture_of_splits_is_refused(files: list[str], fault: str, tmp_path: Path) -> None:
    """Without labels, too."""
    for labels in (True, False):
        refused(layout(tmp_path, *files), fault, labels=labels)


@pytest.mark.parametrize('name', [
    'train_cats', 'cats-test', 'cats.test', 'cats test', 'seg_train', 'testSet', 'dataTrain', 'TEST_cats', 'val2',
    '2012val', 'test', 'Validation'])
def test_a_class_named_as_a_split_is(name: str, tmp_path: Path) -> None:
    folder = layout(tmp_path, 'eel/0.png', f'{name}/1.png')
    refused(folder, f'set/{name}: is named as a split is .*; arrange the images as .* as --split, or rename it')
    if name in ('test', 'Validation'):  # which --split takes for any that is called so
        refused(folder, f'has the split {name}, and images beside it', labels=False)
    else:
        assert sorted(found(folder, labels=False)) == sorted(['eel/0.png', f'{name}/1.png'])
        assert found(folder, name) == [f'{name}/1.png']


@pytest.mark.parametrize('name', ['trains', 'testudo', 'contest', 'carnival', 'invalid', 'trainee', 'train'])
def test_a_class_that_only_looks_so(name: str, tmp_path: Path) -> None:
    assert find_source(str(layout(tmp_path, 'eel/0.png', f'{name}/1.png'))).classes == tuple(sorted(['eel', name]))


def test_a_class_of_all_splits(tmp_path: Path) -> None:
    """It is named so for what is on its images."""
    files = [f'{split}/{name}/0.png' for split in ('train', 'test') for name in ('eel', 'train_station')]
    folder = layout(tmp_path, *files, 'train/test_tube/0.png')
    assert find_source(str(folder), 'test').classes == ('eel', 'train_station')
    with pytest.raises(ValueError, match='train/test_tube: is named as a split is'):
        find_source(str(folder))


def test_folders_within_a_class(tmp_path: Path) -> None:
    """They are of it, as in torchvision; those of a system's are none."""
    folder = layout(tmp_path, 'cat/0.png', 'cat/session1/1.png', 'dog/@eaDir/0.png/thumb.jpg', 'dog/0.png',
                    '__MACOSX/cat/0.png', '@eaDir/0.png', '.thumbnails/0.png', 'cat/.ipynb_checkpoints/0.png')
    assert found(folder) == ['cat/0.png', 'cat/session1/1.png', 'dog/0.png']
    assert find_source(str(folder)).classes == ('cat', 'dog')


def test_a_single_folder_around_the_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = layout(tmp_path, 'PetImages/Cat/0.png', 'PetImages/Dog/0.png')
    assert main(['finetune', str(folder), '--model', 'scae_springenberg9', '-o', str(tmp_path / 'run')]) == 2
    fault = capsys.readouterr().err.splitlines()[-1]
    assert f'there is one class only, PetImages; fine-tuning needs two or more; give {folder}/PetImages, which' in fault
    assert 'Cat, Dog' in fault


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('{}')


@pytest.mark.parametrize('out', ['runs/mine', 'runs/recipe/cpu/seed0', 'mine', '.'])
def test_a_run_in_the_datas_folder(out: str, tmp_path: Path) -> None:
    """It is no class and no image, and the data stay what they are."""
    folder = layout(tmp_path, 'cat/0.png', 'dog/0.png')
    before = find_source(str(folder))
    checkpoint = folder / out / 'scae_springenberg9.mine'
    touch(folder / out / 'run.json', folder / out / 'log.jsonl', *(
        checkpoint / name for name in ('config.json', 'manifest.json', 'model.safetensors')),
        folder / out / 'tensorboard' / 'events.out.tfevents.1')
    for picture in ('scae_demo/demo.png', 'runs/probes/probes.png', 'runs/recipe/cpu/curves.png',
                    'runs/.thumbnails/0.png', 'runs/@eaDir/0.png'):
        save(folder / picture, 0)
    for picture in ('curve.png', 'examples.png'):
        save(folder / out / picture, 0)
    touch(folder / 'runs' / 'probes' / 'mine' / 'run.json', folder / 'runs' / 'recipe' / 'cpu' / 'seed0' / 'run.json')
    (folder / 'runs' / 'last.json').symlink_to('probes/mine/run.json')
    for labels in (True, False):
        again = find_source(str(folder), labels=labels)
        assert (again.identity, again.version, again.classes) == (before.identity, before.version, before.classes)
    assert 'a folder of runs' in again.left_out


def test_the_cache_in_the_datas_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no class; a folder with a table of contents alone may have been meant as one."""
    folder = layout(tmp_path, 'cat/0.png', 'dog/0.png')
    before = find_source(str(folder))
    monkeypatch.setenv('SCAE_ZOO_CACHE', str(folder / 'cache'))
    load_images(str(folder), size=None)
    assert next((folder / 'cache').glob('*/index.json')).is_file()
    again = find_source(str(folder))
    assert (again.identity, again.classes) == (before.identity, before.classes)
    touch(folder / 'eel' / 'index.json')
    with pytest.raises(ValueError, match='eel: is a class without images'):
        find_source(str(folder))


def test_a_run_in_a_classs_folder(tmp_path: Path) -> None:
    """The class is not lost for it."""
    folder = layout(tmp_path, 'cat/0.png', 'dog/0.png', 'eel/deep/0.png')
    before = find_source(str(folder))
    touch(*(folder / name / file for name in ('dog', 'eel') for file in ('run.json', 'mine/model.safetensors')))
    assert find_source(str(folder)).identity == before.identity


def test_splits_beside_a_run(tmp_path: Path) -> None:
    folder = layout(tmp_path, 'train/0.png')
    touch(folder / 'runs' / 'mine' / 'run.json')
    assert found(folder, labels=False) == ['train/0.png']
    with pytest.raises(ValueError, match='has no split test, only train'):
        found(folder, 'test', labels=False)


@pytest.mark.parametrize('files', [
    ['images/train/a.png', 'images/train/b.png', 'images/val/c.png'],
    ['site1/train/a.png', 'site2/train/b.png', 'site1/test/c.png', 'site2/test/d.png']])
def test_a_table_above_splits_within_folders(files: list[str], tmp_path: Path) -> None:
    """Each split has its own rows."""
    folder = layout(tmp_path, *files, *(['masks/train/a.png'] if files[0].startswith('images') else []))
    rows = [f'{file},1' for file in files]
    (folder / 'labels.csv').write_text('\n'.join(['image,cat', *rows]))
    assert found(folder, 'train') == [file for file in files if 'train' in file]
    assert found(folder, 'test') == [file for file in files if 'train' not in file]


@pytest.mark.parametrize('files', [
    ['cat/1.png', 'cat/test/2.png', 'dog/3.png'], ['cat/old/1.png', 'cat/val/2.png', 'dog/3.png'],
    ['coco/images/train2017/1.png', 'coco/images/val2017/2.png', 'other/3.png']])
def test_images_that_were_held_out_deep_below(files: list[str], tmp_path: Path) -> None:
    folder = layout(tmp_path, *files)
    refused(folder, 'has the splits? .*arrange the images as train/CLASS')
    refused(folder, 'has the splits? ', labels=False)


def test_a_test_folder_beside_unlabelled_images(tmp_path: Path) -> None:
    folder = layout(tmp_path, 'unlabelled/1.png', 'test/2.png')
    with pytest.raises(ValueError, match='has the split test, and images beside it that are in no split'):
        find_source(str(folder), 'train', labels=False)


def test_a_second_folder_of_the_same_split(tmp_path: Path) -> None:
    folder = layout(tmp_path, 'train/a/1.png', 'training/a/2.png', 'test/a/3.png')
    source = find_source(str(folder), 'train')
    assert found(folder) == ['train/a/1.png']
    assert 'training/' in source.left_out
    assert 'test' not in source.left_out


def test_splits_whose_names_are_exact_go_first(tmp_path: Path) -> None:
    folder = layout(tmp_path, 'train/1.png', 'test/2.png', 'train_old/3.png', 'test_old/4.png')
    assert found(folder, labels=False) == ['train/1.png']
    assert found(folder, 'test', labels=False) == ['test/2.png']


def test_a_table_makes_a_split_of_train(tmp_path: Path) -> None:
    """Without one it would be a class."""
    folder = layout(tmp_path, 'train/1.png', 'more/2.png')
    assert found(folder) == ['more/2.png', 'train/1.png']
    (folder / 'train' / 'labels.csv').write_text('image,cat\n1.png,1\n')
    assert found(folder) == ['train/1.png']


def test_a_table_in_a_doubled_folder(tmp_path: Path) -> None:
    folder = layout(tmp_path, 'set/train/1.png', 'set/test/2.png')
    (folder / 'set' / 'labels.csv').write_text('image,cat\ntrain/1.png,1\ntest/2.png,0\n')
    assert found(folder, 'test') == ['set/test/2.png']
    assert find_source(str(folder), 'test').classes == ('cat',)
