"""Where images come from: a folder, or a data set named ``torch/…``, ``hfds/…`` or ``wds/…`` as in timm."""

import csv
import hashlib
import importlib.util
import os
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import torch
from timm.data import ImageNetInfo, create_dataset
from timm.data.readers.reader_image_folder import find_images_and_targets
from torchvision import datasets as torchvision_datasets

from ..images import open_rgb
from .cache import MAX_UNREADABLE, Sample, Source, cache_folder, load, open_mask
from .data import ImageSet

EXTENSIONS = frozenset({'.png', '.jpg', '.jpeg', '.webp', '.bmp', '.ppm', '.tif', '.tiff'})
EXTRAS = {'hfds': 'datasets', 'wds': 'webdataset'}  # and the package that each needs
PREFIXES = ('torch/', 'hfds/', 'wds/')
SPLITS = {
    'train': ('train', 'training', 'trainval'),
    'val': ('val', 'valid', 'validation', 'test', 'testing'),
    'test': ('test', 'testing', 'val', 'valid', 'validation'),
}
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


def load_images(
        data: str,
        split: str = 'train',
        *,
        size: int | None,
        masks: bool = False,
        root: str | Path | None = None,
        max_unreadable: float = MAX_UNREADABLE,
) -> ImageSet:
    """The images of a folder or of a named data set, decoded once and then memory-mapped.

    Args:
        data: A folder: flat, with class sub-folders, with a ``labels.csv``, or with ``images/`` and ``masks/``; a
            sub-folder for the split is taken where there is one. Or ``torch/cifar10``, ``hfds/…``, ``wds/…``.
        split: 'train', 'val', 'test', or a name that the data set knows.
        size: Side of the squares that the images are scaled and cropped to; None: left as they are.
        masks: Whether to read ``images/`` and ``masks/``.
        root: Where a named data set lies or is downloaded to.
        max_unreadable: Share of the files that may be unreadable.

    Raises:
        ValueError: There is no such data or it is faulty; the message names the file.
    """
    return load(find_source(data, split, masks=masks, root=root), size, max_unreadable)


def find_source(data: str, split: str = 'train', *, masks: bool = False, root: str | Path | None = None) -> Source:
    """What ``load_images`` reads, before anything is decoded."""
    folder = Path(data).expanduser()
    if data.startswith(PREFIXES) and not folder.exists():
        return _named(data, split, Path(root) if root else cache_folder() / 'downloads', masks)
    if not folder.is_dir():
        raise ValueError(f'{data}: is neither a folder nor a data set ({", ".join(p + "NAME" for p in PREFIXES)})')
    others = {name for names in SPLITS.values() for name in names}
    found = {sub.name for sub in folder.iterdir() if sub.is_dir() and not sub.name.startswith('.')}
    if found and found <= others and split_folder(folder, split) is None:
        raise ValueError(f'{folder}: has no split {split}, only {", ".join(sorted(found))}')
    folder = split_folder(folder, split) or folder
    if masks:
        return _masked_folder(folder)
    if (folder / 'images').is_dir() and (folder / 'masks').is_dir():
        folder = folder / 'images'
    return _multi_label_folder(folder) if (folder / 'labels.csv').is_file() else _class_folder(folder)


def split_folder(folder: Path, split: str) -> Path | None:
    """The sub-folder of a split, under any of its usual names, where there is one."""
    for name in SPLITS.get(split, (split,)):
        if (folder / name).is_dir():
            return folder / name
    return None


def _source(samples: list[Sample], folder: Path, classes: tuple[str, ...], files: Iterable[Path]) -> Source:
    names, stamps = hashlib.sha256(), hashlib.sha256()
    for file in files:
        size, stamp = (file.stat().st_size, file.stat().st_mtime_ns) if file.exists() else (0, 0)  # a broken link
        names.update(f'{os.path.relpath(file, folder)} {size}\n'.encode())
        stamps.update(f'{stamp}\n'.encode())
    identity = f'{folder.name} {len(samples)} images {names.hexdigest()[:16]}'
    return Source(lambda: samples, len(samples), classes, identity, f'{folder.absolute()} {stamps.hexdigest()}')


