"""Small pictures of one colour each, in files and in data sets' formats, and what of them comes back."""

import io
import json
import struct
import tarfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from scae_zoo.data.image_set import ImageSet
from scae_zoo.data.sources import load_images


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


def packed(pixels: np.ndarray, bits: int) -> bytes:
    """Rows of values of few bits, each from a byte's start."""
    planes = np.unpackbits(pixels[..., None], axis=2)[..., 8 - bits:]
    return np.packbits(planes.reshape(len(pixels), -1), axis=1).tobytes()


def png(pixels: np.ndarray, bits: int, palette: bool = False) -> bytes:
    """Grey or palette, of few bits a pixel, which Pillow does not write."""
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))

    height, width = pixels.shape
    rows = b''.join(b'\0' + packed(row[None], bits) for row in pixels)
    colours = chunk(b'PLTE', bytes(range(3 * 2 ** bits))) if palette else b''
    header = struct.pack('>IIBBBBB', width, height, bits, 3 if palette else 0, 0, 0, 0)
    return (b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + colours + chunk(b'IDAT', zlib.compress(rows))
            + chunk(b'IEND', b''))


def tiff(pixels: np.ndarray, bits: int) -> bytes:
    """Likewise grey, not compressed."""
    height, width = pixels.shape
    data = packed(pixels, bits)
    tags = ((256, width), (257, height), (258, bits), (259, 1), (262, 1), (273, 8), (277, 1), (278, height),
            (279, len(data)))
    entries = b''.join(struct.pack('<HHII', tag, 4, 1, value) for tag, value in tags)
    return (b'II*\0' + struct.pack('<I', 8 + len(data)) + data + struct.pack('<H', len(tags)) + entries + bytes(4))


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
