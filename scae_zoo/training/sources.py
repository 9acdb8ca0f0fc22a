"""Where images come from: a folder, or a data set named ``torch/…``, ``hfds/…`` or ``wds/…`` as in timm."""

import csv
import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from timm.data import create_dataset
from timm.data.readers.reader_image_folder import find_images_and_targets
from torchvision import datasets as torchvision_datasets

from ..images import open_rgb
from .cache import MAX_UNREADABLE, Sample, Source, cache_folder, load, open_mask
from .data import ImageSet

EXTENSIONS = frozenset({'.png', '.jpg', '.jpeg', '.webp', '.bmp', '.ppm', '.tif', '.tiff'})
PREFIXES = ('torch/', 'hfds/', 'wds/')
SPLITS = {
    'train': ('train', 'training'),
    'val': ('val', 'valid', 'validation', 'test', 'testing'),
    'test': ('test', 'testing', 'val', 'valid', 'validation'),
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
    folder = split_folder(folder, split) or folder
    if masks:
        return _masked_folder(folder)
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
        stat = file.stat()
        names.update(f'{file.relative_to(folder)} {stat.st_size}\n'.encode())
        stamps.update(f'{stat.st_mtime_ns}\n'.encode())
    identity = f'{folder.name} {len(samples)} images {names.hexdigest()[:16]}'
    return Source(lambda: samples, len(samples), classes, identity, f'{folder.absolute()} {stamps.hexdigest()}')


def _class_folder(folder: Path) -> Source:
    found, class_to_idx = find_images_and_targets(str(folder), types=set(EXTENSIONS), leaf_name_only=False)
    if not found:
        raise ValueError(f'{folder}: no image in this folder or below it ({", ".join(sorted(EXTENSIONS))})')
    labelled = set(class_to_idx) != {''}
    if labelled and '' in class_to_idx:
        labelled = False  # images beside folders of images: an unlabelled heap
    empty = [d for d in sorted(folder.iterdir()) if d.is_dir() and d.name not in class_to_idx and not any(d.iterdir())]
    if labelled and empty:
        raise ValueError(f'{empty[0]}: is a class without images; add some, or remove the folder')
    samples = [Sample(path, path, target if labelled else None) for path, target in found]
    classes = tuple(class_to_idx) if labelled else ()
    return _source(samples, folder, classes, (Path(path) for path, _ in found))


def _multi_label_folder(folder: Path) -> Source:
    """``labels.csv``: a header ``image,CLASS,CLASS,…``, then a row an image with 1, 0, or nothing for 'not counted'."""
    table = folder / 'labels.csv'
    with table.open(newline='', encoding='utf-8-sig') as file:
        header, *rows = csv.reader(file) if table.stat().st_size else [[]]
    classes = tuple(header[1:])
    if not classes or not rows:
        raise ValueError(f'{table}: needs a header "image,CLASS,CLASS,..." and a row for each image')
    values = {'1': 1., '0': 0., '': -1., '-1': -1.}
    samples = []
    for number, row in enumerate(rows, 2):
        if len(row) != len(header) or not all(cell.strip() in values for cell in row[1:]):
            raise ValueError(
                f'{table}, line {number}: needs a file name and {len(classes)} cells that are 1, 0 or empty')
        path = folder / row[0]
        if not path.is_file():
            raise ValueError(f'{table}, line {number}: there is no image {path}')
        samples.append(Sample(str(path), path, [values[cell.strip()] for cell in row[1:]]))
    return _source(samples, folder, classes, [table, *(folder / row[0] for row in rows)])


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
    known = {
        'torch/cifar10': lambda: _cifar(torchvision_datasets.CIFAR10, root, split),
        'torch/cifar100': lambda: _cifar(torchvision_datasets.CIFAR100, root, split),
        'torch/stl10': lambda: _stl10(root, split),
        'torch/voc2007': lambda: _voc2007(root, split),
        'torch/voc2012': lambda: _voc2012(root, split),
    }
    if masks != (data == 'torch/voc2012'):
        raise ValueError(f'{data}: has {"no masks" if masks else "masks, for `scae segment`"}')
    try:
        if data in known:
            dataset: Any = known[data]()
        else:
            # hfds: a data set's name on the Hugging Face Hub; wds: shards below the root
            dataset = create_dataset(data, str(root), split, download=data.startswith('torch/'))
    except ImportError as error:
        extra = data.partition('/')[0]
        raise ValueError(f"{data}: needs {error.name}; pip install 'scae-zoo[{extra}]'") from None
    except Exception as error:  # the readers raise what their libraries and the network raise
        reason = (str(error).splitlines() or [''])[0]
        raise ValueError(f'{data}: cannot be opened under {root} ({type(error).__name__}: {reason})') from error
    if isinstance(dataset, Source):
        return dataset
    classes = tuple(getattr(dataset, 'classes', ())) or tuple(
        getattr(getattr(dataset, 'reader', None), 'class_to_idx', None) or ())
    total = len(dataset) if hasattr(dataset, '__len__') else None
    return Source(lambda: _samples(dataset, data), total, classes, f'{data} {split} {total}', str(root.absolute()))


def _known(data: str, split: str, splits: tuple[str, ...]) -> str:
    split = {'val': 'test', 'validation': 'test', 'valid': 'test'}.get(split, split)
    if split not in splits:
        raise ValueError(f'{data} has the splits {", ".join(splits)}, not {split}')
    return split


def _cifar(cls: Callable[..., Any], root: Path, split: str) -> Any:
    return cls(str(root), train=_known(cls.__name__, split, ('train', 'test')) == 'train', download=True)


def _stl10(root: Path, split: str) -> Any:
    folds = [f'fold{i}' for i in range(10)]  # the official ones, of 1,000 labelled images each
    split = _known('torch/stl10', split, ('train', 'test', 'unlabeled', *folds))
    fold = folds.index(split) if split in folds else None
    return torchvision_datasets.STL10(str(root), 'train' if split in folds else split, folds=fold, download=True)


def _samples(dataset: Any, name: str) -> Iterator[Sample]:
    """Samples of a torchvision or timm data set, by index where it has them, else in its own order."""
    pairs = (dataset[i] for i in range(len(dataset))) if hasattr(dataset, '__getitem__') else iter(dataset)
    for i, (image, target) in enumerate(pairs):
        target = None if target is None or int(target) < 0 else int(target)  # STL-10: -1 for unlabelled
        yield Sample(f'{name} image {i}', image, target)


def _voc2007(root: Path, split: str) -> Source:
    """Multi-label classification; objects marked difficult are not counted (facts of the VOC protocol)."""
    split = 'trainval' if split == 'train' else _known('torch/voc2007', split, ('trainval', 'test'))
    dataset = _voc(torchvision_datasets.VOCDetection, root, '2007', split)
    samples = []
    for path, annotation in zip(dataset.images, dataset.annotations, strict=True):
        objects = dataset.parse_voc_xml(_xml(annotation))['annotation']['object']
        labels = [0.] * len(VOC_CLASSES)
        for entry in objects:
            at = VOC_CLASSES.index(entry['name'])
            if entry['difficult'] == '0':
                labels[at] = 1.
            elif labels[at] == 0.:
                labels[at] = -1.
        samples.append(Sample(path, path, labels))
    return Source(lambda: samples, len(samples), VOC_CLASSES, f'torch/voc2007 {split}', str(root.absolute()))


def _voc(cls: Callable[..., Any], root: Path, year: str, split: str) -> Any:
    """The set under ``root/VOCdevkit``, downloaded where its list of images is not there."""
    folder = 'Segmentation' if cls is torchvision_datasets.VOCSegmentation else 'Main'
    lists = root / 'VOCdevkit' / f'VOC{year}' / 'ImageSets' / folder / f'{split}.txt'
    return cls(str(root), year, split, download=not lists.is_file())


def _xml(path: str) -> Any:
    from xml.etree import ElementTree

    return ElementTree.parse(path).getroot()


def _voc2012(root: Path, split: str) -> Source:
    splits = ('train', 'val', 'trainval')
    split = split if split in splits else _known('torch/voc2012', split, splits)
    dataset = _voc(torchvision_datasets.VOCSegmentation, root, '2012', split)
    samples = [Sample(image, image, mask=Path(mask))
               for image, mask in zip(dataset.images, dataset.masks, strict=True)]
    return Source(
        lambda: samples, len(samples), ('background', *VOC_CLASSES), f'torch/voc2012 {split}', str(root.absolute()))


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