def _class_folder(folder: Path) -> Source:
    found, class_to_idx = find_images_and_targets(str(folder), types=set(EXTENSIONS), leaf_name_only=False)
    if not found:
        raise ValueError(f'{folder}: no image in this folder or below it ({", ".join(sorted(EXTENSIONS))})')
    labelled = set(class_to_idx) != {''}
    if labelled and '' in class_to_idx:
        labelled = False  # images beside folders of images: an unlabelled heap
    for sub in sorted(folder.iterdir()) if labelled else ():
        if sub.is_dir() and not sub.name.startswith('.') and not any(
                name == sub.name or name.startswith(f'{sub.name}_') for name in class_to_idx):
            raise ValueError(f'{sub}: is a class without images; add some, or remove the folder')
    samples = [Sample(path, path, target if labelled else None) for path, target in found]
    classes = tuple(class_to_idx) if labelled else ()
    return _source(samples, folder, classes, (Path(path) for path, _ in found))


def _multi_label_folder(folder: Path) -> Source:
    """``labels.csv``: a header ``image,CLASS,CLASS,…``, then a row an image with 1, 0, or nothing for 'not counted'."""
    table = folder / 'labels.csv'
    try:
        with table.open(newline='', encoding='utf-8-sig') as file:
            reader = csv.reader(file)
            header = next(reader, [])
            rows = [(reader.line_num, row) for row in reader if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f'{table}: cannot be read as a table in UTF-8 ({error})') from None
    classes = tuple(header[1:])
    if not classes or not rows:
        raise ValueError(f'{table}: needs a header "image,CLASS,CLASS,..." and a row for each image')
    values = {'1': 1., '0': 0., '': -1., '-1': -1.}
    samples = []
    for number, row in rows:
        if len(row) != len(header) or not all(cell.strip() in values for cell in row[1:]):
            raise ValueError(
                f'{table}, line {number}: needs a file name and {len(classes)} cells that are 1, 0 or empty')
        path = folder / row[0]
        if not path.is_file():
            raise ValueError(f'{table}, line {number}: there is no image {path}')
        samples.append(Sample(str(path), path, [values[cell.strip()] for cell in row[1:]]))
    return _source(samples, folder, classes, [table, *(folder / row[0] for _, row in rows)])


def _mask_pairs(folder: Path) -> list[tuple[Path, Path]]:
    """Each image below ``images/`` with the mask of the same name below ``masks/``.

    Raises:
        ValueError: A folder is missing, or an image or a mask has no counterpart.
    """
    images, masks = ({p.relative_to(folder / kind).with_suffix(''): p for p in sorted((folder / kind).rglob('*'))
                      if p.suffix.lower() in EXTENSIONS} for kind in ('images', 'masks'))
    if not images or not masks:
        raise ValueError(f'{folder}: needs images/ and masks/ with a mask for each image')
    for have, lack, kind in ((images, masks, 'mask'), (masks, images, 'image')):
        alone = sorted(have.keys() - lack.keys())
        if alone:
            raise ValueError(f'{have[alone[0]]}: has no {kind} of the same name ({len(alone)} such files)')
    return [(images[name], masks[name]) for name in sorted(images)]


def _masked_folder(folder: Path) -> Source:
    """``images/`` and ``masks/``; ``classes.txt`` beside them, or a folder above, may name the classes, one a line."""
    pairs = _mask_pairs(folder)
    samples = [Sample(str(image), image, mask=mask) for image, mask in pairs]
    names = [path for path in (folder / 'classes.txt', folder.parent / 'classes.txt') if path.is_file()]
    classes = tuple(names[0].read_text(encoding='utf-8').split('\n')) if names else ()
    return _source(samples, folder, tuple(filter(None, map(str.strip, classes))), (p for pair in pairs for p in pair))


