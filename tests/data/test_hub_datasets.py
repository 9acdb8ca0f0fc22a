"""Data sets of the Hugging Face Hub whose columns have other names and types than image and label."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from datasets import ClassLabel, Dataset, Features, List, Value
from datasets import Image as ImageFeature

from scae_zoo.data.image_set import ImageSet
from scae_zoo.data.sources import load_images

from ..support.pictures import encoded, labels, refused, values

ANIMALS = ClassLabel(names=['cat', 'dog'])
STORED = [{'bytes': encoded(value), 'path': None} for value in (10, 20, 30)]


def write(folder: Path, features: Mapping[str, Any], *columns: list[Any], split: str = 'train') -> str:
    """A folder as the Hub has them; returns the data set's name."""
    (folder / 'data').mkdir(parents=True, exist_ok=True)
    rows = dict(zip(features, columns, strict=True))
    Dataset.from_dict(rows, features=Features(features)).to_parquet(folder / 'data' / f'{split}-00000-of-00001.parquet')
    return f'hfds/{folder}'


def loaded(name: str, tmp_path: Path, split: str = 'train') -> ImageSet:
    return load_images(name, split, size=None, root=tmp_path / 'root')


@pytest.mark.parametrize(('image', 'label'), [('img', 'label'), ('image', 'fine_label'), ('photo', 'kind')])
def test_the_one_image_and_the_one_class(tmp_path: Path, image: str, label: str) -> None:
    features = {'id': Value('int64'), image: ImageFeature(), label: ANIMALS, 'text': Value('string')}
    name = write(tmp_path / 'set', features, [1, 2, 3], STORED, [1, 0, 1], ['a', 'b', 'c'])
    images = loaded(name, tmp_path)
    assert values(images) == [10, 20, 30]
    assert labels(images) == [1, 0, 1]
    assert images.classes == ('cat', 'dog')


def test_images_that_are_not_said_to_be_some(tmp_path: Path) -> None:
    """As pandas writes them."""
    stored = {'bytes': Value('binary'), 'path': Value('string')}
    assert values(loaded(write(tmp_path / 'a', {'img': stored, 'label': ANIMALS}, STORED, [1, 0, 1]), tmp_path)) == [
        10, 20, 30]
    data = [entry['bytes'] for entry in STORED]
    assert values(loaded(write(tmp_path / 'b', {'image': Value('binary')}, data), tmp_path)) == [10, 20, 30]


@pytest.mark.parametrize('label', ['label', 'fine_label'])
def test_labels_that_are_text(tmp_path: Path, label: str) -> None:
    """Their texts are the classes, also of ImageNet, whose order of labels is another."""
    name = write(tmp_path / 'imagenet-1k', {'image': ImageFeature(), label: Value('string')},
                 STORED, ['dog', 'cat', 'dog'])
    images = loaded(name, tmp_path)
    assert labels(images) == [1, 0, 1]
    assert images.classes == ('cat', 'dog')


def test_the_usual_names_go_first(tmp_path: Path) -> None:
    features = {'thumbnail': ImageFeature(), 'image': ImageFeature(), 'label': ANIMALS, 'coarse_label': ANIMALS}
    images = loaded(write(tmp_path / 'set', features, STORED[::-1], STORED, [1, 0, 1], [0, 0, 0]), tmp_path)
    assert values(images) == [10, 20, 30]
    assert labels(images) == [1, 0, 1]


def test_several_columns_of_labels(tmp_path: Path) -> None:
    """They matter where labels are wanted."""
    name = write(tmp_path / 'set', {'img': ImageFeature(), 'fine_label': ANIMALS, 'coarse_label': ANIMALS},
                 STORED, [1, 0, 1], [0, 0, 0])
    refused(name, r'set: needs one column of labels, and has 2 \(fine_label, coarse_label\); its columns are '
                  r'img \(Image\), fine_label \(ClassLabel\), coarse_label \(ClassLabel\)\. Save',
            root=tmp_path / 'root')
    images = load_images(name, size=None, root=tmp_path / 'root', labels=False)
    assert values(images) == [10, 20, 30]
    assert images.targets is None


@pytest.mark.parametrize(('features', 'columns', 'fault'), [
    ({'a': ImageFeature(), 'b': ImageFeature()}, [STORED, STORED], r'has 2 \(a, b\); its columns are a \(Image\), b'),
    ({'image': List(ImageFeature())}, [[[each] for each in STORED]], r'has none; its .* image \(lists of Image\)'),
    ({'a': {'image': ImageFeature()}}, [[{'image': each} for each in STORED]], r'a \(with columns of its own\)'),
    ({'text': Value('string')}, [['a', 'b', 'c']], r'needs one column of images, and has none; .* text \(string\)'),
    ({'image': ImageFeature(), 'label': Value('float32')}, [STORED, [0.5, 1., 0.]], r'of labels, .* label \(float32\)'),
    ({'image': ImageFeature(), 'labels': List(ANIMALS)}, [STORED, [[0]] * 3], r'labels \(lists of ClassLabel\)'),
])
def test_columns_that_cannot_be_used_are_listed(
        tmp_path: Path, features: dict[str, Any], columns: list[list[Any]], fault: str) -> None:
    refused(write(tmp_path / 'set', features, *columns), fault, root=tmp_path / 'root')


def test_splits(tmp_path: Path) -> None:
    """Under their usual names, and those of datasets; else those that are there are listed."""
    features = {'image': ImageFeature()}
    name = write(tmp_path / 'set', features, STORED)
    write(tmp_path / 'set', features, STORED[:1], split='validation')
    assert values(loaded(name, tmp_path, 'test')) == [10]
    assert loaded(name, tmp_path, 'test').identity == loaded(name, tmp_path, 'validation').identity
    assert values(loaded(name, tmp_path, 'train[1:]')) == [20, 30]
    refused(name, 'set: has the splits train, validation, not extra', split='extra', root=tmp_path / 'root')
