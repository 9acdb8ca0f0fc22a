"""Data sets by name, as in timm: ``torch/…`` by torchvision, ``hfds/…`` and ``wds/…`` by timm's readers."""

import errno
import importlib.util
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from timm.data import ImageNetInfo, create_dataset
from torchvision import datasets as torchvision_datasets

from ..places import expand
from .cache import Sample, Source
from .cache_folder import cache_folder, one_at_a_time
from .hub_datasets import Refused, open_rows
from .image_files import extensions
from .origins import Origins
from .splits import SPLITS

EXTRAS = {'hfds': 'datasets', 'wds': 'webdataset'}  # and the package that each needs
PREFIXES = ('torch/', 'hfds/', 'wds/')
FOLDS = tuple(f'fold{i}' for i in range(10))  # the official ones of STL-10, of 1,000 labelled images each
TORCH_SPLITS = {
    'torch/cifar10': ('train', 'test'),
    'torch/cifar100': ('train', 'test'),
    'torch/stl10': ('train', 'test', 'unlabeled', *FOLDS),
    'torch/voc2007': ('trainval', 'test'),
    'torch/voc2012': ('train', 'val', 'trainval'),
}
VOC_CLASSES = (
    'aeroplane', 'bicycle', 'bird', 'boat', 'bottle', 'bus', 'car', 'cat', 'chair', 'cow', 'diningtable', 'dog',
    'horse', 'motorbike', 'person', 'pottedplant', 'sheep', 'sofa', 'train', 'tvmonitor')


def named_source(data: str, split: str, root: Path, masks: bool, labels: bool = True) -> Source:
    """What a name stands for; it is downloaded, or lies, below ``root``. ``labels``: whether they are wanted.

    Raises:
        ValueError: There is no such data set or split, or it cannot be opened.
    """
    if masks != (data == 'torch/voc2012'):
        raise ValueError(f'{data}: has {"no masks" if masks else "masks, for `scae segment`"}')
    prefix = data.partition('/')[0]
    if prefix == 'torch':
        split = _torch_split(data, split)
    elif importlib.util.find_spec(EXTRAS[prefix]) is None:
        raise ValueError(f"{data}: needs {EXTRAS[prefix]}; pip install 'scae-zoo[{prefix}]'")
    lock = cache_folder() / 'downloads.lock'
    try:
        with one_at_a_time(lock):  # of several processes, one downloads
            return _voc(data, split, root) if data.startswith('torch/voc') else _dataset(data, split, root, labels)
    except Refused as error:
        raise ValueError(f'{data}: {error}') from None
    except Exception as error:  # the readers raise what their libraries and the network raise
        reason = ' '.join(str(error).split())[:300]
        ways = '; offline, put its files there' if prefix == 'torch' else ''
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EACCES, errno.EPERM, errno.EROFS):
            ways = '; make room there, or give another --root'
        raise ValueError(f'{data}: cannot be opened under {root} ({type(error).__name__}: {reason}){ways}') from error


def _torch_split(data: str, split: str) -> str:
    if data not in TORCH_SPLITS:
        raise ValueError(f'{data}: is not known; there are {", ".join(TORCH_SPLITS)}')
    for name in (split, *SPLITS.get(split, ())):
        if name in TORCH_SPLITS[data]:
            return name
    raise ValueError(f'{data}: has the splits {", ".join(TORCH_SPLITS[data])}, not {split}')


def _dataset(data: str, split: str, root: Path, labels: bool) -> Source:
    dataset: Any
    samples: Iterable[Sample]
    origins: Origins | None = None
    version = str(root.absolute())
    if data in ('torch/cifar10', 'torch/cifar100'):
        cls = torchvision_datasets.CIFAR10 if data == 'torch/cifar10' else torchvision_datasets.CIFAR100
        dataset = cls(str(root), train=split == 'train', download=True)
        total, classes = len(dataset), dataset.classes
        samples = _rows(data, partial(_torchvision_image, dataset), dataset.targets)
        origins = Origins.of_numbers(f'{data} {split}', range(total))
    elif data == 'torch/stl10':
        fold = FOLDS.index(split) if split in FOLDS else None
        dataset = torchvision_datasets.STL10(str(root), split if fold is None else 'train', folds=fold, download=True)
        total, classes = len(dataset), dataset.classes
        samples = _rows(data, partial(_torchvision_image, dataset), dataset.labels)
        numbers = range(total) if fold is None else np.loadtxt(  # a fold's images are some of train
            root / dataset.base_folder / dataset.folds_list_file, int, skiprows=fold, max_rows=1)
        origins = Origins.of_numbers(f'{data} {split if fold is None else "train"}', numbers)
    elif data.startswith('hfds/'):  # a name on the Hugging Face Hub, or a folder
        rows = open_rows(data.partition('/')[2], (split, *SPLITS.get(split, ())), root, labels)
        split, total = rows.split, len(rows.images)
        classes = rows.classes if rows.are_texts else _label_names(data, rows.classes)
        version += f' {rows.version}'
        samples = _rows(data, partial(_hfds_image, rows.images, rows.column), rows.labels or [-1] * total)
        whose = os.path.realpath(expand(data.partition('/')[2]))
        keys = (hash((whose, name, i)) for name, first, end in rows.parts for i in range(first, end))
        origins = Origins.of_keys(keys, f'{data} {split}')
    else:  # shards below the root
        info = create_dataset(data, str(root), split).reader.split_info  # type: ignore[union-attr]
        shards, total, classes = [root / name for name in info.filenames], info.num_samples, _label_names(data, ())
        version += ''.join(f' {stat.st_size} {stat.st_mtime_ns}' for stat in (shard.stat() for shard in shards))
        samples = Passes(partial(_shards, data, shards, info.alt_label))
    return Source(samples, total or None, tuple(classes), f'{data} {split} {total or ""}', version, origins,
                  f'{data}, split {split}')


