"""What the page of ``scae app`` asks networks about one photograph; knows nothing of the page."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from ...checkpoints import finding
from ...checkpoints.folder import Checkpoint
from ...factory import create_autoencoder, create_encoder, create_segmenter, find_checkpoint
from ...images import ImageError, open_rgb
from ...inference.classes import scores
from ...inference.features import features_of, nearest
from ...inference.masks import masks_of, overlaid
from ...inference.network import Network
from ...inference.photographs import Photograph, pixels_of
from ...models.architectures import ARCHITECTURES
from ..answers import bare_encoder, opened_features
from ..features import SIZE, default_layer, described, scaled_down
from ..pictures import DEMO_MODEL, NOISE, UNCHANGED, Reconstruction, noise_for, quality

KEPT = 3  # networks in memory: those of VGG-16 take 118 MB each
WHOLE = 0  # in place of a size: the photograph is not scaled
MOST_PIXELS = Image.MAX_IMAGE_PIXELS or 2 ** 26  # of a photograph: what Pillow opens without a warning
MOST_WHOLE = 2 ** 25  # of one that is not scaled down: minutes on a CPU, for which others wait
THUMBNAIL = 256  # pixels of the longer side
KINDS = {'autoencoder': 'auto-encoder', 'classifier': 'classifier', 'segmenter': 'segmenter'}


class Reconstructed(NamedTuple):
    """A photograph, what the network got of it, and what it made of that, H x W x 3 uint8; their PSNR in dB, None where
    the photograph is noisy itself; seconds of the network."""

    clean: np.ndarray
    corrupted: np.ndarray
    reconstruction: np.ndarray
    before: float | None
    after: float | None
    seconds: float


class Classified(NamedTuple):
    """The square that a classifier saw, H x W x 3 uint8, its classes with their probabilities, seconds of the
    network."""

    square: np.ndarray
    classes: dict[str, float]
    seconds: float


class Neighbour(NamedTuple):
    """A photograph like another one: its file, the cosine of the angle between their features, and a small picture,
    where the file can still be read."""

    path: Path
    cosine: float
    picture: Image.Image | None


class Trials:
    """The networks that are tried, one request at a time.

    Args:
        device: Where they run.
        model: One to begin with, as ``--model`` takes it.
        features: A file of features to search.

    Raises:
        CheckpointError: There is no such model.
        ValueError: The file holds no features, or those of another network.
    """

    def __init__(self, device: torch.device, model: str | None = None, features: Path | None = None) -> None:
        self.device = device
        self.given = None if model is None else find_checkpoint(model, option='--model')
        self.model = model
        self.searched = None if features is None else opened_features(features)
        self._networks: OrderedDict[tuple[str, str], Any] = OrderedDict()
        self._asking = threading.Lock()

    @property
    def busy(self) -> bool:
        """Whether a network is being asked."""
        return self._asking.locked()

    def choices(self) -> list[tuple[str, str]]:
        """The checkpoints that can be tried, in words and by name, the one to begin with first."""
        found = {name: kind for name, kind in finding.by_priority().items() if kind in KINDS}
        if self.given is not None:
            found.pop(self.given.name, None)
            found = {str(self.model): self.given.kind, **found}
        elif (first := next((name for name, kind in found.items() if kind == 'autoencoder'
                             and finding.split_name(name)[0] == DEMO_MODEL), None)):
            found = {first: found.pop(first), **found}
        names = {str(self.model): self.given.name} if self.given is not None else {}
        return [(f'{names.get(name, name)} ({KINDS[kind]})', name) for name, kind in found.items()]

    def checkpoint(self, name: str) -> Checkpoint:
        if name not in {name for _, name in self.choices()}:  # a page may ask for what it was not offered
            raise ValueError(f'{name}: is none of the checkpoints to choose from')
        return self.given if self.given is not None and name == self.model else find_checkpoint(name)

    def noise(self, name: str) -> str:
        """What an auto-encoder is tried with unless something else is chosen."""
        checkpoint = self.checkpoint(name)
        return noise_for(checkpoint) if checkpoint.kind == 'autoencoder' else NOISE

    def layers(self, name: str) -> tuple[int, int]:
        """How many convolutions a network has, and which one's maps are drawn by default."""
        architecture = self.checkpoint(name).architecture
        return len(ARCHITECTURES[architecture]), default_layer(architecture)

    def reconstruct(
            self,
            name: str,
            path: Path,
            noise: str,
            size: int = WHOLE,
            holes: np.ndarray | None = None,
    ) -> Reconstructed:
        """Corrupt a photograph and reconstruct it.

        Args:
            name: The auto-encoder.
            path: The photograph.
            noise: As ``--corruption`` of ``scae reconstruct`` takes it.
            size: What its shorter side is scaled down to.
            holes: In place of noise, H x W bool: what is masked, of any size, which is fitted to the photograph.
        """
        check(path, MOST_WHOLE if size == WHOLE else MOST_PIXELS)
        pixels = photograph(path, size)
        if holes is not None:
            if not holes.any():
                raise ValueError('Nothing is painted yet: paint over what is to be filled in.')
            height, width = pixels.shape[:2]
            holes = np.asarray(Image.fromarray(holes).resize((width, height), Image.Resampling.NEAREST))
        with self._network(name, 'autoencoder') as network:
            trial = Reconstruction(network, noise, seed=0)
            pictures = trial.corrupt(pixels, None if holes is None else torch.from_numpy(holes.copy()))
            (result,), seconds = _timed(lambda: trial.of([pictures]))
            corrupted = trial.pixels(pictures.corrupted[None])[0]
        before = after = None
        if holes is not None or noise != UNCHANGED:
            before, after = quality(pictures.clean, [corrupted, result])
        return Reconstructed(_hwc(pictures.clean), _hwc(corrupted), _hwc(result), before, after, seconds)

    def classify(self, name: str, path: Path, first: int) -> Classified:
        """Ask a classifier about the middle of a photograph: the ``first`` most probable classes."""
        check(path)
        with self._network(name, 'classifier') as network:
            with _named(path):
                square = network.square(Photograph(path, Path(path.name)))
            multi_label = self.checkpoint(name).multi_label
            (probabilities, indices), seconds = _timed(lambda: scores(network, [square], multi_label, first))
            names = network.class_names(network.model.num_classes)
        pairs = zip(probabilities[0].tolist(), indices[0].tolist(), strict=True)
        best = sorted(pairs, reverse=True)[:first]
        return Classified(_hwc(square), {names[i]: value for value, i in best}, seconds)

    def segment(self, name: str, path: Path, size: int = WHOLE) -> tuple[Image.Image, float]:
        """A photograph under the colours of its classes with their legend; seconds of the network."""
        check(path, MOST_WHOLE if size == WHOLE else MOST_PIXELS)
        pixels = photograph(path, size)
        with self._network(name, 'segmenter') as network:
            (mask,), seconds = _timed(lambda: masks_of(network, [pixels]))
            names = network.class_names(network.model.num_classes)
        return overlaid(pixels, mask, names), seconds

    def maps(self, name: str, path: Path, layer: int, maps: int, output: Path) -> tuple[str, float]:
        """Draw the strongest feature maps of a layer into a PNG; which these are, and the seconds that it took."""
        from ...experiments.plots import draw_feature_maps  # slow to import

        checkpoint = self.checkpoint(name)
        image = scaled_down(photograph(path), SIZE)
        maps = min(maps, ARCHITECTURES[checkpoint.architecture][layer - 1].channels)
        with self._network(name, 'encoder') as encoder:
            words = described(checkpoint.architecture, layer)
            _, seconds = _timed(lambda: draw_feature_maps(
                {'map': encoder}, [image], layer, maps, output, f'{checkpoint.name}\n{words}'))
        return words, seconds

    def nearest(self, path: Path, number: int) -> tuple[list[Neighbour], float]:
        """The photographs of the file of features that are most like one; seconds of the network."""
        if self.searched is None:
            raise ValueError('There are no features to search: start `scae app` with --features.')
        features, checkpoint = self.searched
        check(path)
        with self._network(str(features.made_by['model']), 'features') as network:
            with _named(path):
                square = network.square(Photograph(path, Path(path.name)))
            found, seconds = _timed(lambda: features_of(network, [square], features.made_by.get('layer')))
        return [Neighbour(Path(file), cosine, _thumbnail(Path(file)))
                for file, cosine in nearest(features, found[0], number)], seconds

    @contextmanager
    def _network(self, name: str, use: str) -> Iterator[Any]:
        """A network of a kind, which nobody else asks in the meantime."""
        with self._asking:
            key = name, use
            if key not in self._networks:
                self._networks[key] = self._created(name, use)
                while len(self._networks) > KEPT:
                    self._networks.popitem(last=False)
            self._networks.move_to_end(key)
            yield self._networks[key]

    def _created(self, name: str, use: str) -> Any:
        if use == 'features' and self.searched is not None:
            return bare_encoder(self.searched[1], self.device)
        checkpoint = self.checkpoint(name)
        if use == 'encoder':  # as it is: maps are drawn in float32, with its norms apart
            return create_encoder(checkpoint.architecture, checkpoint, num_classes=0, in_chans=3).to(self.device)
        checkpoint.require(use)
        weights = str(checkpoint.folder.absolute())
        if use == 'autoencoder':
            return Network(create_autoencoder(checkpoint.architecture, weights=weights), self.device)
        if use == 'segmenter':
            return Network(create_segmenter(checkpoint.architecture, pretrained=True, weights=weights), self.device)
        return Network(create_encoder(checkpoint.architecture, checkpoint), self.device)


