"""One point of a curve of growth.py, which starts this as a fresh process: ``growth_points.py QUESTION SIZE NETWORK
FOLDER`` prints it as JSON."""

import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any, NamedTuple

# torch and timm are imported where they are used: on Linux a new process begins with the peak of the one that starts it

MB = 1e6
Point = dict[str, Any]


class Curve(NamedTuple):
    """A value of a question's points, and the exponent with which it is expected to grow."""

    key: str
    name: str
    expected: float

    @property
    def unit(self) -> str:
        return 'MB' if self.key.endswith('_mb') else 's'


class Question(NamedTuple):
    """What is varied, and what is looked at."""

    name: str
    across: str
    measure: Callable[[int, str, str], Point]
    curves: tuple[Curve, ...]
    has_network: bool = True


def peak() -> float:
    """The most memory that this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == 'darwin' else 1024) / MB


def timed(work: Callable[[], Any]) -> float:
    """CPU seconds: of the first time, where that takes long; else the median of a few."""
    seconds = [_once(work)]
    if seconds[0] < 1:
        seconds = [_once(work) for _ in range(5)]
    return statistics.median(seconds)


def _once(work: Callable[[], Any]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def narrowed(network: str) -> str:
    """A network's name, of NAME or NAME/8: then it has an eighth of its channels from here on."""
    from scae_zoo.models.architectures import ARCHITECTURES
    name, _, parts = network.partition('/')
    if name not in ARCHITECTURES or parts and not parts.isdecimal():
        raise SystemExit(f'growth: error: --network {network}: is none of {", ".join(ARCHITECTURES)}, nor one with /N')
    if parts:
        ARCHITECTURES[name] = tuple(spec._replace(channels=spec.channels // int(parts)) for spec in ARCHITECTURES[name])
    return name


def measure_side(side: int, network: str, folder: str) -> Point:
    import torch

    import scae_zoo
    from scae_zoo.inference.strips import STRIP
    model = scae_zoo.create_autoencoder(narrowed(network))
    scae_zoo.reconstruct(model, torch.zeros(1, 3, 16, 16))
    before = peak()
    x = torch.randn(1, 3, side, side)
    seconds = timed(lambda: scae_zoo.reconstruct(model, x))
    memory, image = peak() - before, 2 * x.nbytes / MB
    parts = {'whole_mb': memory} if side * side <= STRIP else {'strips_mb': memory - image}
    return {'seconds': seconds, 'memory_mb': memory, **parts, 'image_mb': image}


def measure_batch(batch: int, network: str, folder: str) -> Point:
    import torch
    import torch.nn.functional as F
    from engine import config

    from scae_zoo import create_autoencoder
    network = narrowed(network)
    model, crop = create_autoencoder(network).train(), config(network)['input_size'][-1]
    before = peak()
    x = torch.randn(batch, 3, crop, crop)

    def step() -> None:
        F.mse_loss(model(x), x).backward()

    step()
    return {'seconds': timed(step), 'memory_mb': peak() - before}


def measure_images(number: int, network: str, folder: str) -> Point:
    """What `scae pretrain` does with a folder before it decodes: the list, the images held back, an epoch's order."""
    import torch
    from engine import benchmark

    from scae_zoo.data.cache import Source
    from scae_zoo.data.image_set import ImageSet
    from scae_zoo.data.sources import find_source
    from scae_zoo.training.augmentation import RandomCrop
    from scae_zoo.training.batches import Batches, Plain
    from scae_zoo.training.settings import Optimization
    found: list[Source] = []
    pixels = torch.zeros(1, 3, 32, 32, dtype=torch.uint8).expand(number, -1, -1, -1)

    def draw() -> None:
        rest = ImageSet(pixels, origins=found[0].origins).held_back(max(1, min(200, number // 50)))[1]
        settings = Optimization(batch_size=min(16, len(rest)))
        next(Batches(rest, settings, RandomCrop(29), Plain((0.,) * 3, (1.,) * 3), where).epoch(0))

    with benchmark('cpu') as where:
        before = peak()
        listing = _once(lambda: found.append(find_source(folder, labels=False)))
        memory = peak() - before
        assert found[0].total == number, (found[0].total, number)
        return {'seconds': listing, 'drawing': _once(draw), 'memory_mb': memory, 'all_mb': peak() - before}


def measure_cache(number: int, network: str, folder: str) -> Point:
    """The bookkeeping of the cache and of the stream: the images are a pixel each, in memory: decoding is nothing."""
    from engine import benchmark
    from PIL import Image

    from scae_zoo.data.cache import Sample, Source, load
    from scae_zoo.training.augmentation import RandomCrop
    from scae_zoo.training.batches import Plain
    from scae_zoo.training.settings import Optimization
    from scae_zoo.training.streaming import StreamedBatches
    pixel = Image.new('RGB', (1, 1))
    source = Source([Sample(f'{i}.png', pixel) for i in range(number)], number, (), f'{number} pixels')

    def stream() -> None:
        settings = Optimization(batch_size=min(16, number))
        next(StreamedBatches(source, 32, settings, RandomCrop(29), Plain((0.,) * 3, (1.,) * 3), where).epoch(0))

    with benchmark('cpu') as where, tempfile.TemporaryDirectory() as os.environ['SCAE_ZOO_CACHE']:
        before = peak()
        building = _once(lambda: load(source, None))
        memory = peak() - before
        return {'seconds': building, 'reading': _once(lambda: load(source, None)), 'streaming': _once(stream),
                'memory_mb': memory}


QUESTIONS = {question.name: question for question in (
    Question('sides', 'side of an image (pixels)', measure_side, (
        Curve('seconds', 'time of a reconstruction', 2), Curve('whole_mb', 'memory, image whole', 2),
        Curve('strips_mb', 'memory, image in strips, without the image', 1),
        Curve('image_mb', 'the image and its reconstruction', 2))),
    Question('batches', 'images of a batch', measure_batch, (
        Curve('seconds', 'time, forward and backward', 1), Curve('memory_mb', 'memory', 1))),
    Question('images', 'images of a folder', measure_images, (
        Curve('seconds', 'listing the folder', 1), Curve('drawing', 'holding back, and an order', 1),
        Curve('memory_mb', 'memory of the list', 1), Curve('all_mb', 'memory of both', 1)), False),
    Question('cache', 'images of the cache', measure_cache, (
        Curve('seconds', 'building it, without decoding', 1), Curve('reading', 'finding it again', 1),
        Curve('streaming', 'first batch that is streamed', 0), Curve('memory_mb', 'memory of building it', 1)), False),
)}


def main() -> None:
    question, size, network, folder = sys.argv[1:]
    print(json.dumps(QUESTIONS[question].measure(int(size), network, folder)))


if __name__ == '__main__':
    main()