def _label_names(data: str, classes: tuple[str, ...]) -> tuple[str, ...]:
    """WordNet ids for ImageNet-1k, whose labels are in their order in all its copies; else the names as they are."""
    imagenet = re.search(r'imagenet[-_]?1k|ilsvrc|/imagenet$', data.lower())  # not tiny-imagenet, nor imagenet-12k
    return tuple(ImageNetInfo().label_names()) if imagenet and len(classes) in (0, 1000) else classes


@dataclass(frozen=True)
class Passes(Iterable[Sample]):
    """Samples that can only be gone through from front to back."""

    start: Callable[[], Iterator[Sample]]

    def __iter__(self) -> Iterator[Sample]:
        return self.start()


def _rows(name: str, read: Callable[[int], Any], labels: Iterable[int | None]) -> list[Sample]:
    """A sample for each label; -1 stands for none."""
    return [Sample(f'{name} image {i}', partial(read, i), int(label) if label is not None and label >= 0 else None)
            for i, label in enumerate(labels)]


def _torchvision_image(dataset: Any, i: int) -> Any:
    return dataset[i][0]


def _hfds_image(rows: Any, column: str, i: int) -> Any:
    # not by timm's data set, which puts the next image in the place of one that cannot be decoded
    image = rows[i][column]
    if not image or not (image['bytes'] or image['path']):
        raise OSError('there is none')
    return image['bytes'] or Path(image['path'])


def _shards(name: str, shards: Sequence[Path], json_label: str) -> Iterator[Sample]:
    """The samples of tar files, not decoded: timm's reader would decode all, one after the other."""
    import webdataset

    kind, labelled = 'json' if json_label else 'cls', None
    images = dict.fromkeys(('jpg', 'jpeg', 'png', 'webp', *(suffix[1:] for suffix in sorted(extensions()))))
    entries = webdataset.tarfile_to_samples(handler=webdataset.warn_and_continue)
    for entry in webdataset.DataPipeline(webdataset.SimpleShardList([str(shard) for shard in shards]), entries):
        image = next((entry[suffix] for suffix in images if suffix in entry), None)
        labelled = kind in entry if labelled is None else labelled
        if image is None or (labelled and kind not in entry):
            continue  # where a shard is cut off
        place = f'{name} {entry["__key__"]}'
        try:
            label = int(json.loads(entry[kind])[json_label] if json_label else entry[kind]) if labelled else -1
        except (KeyError, TypeError, ValueError):
            raise ValueError(f'{place}: its label cannot be read as a number') from None
        yield Sample(place, image, None if label < 0 else label)


def _voc(data: str, split: str, root: Path) -> Source:
    """VOC 2007 with labels, VOC 2012 with masks; downloaded where ``root/VOCdevkit`` does not list the images."""
    year = data[-4:]
    kind, cls = {
        '2007': ('Main', torchvision_datasets.VOCDetection),
        '2012': ('Segmentation', torchvision_datasets.VOCSegmentation)}[year]
    listed = (root / 'VOCdevkit' / f'VOC{year}' / 'ImageSets' / kind / f'{split}.txt').is_file()
    dataset: Any = cls(str(root), year, split, download=not listed)
    classes: tuple[str, ...] = VOC_CLASSES
    if year == '2007':
        samples = [Sample(image, image, _voc_labels(annotation))
                   for image, annotation in zip(dataset.images, dataset.annotations, strict=True)]
    else:
        classes = ('background', *VOC_CLASSES)
        samples = [Sample(image, image, mask=Path(mask))
                   for image, mask in zip(dataset.images, dataset.masks, strict=True)]
    origins = Origins.of_files(dataset.images, Path(dataset.images[0]).parent)
    return Source(samples, len(samples), classes, f'{data} {split}', str(root.absolute()), origins,
                  f'{data}, split {split}')


def _voc_labels(annotation: str) -> list[float]:
    """1 for a class in the image; -1 for one of which it has only objects marked difficult (the VOC protocol)."""
    labels = [0.] * len(VOC_CLASSES)
    for entry in ElementTree.parse(annotation).getroot().iter('object'):
        at = VOC_CLASSES.index(entry.findtext('name', ''))
        if entry.findtext('difficult', '0').strip() != '1':
            labels[at] = 1.
        elif labels[at] == 0.:
            labels[at] = -1.
    return labels
