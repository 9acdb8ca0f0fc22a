"""Small pictures of one colour each, in files and in data sets' formats, and what of them comes back."""

import io
import json
import tarfile
from pathlib import Path

import pytest
import torch
from PIL import Image

from scae_zoo.training.data import ImageSet
from scae_zoo.training.sources import load_images


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


def refused(folder: Path | str, fault: str, **options) -> None:
    """Loading ends with one line that says what is wrong."""
    with pytest.raises(ValueError, match=fault) as caught:
        load_images(str(folder), **{'size': None, **options})
    assert '\n' not in str(caught.value)


def encoded(value: int, kind: str = 'PNG', size: tuple[int, int] = (8, 6)) -> bytes:
    buffer = io.BytesIO()
    picture(value, size).save(buffer, kind)
    return buffer.getvalue()


def write_parquet(folder: Path, pictures: list[bytes | None], targets: list[int], names: list[str] | None) -> None:
    from datasets import ClassLabel, Dataset, Features, Value
    from datasets import Image as ImageFeature

    folder.mkdir(parents=True)
    features = Features({
        'image': ImageFeature(), 'label': Value('int64') if names is None else ClassLabel(names=names)})
    rows = {'image': [data and {'bytes': data, 'path': None} for data in pictures], 'label': targets}
    Dataset.from_dict(rows, features=features).to_parquet(folder / 'train-00000-of-00001.parquet')


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