def check(path: Path, most: int = MOST_PIXELS) -> None:
    """Refuse a photograph that has been deleted, or has more than so many pixels, before it is decoded."""
    if not path.exists():
        raise ImageError(f'{path.name}: is not kept for longer than an hour; choose it again')
    if (pixels := pixels_of(Photograph(path, Path(path.name)))) > most:
        way_out = 'scale it down first' if most == MOST_PIXELS else 'choose a smaller size'
        raise ImageError(
            f'{path.name}: has {pixels / 1e6:.0f} megapixels; {most / 1e6:.0f} are taken at most, {way_out}')


def photograph(path: Path, size: int = WHOLE) -> np.ndarray:
    """A photograph's pixels, H x W x 3 uint8, scaled down where its shorter side is longer than ``size``.

    Raises:
        ImageError: It cannot be read, or is too large.
    """
    check(path)
    with _named(path):
        pixels = open_rgb(path)
    return pixels if size == WHOLE else _hwc(scaled_down(pixels, size))


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Say the name of a file alone: where it was kept for us is of no interest."""
    try:
        yield
    except ImageError as error:
        raise ImageError(str(error).replace(str(path), path.name)) from None


def _thumbnail(path: Path) -> Image.Image | None:
    try:
        picture = Image.fromarray(photograph(path))
    except ImageError:
        return None
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    return picture


def _hwc(image: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(image.permute(1, 2, 0).numpy())


def _timed(ask: Callable[[], Any]) -> tuple[Any, float]:
    started = time.perf_counter()
    result = ask()
    return result, time.perf_counter() - started
