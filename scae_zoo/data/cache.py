"""A set of image files, decoded once into a memory-mapped uint8 array."""

import hashlib
import json
import shutil
import sys
import uuid
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from ..console import is_main_process
from ..images import ImageError, open_rgb, to_rgb
from ..places import sync
from ..processors import cores
from .cache_folder import ENVIRONMENT, cache_folder, one_at_a_time, read_entry, take_place, tidy
from .found import say_found
from .image_set import ImageSet
from .masks import Decoded, MaskCodes, open_pair, say_unsure
from .origins import Origins

VERSION = 4
MAX_UNREADABLE = 0.01


class Sample(NamedTuple):
    """An image with its name; its file, its bytes or itself, or what gives one of these when it is called; its label
    or labels, and its mask's file."""

    name: str
    image: Any
    label: int | list[float] | None = None
    mask: Path | None = None


@dataclass(frozen=True)
class Source:
    """Where the images of a set come from.

    Args:
        samples: All of them in a list; or something that can be gone through, again and again, from front to back.
        total: How many there are, where that is known beforehand.
        classes: The classes' names.
        identity: The same for the same data, wherever it lies.
        version: Changes when the data changes in place.
        origins: Which files, or images of a data set that has a name, these are.
        place: Where they are, and of which split, for people.
        left_out: What else is there, for people.
        codes: What the masks' pixels hold, where it is not the number of their class.
    """

    samples: Iterable[Sample]
    total: int | None
    classes: tuple[str, ...]
    identity: str
    version: str = ''
    origins: Origins | None = None
    place: str = ''
    left_out: str = ''
    codes: MaskCodes | None = None

    @property
    def labelled(self) -> bool:
        """Whether each image is known to have a label."""
        return isinstance(self.samples, list) and all(sample.label is not None for sample in self.samples)


def load(
        source: Source,
        size: int | None,
        max_unreadable: float = MAX_UNREADABLE,
        crop: int | None = None,
        held_back: int = 0,
) -> ImageSet:
    """The decoded images, from the cache or through it; safe when several processes ask at once.

    Args:
        source: The images.
        size: Side in pixels of the square that each image is made: its shorter side is scaled to ``size``, then its
            middle is taken. None: images stay as they are, and must have one size.
        max_unreadable: Share of the files that may be unreadable; they are named and left out.
        crop: Side in pixels of the crops that will be taken of them, to be said with what was found.
        held_back: How many of them will not be trained on, likewise.

    Raises:
        ValueError: There is no image, too many are unreadable, the sizes differ, or the cache cannot be used.
    """
    key = hashlib.sha256(json.dumps([VERSION, source.identity, source.version, size]).encode()).hexdigest()[:24]
    folder = cache_folder() / key
    say_found(source, size, crop, folder, held_back)
    entry = read_entry(folder)
    if entry is not None:
        _report_left_out(folder, entry.unreadable)
    else:
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with one_at_a_time(folder.with_suffix('.lock')) as alone:
                if alone:
                    tidy(folder)
                if not (folder / 'index.json').is_file():  # another process may have built it meanwhile
                    _build(source, size, max_unreadable, folder)
        except OSError as error:
            raise ValueError(
                f'{folder.parent}: cannot be written ({error.strerror}); make room, or give another folder '
                f'in ${ENVIRONMENT}') from None
        entry = read_entry(folder)
        if entry is None:
            raise ValueError(f'{folder}: was removed while it was needed; run this again')
    images, targets, unreadable, left_out, values, unsure = entry
    check_unreadable(unreadable, len(images) + len(unreadable), max_unreadable)
    say_unsure(source.identity, unsure)
    classes = source.classes
    if targets is not None and targets.ndim == 1:
        highest = int(targets.max())
        classes = classes or tuple(map(str, range(highest + 1)))
        if highest >= len(classes):
            raise ValueError(f'{source.identity}: has label {highest}, but only {len(classes)} classes')
    return ImageSet(
        torch.from_numpy(images).permute(0, 3, 1, 2),
        None if targets is None else torch.from_numpy(targets),
        classes,
        f'{source.identity} {size or ""}'.strip(),
        mask_indices=tuple(values),
        mask_values=source.codes.values if source.codes and not source.codes.colours else (),
        origins=source.origins.without(left_out) if source.origins else Origins.of_numbers(
            source.identity, range(len(images))),
        place=source.place,
    )


def _report_left_out(folder: Path, unreadable: Sequence[str]) -> None:
    """Say what an earlier process could not read: the reason may be gone."""
    if unreadable and is_main_process():
        more = f'; {len(unreadable)} such files' if len(unreadable) > 1 else ''
        print(f'left out: {unreadable[0]}{more}; to try again, remove {folder}', file=sys.stderr)