def read_pairs(source: Source) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Each image, C x H x W uint8, with its mask, H x W uint8, in its own size."""
    for sample in source.samples():
        pixels = open_rgb(sample.image)
        assert sample.mask is not None
        yield torch.from_numpy(pixels).permute(2, 0, 1), torch.from_numpy(open_mask(sample.mask, pixels.shape[:2]))


def _named(data: str, split: str, root: Path, masks: bool) -> Source:
    if masks != (data == 'torch/voc2012'):
        raise ValueError(f'{data}: has {"no masks" if masks else "masks, for `scae segment`"}')
    prefix = data.partition('/')[0]
    if prefix == 'torch':
        split = _torch_split(data, split)
    elif importlib.util.find_spec(EXTRAS[prefix]) is None:
        raise ValueError(f"{data}: needs {EXTRAS[prefix]}; pip install 'scae-zoo[{prefix}]'")
    try:
        return _voc(data, split, root) if data.startswith('torch/voc') else _dataset(data, split, root)
    except Exception as error:  # the readers raise what their libraries and the network raise
        reason = (str(error).splitlines() or [''])[0]
        raise ValueError(f'{data}: cannot be opened under {root} ({type(error).__name__}: {reason})') from error


def _torch_split(data: str, split: str) -> str:
    if data not in TORCH_SPLITS:
        raise ValueError(f'{data}: is not known; there are {", ".join(TORCH_SPLITS)}')
    for name in (split, *SPLITS.get(split, ())):
        if name in TORCH_SPLITS[data]:
            return name
    raise ValueError(f'{data}: has the splits {", ".join(TORCH_SPLITS[data])}, not {split}')


def _dataset(data: str, split: str, root: Path) -> Source:
    dataset: Any
    version = str(root.absolute())
    if data in ('torch/cifar10', 'torch/cifar100'):
        cls = torchvision_datasets.CIFAR10 if data == 'torch/cifar10' else torchvision_datasets.CIFAR100
        dataset = cls(str(root), train=split == 'train', download=True)
        classes = dataset.classes
    elif data == 'torch/stl10':
        fold = FOLDS.index(split) if split in FOLDS else None
        dataset = torchvision_datasets.STL10(str(root), split if fold is None else 'train', folds=fold, download=True)
        classes = dataset.classes
    else:  # hfds: a data set's name on the Hugging Face Hub, or its folder; wds: shards below the root
        dataset = create_dataset(data, str(root), split)
        reader = dataset.reader
        classes = _label_names(data, tuple(reader.class_to_idx))
        if data.startswith('hfds/'):
            version += f' {reader.dataset._fingerprint}'
        else:
            reader.dist_rank, reader.dist_num_replicas = 0, 1  # one process decodes the images of all
            stats = [(root / shard).stat() for shard in reader.split_info.filenames]
            version += ''.join(f' {stat.st_size} {stat.st_mtime_ns}' for stat in stats)
    total = len(dataset) or None
    return Source(lambda: _samples(dataset, data), total, tuple(classes), f'{data} {split} {total or ""}', version)


def _label_names(data: str, classes: tuple[str, ...]) -> tuple[str, ...]:
    """WordNet ids for ImageNet-1k, whose labels are in their order in all its copies; else the names as they are."""
    imagenet = re.search(r'imagenet(-?1k)?$|imagenet-?1k|ilsvrc', data.lower())
    return tuple(ImageNetInfo().label_names()) if imagenet and len(classes) in (0, 1000) else classes


def _samples(dataset: Any, name: str) -> Iterator[Sample]:
    """Samples of a torchvision or timm data set."""
    pairs: Iterable[Any]
    if name.startswith('hfds/'):
        # not by timm's data set, which puts the next image in the place of one that cannot be decoded
        rows = dataset.reader.dataset
        pairs = ((row['image']['bytes'] or Path(row['image']['path']), row.get('label')) for row in rows)
    elif name.startswith('wds/'):
        pairs = dataset
    else:
        pairs = (dataset[i] for i in range(len(dataset)))
    for i, (image, target) in enumerate(pairs):
        target = None if target is None or int(target) < 0 else int(target)  # STL-10: -1 for unlabelled
        yield Sample(f'{name} image {i}', image, target)


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
    return Source(lambda: samples, len(samples), classes, f'{data} {split}', str(root.absolute()))


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


def only(source: Source, classes: Collection[str]) -> Source:
    """The images of some classes, chosen before anything is decoded; the classes are numbered anew.

    Raises:
        ValueError: The source does not have one of the classes.
    """
    unknown = sorted(set(classes) - set(source.classes))
    if unknown:
        raise ValueError(f'{source.identity}: has no class {unknown[0]} ({len(unknown)} such)')
    kept = tuple(name for name in source.classes if name in set(classes))
    number = {source.classes.index(name): i for i, name in enumerate(kept)}

    def samples() -> Iterator[Sample]:
        for sample in source.samples():
            if isinstance(sample.label, int) and sample.label in number:
                yield sample._replace(label=number[sample.label])

    digest = hashlib.sha256('\n'.join(kept).encode()).hexdigest()[:16]
    return replace(source, samples=samples, total=None, classes=kept,
                   identity=f'{source.identity}, classes {digest}')