def _build(source: Source, size: int | None, max_unreadable: float, folder: Path) -> None:
    """Decode everything into a folder that takes its name only when it is whole."""
    partial = folder.parent / f'.{folder.name}.{uuid.uuid4().hex}'
    partial.mkdir()  # others may read it, as far as the umask lets them
    labels: list[Any] = []
    unreadable: list[str] = []
    left_out: list[int] = []
    shape: tuple[int, ...] | None = None
    has_masks, unsure, values = False, 0, set[int]()
    try:
        with (partial / 'images').open('wb') as images, (partial / 'masks').open('wb') as masks:
            for number, (sample, result) in enumerate(_decoded(source, size)):
                if isinstance(result, ImageError):
                    unreadable.append(str(result))
                    left_out.append(number)
                    tqdm.write(f'left out: {result}', file=sys.stderr)
                    if source.total:
                        check_unreadable(unreadable, source.total, max_unreadable)
                    continue
                pixels, mask = result.pixels, result.mask
                unsure += result.unsure
                values.update(result.values)
                if shape is None:
                    shape, first = pixels.shape, sample.name
                if pixels.shape != shape:
                    raise ValueError(
                        f'{sample.name}: {pixels.shape[1]}x{pixels.shape[0]} pixels, but {first} has '
                        f'{shape[1]}x{shape[0]}; all images must have one size here, or give --size')
                images.write(pixels.tobytes())
                if mask is not None:
                    has_masks = True
                    masks.write(mask.tobytes())
                labels.append(sample.label)
        missing = (source.total or 0) - len(labels) - len(unreadable)  # readers of shards drop what is cut off
        unreadable += [f'{source.identity}: {missing} images are missing or cannot be read'] * missing
        check_unreadable(unreadable, len(labels) + len(unreadable), max_unreadable)
        if shape is None:
            raise ValueError(f'{source.identity}: has no image')
        if None not in labels:
            dtype = np.float32 if isinstance(labels[0], list) else np.int64
            np.save(partial / 'labels.npy', np.asarray(labels, dtype), allow_pickle=False)
        index = {'shape': [len(labels), *shape], 'masks': has_masks, 'values': sorted(values), 'unsure': unsure,
                 'unreadable': unreadable, 'left_out': left_out}
        (partial / 'index.json').write_text(json.dumps(index))
        for path in (*partial.iterdir(), partial):
            sync(path)
        take_place(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def check_unreadable(unreadable: list[str], total: int, share: float) -> None:
    """Refuse images of which too many cannot be read."""
    if len(unreadable) > share * total:
        raise ValueError(
            f'{unreadable[0]}; {len(unreadable)} such files of {total} are more than {share:.1%}: replace or remove '
            'them, or raise --max-unreadable')


def _decoded(source: Source, size: int | None) -> Iterator[tuple[Sample, Decoded | ImageError]]:
    """Each sample with its pixels, in order, decoded by threads that stay a little ahead."""
    waiting: deque[tuple[Sample, Future[Decoded | ImageError]]] = deque()
    # with more threads than cores each waits for Python's lock: a quarter slower on two
    with ThreadPoolExecutor(cores()) as pool, tqdm(
            total=source.total, desc='decoding', unit=' images', disable=None, mininterval=1) as progress:
        for sample in _samples(source):
            waiting.append((sample, pool.submit(decode, sample, size, codes=source.codes)))
            if len(waiting) > 64:
                progress.update()
                first, future = waiting.popleft()
                yield first, future.result()
        for sample, future in waiting:
            progress.update()
            yield sample, future.result()


def _samples(source: Source) -> Iterator[Sample]:
    try:
        yield from source.samples
    except OSError as error:
        raise ValueError(f'{source.identity}: cannot be read ({error})') from None


def decode(
        sample: Sample,
        size: int | None,
        longest: float = 1.,
        codes: MaskCodes | None = None,
) -> Decoded | ImageError:
    """An image with its mask, where it has one; or what is wrong with it.

    Args:
        sample: The image.
        size: What its shorter side is scaled to, in pixels; None: it stays as it is.
        longest: How many times longer the other side may be; of one that is longer still, the middle is taken.
        codes: What the mask's pixels hold, where it is not the number of their class.

    Raises:
        ValueError: The mask's pixels are no class indices.
    """
    image: Any = sample.image
    try:
        if callable(image):
            image = image()
        if isinstance(image, bytes):
            image = BytesIO(image)
        if sample.mask is not None:
            found = open_pair(image, sample.mask, codes)
        else:
            found = Decoded(to_rgb(image) if isinstance(image, Image.Image) else open_rgb(image))
    except ImageError as error:
        return ImageError(str(error).replace(str(image), sample.name))
    except OSError as error:  # of what gives the image; files' own are ImageErrors
        return ImageError(f'{sample.name}: cannot be read ({error})')
    if size is None:
        return found
    mask = None if found.mask is None else _scaled(found.mask, size, longest, Image.Resampling.NEAREST)
    return found._replace(pixels=_scaled(found.pixels, size, longest, Image.Resampling.BICUBIC), mask=mask)


def _scaled(pixels: np.ndarray, size: int, longest: float, resampling: Image.Resampling) -> np.ndarray:
    shorter = min(pixels.shape[:2])
    height, width = (min(side, round(longest * shorter)) for side in pixels.shape[:2])
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    if shorter == size:
        return pixels[top:top + height, left:left + width]
    scaled = round(width * size / shorter), round(height * size / shorter)
    box = (left, top, left + width, top + height)
    return np.array(Image.fromarray(pixels).resize(scaled, resampling, box=box))
