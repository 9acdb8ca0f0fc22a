"""Batches that are decoded anew each time: the same as ever, in any number of processes, around damaged files."""

import multiprocessing
import os
import resource
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from scae_zoo.data.sources import find_source, only
from scae_zoo.errors import TrainingError
from scae_zoo.training.augmentation import GrowingCrop, RandomCrop
from scae_zoo.training.distributed import World
from scae_zoo.training.settings import Optimization
from scae_zoo.training.streaming import StreamedBatches, watched_workers

from ..support.pictures import encoded, save, write_parquet, write_shard

Batch = tuple[torch.Tensor, torch.Tensor]


def prepare(x: torch.Tensor, y: torch.Tensor, generator: torch.Generator) -> Batch:
    return x.float() + torch.rand(len(x), 1, 1, 1, generator=generator) / 2, y


def stream(data: Path | str, batch_size: int = 4, *, crop: RandomCrop | None = None, size: int = 8,
           root: Path | None = None, workers: int = 0, seed: int = 0, rank: int = 0,
           world_size: int = 1, **options) -> StreamedBatches:
    return StreamedBatches(
        find_source(str(data), root=root), size, Optimization(batch_size=batch_size, seed=seed),
        crop or RandomCrop(6), prepare, World(rank, world_size, torch.device('cpu')), workers=workers, **options)


def values(batches: list[Batch]) -> list[int]:
    """The first channel of each picture."""
    return [int(value) for x, _ in batches for value in x[:, 0, 0, 0]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes, five images of one colour each; the colour is ten times the number."""
    for i in range(10):
        save(tmp_path / 'images' / 'ab'[i % 2] / f'{i}.png', 10 * i, (12 + i, 16))
    return tmp_path / 'images'


def test_crops_of_the_epochs_size(folder: Path) -> None:
    loader = stream(folder, 5, crop=GrowingCrop(8, first_size=6, epochs=2))
    assert [next(loader.epoch(epoch))[0].shape[2:] for epoch in range(3)] == [(6, 6), (8, 8), (8, 8)]


def test_each_image_once_an_epoch(folder: Path) -> None:
    loader = stream(folder, 5)
    numbers = torch.tensor([0, 20, 40, 60, 80, 10, 30, 50, 70, 90])  # class after class
    first, second = list(loader.epoch(0)), list(loader.epoch(1))
    assert len(loader) == len(first) == 2
    assert sorted(values(first)) == sorted(values(second)) == [10 * i for i in range(10)]
    assert values(first) != values(second)
    for x, y in first:
        assert x.shape == (5, 3, 6, 6)
        assert x.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(x[:, 0, 0, 0].long(), numbers[y])


def write_noise(folder: Path, number: int) -> Path:
    folder.mkdir()
    for i in range(number):
        pixels = np.random.default_rng(i).integers(0, 256, (20, 15 + i, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f'{i}.png')
    return folder


def test_function_of_seed_epoch_and_step(tmp_path: Path) -> None:
    """Whether it starts anew in the middle, and whoever decodes; the global generator has no part in it."""
    folder = write_noise(tmp_path / 'noise', 9)
    torch.manual_seed(5)
    drawn = torch.rand(1)
    torch.manual_seed(5)
    whole = list(stream(folder, 2, seed=3).epoch(1))
    rest = list(stream(folder, 2, seed=3, workers=2).epoch(1, first_step=1))
    assert torch.equal(torch.rand(1), drawn)
    assert len(whole) == 4
    for (x, y), (again, targets) in zip(whole[1:], rest, strict=True):
        assert torch.equal(x, again)
        assert torch.equal(y, targets)
    for seed, epoch in ((4, 1), (3, 2)):
        assert not torch.equal(next(stream(folder, 2, seed=seed).epoch(epoch))[0], whole[0][0])


def test_ranks_share_each_batch(folder: Path) -> None:
    whole = [values([batch]) for batch in stream(folder, 4).epoch(0)]
    ranks = [[values([batch]) for batch in stream(folder, 4, rank=rank, world_size=2).epoch(0)] for rank in range(2)]
    assert [a + b for a, b in zip(*ranks, strict=True)] == whole


def test_whole_image_is_cropped(tmp_path: Path) -> None:
    """Not its middle square alone; of an image that is more than four times longer than wide, the middle."""
    for name, width in (('long', 40), ('longer', 400)):
        pixels = np.broadcast_to(np.arange(width, dtype=np.uint16)[:, None] * 256 // width, (20, width, 3))
        (tmp_path / name).mkdir()
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / name / '0.png')
    for name, low, high in (('long', 0, 255), ('longer', 102, 154)):
        loader = stream(tmp_path / name, 1, crop=RandomCrop(20), size=20)
        seen = torch.cat([x for epoch in range(40) for x, _ in loader.epoch(epoch)])
        assert low <= seen.min() < low + 10
        assert high - 10 < seen.max() <= high + 1


def test_some_classes_alone(folder: Path) -> None:
    chosen = StreamedBatches(only(find_source(str(folder)), ['b']), 8, Optimization(batch_size=9), RandomCrop(6),
                             prepare, World(0, 1, torch.device('cpu')), workers=0)
    x, y = next(chosen.epoch(0))
    assert sorted(values([(x, y)])) == [10, 30, 50, 70, 90]
    assert sorted(y.tolist()) == [0, 1, 2, 3, 4]  # which image it is


def test_named_sets(tmp_path: Path) -> None:
    write_parquet(tmp_path / 'set', [encoded(10), encoded(20), encoded(30)], [2, 0, 1], ['a', 'b', 'c'])
    x, y = next(stream(f'hfds/{tmp_path}/set', 3, root=tmp_path / 'root', size=6, workers=1).epoch(0))
    assert dict(zip(values([(x, y)]), y.tolist(), strict=True)) == {10: 0, 20: 1, 30: 2}
    write_shard(tmp_path / 'train-0.tar', [(encoded(10), 3)])
    with pytest.raises(ValueError, match='wds/x train 1: can only be read from front to back, .* into the cache'):
        stream('wds/x', root=tmp_path)


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:40])


@pytest.mark.parametrize('workers', [0, 2])
def test_unreadable_images(folder: Path, capsys: pytest.CaptureFixture[str], workers: int) -> None:
    """Named once, and the same other ones stand in for them each time; beyond the share that may be, an error."""
    damage(folder / 'a' / '0.png')
    damage(folder / 'b' / '3.png')
    loader = stream(folder, 5, max_unreadable=0.2, workers=workers)
    first = [list(loader.epoch(epoch)) for epoch in range(2)]
    for epoch in first:
        assert len(values(epoch)) == 10
        assert set(values(epoch)) <= {10, 20, 40, 50, 60, 70, 80, 90}
        assert all(torch.equal(x[:, 0, 0, 0].long() // 10 % 2, y // 5) for x, y in epoch)  # five images a class
    printed = capsys.readouterr().err
    assert printed.count('0.png: ') == printed.count('3.png: ') == 1
    again = stream(folder, 5, max_unreadable=0.2)
    assert [values(list(again.epoch(epoch))) for epoch in range(2)] == [values(epoch) for epoch in first]
    with pytest.raises(ValueError, match=r'png: .*; 2 such files of 10 are more than 10.0%: replace') as caught:
        list(stream(folder, 5, max_unreadable=0.1, workers=workers).epoch(0))
    assert '\n' not in str(caught.value)


def test_no_image_is_readable(folder: Path) -> None:
    for path in folder.rglob('*.png'):
        damage(path)
    with pytest.raises(ValueError, match='10 such files of 10 are more than 90.0%'):
        list(stream(folder, max_unreadable=1.).epoch(0))


def test_refused_batches(folder: Path) -> None:
    with pytest.raises(ValueError, match='--batch-size 5 cannot be split over 2 processes'):
        stream(folder, 5, world_size=2)
    with pytest.raises(ValueError, match='--crop 9 does not fit into images of 8x8'):
        stream(folder, crop=RandomCrop(9))


def started(batches: Iterator[Batch]) -> list[multiprocessing.process.BaseProcess]:
    """Take the first batch; the processes that were started for it: an earlier test's may be there still."""
    before = multiprocessing.active_children()
    next(batches)
    return [process for process in multiprocessing.active_children() if process not in before]


def test_killed_worker(tmp_path: Path) -> None:
    """As the system does when memory runs out: one line, not a traceback of the loader."""
    batches = stream(write_noise(tmp_path / 'noise', 40), 1, workers=1).epoch(0)
    worker, = started(batches)

    @watched_workers()
    def train() -> None:
        worker.kill()
        time.sleep(5)  # a step of training
        list(batches)

    how = '(is killed|exited unexpectedly)'  # as the processes were started
    with pytest.raises(TrainingError, match=f'{worker.pid}.* {how}.*; the last state is kept: run the') as caught:
        train()
    assert '\n' not in str(caught.value)


def test_killed_while_it_holds_the_loaders_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's loader would wait for it at its end, for ever."""
    loaders: list = []
    loaded = StreamedBatches._loaded

    def kept(self, *args):
        loaders.append(loaded(self, *args))
        return loaders[0]

    monkeypatch.setattr(StreamedBatches, '_loaded', kept)
    batches = stream(write_noise(tmp_path / 'noise', 40), 1, workers=2).epoch(0)
    workers = started(batches)
    assert len(workers) == 2
    loaders[0]._workers_done_event._cond.acquire()  # which nobody gives back

    @watched_workers()
    def train() -> None:
        workers[0].kill()
        time.sleep(5)  # a step of training

    with pytest.raises(TrainingError):
        train()
    at = time.monotonic()
    with limited(resource.RLIMIT_NOFILE, 1024):  # its alarm ends the wait
        batches.close()
        loaders.clear()
    assert time.monotonic() - at < 30
    assert not any(worker.is_alive() for worker in workers)


@contextmanager
def limited(what: int, most: int) -> Iterator[None]:
    """The process and its children may not go beyond, as where a container has little; waiting for ever is an error."""
    def too_long(*_: object) -> None:
        raise TimeoutError

    before, handler = resource.getrlimit(what), signal.signal(signal.SIGALRM, too_long)
    resource.setrlimit(what, (most, before[1]))
    signal.alarm(60)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, handler)
        resource.setrlimit(what, before)


def same(one: list[Batch], other: list[Batch]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a, b) for pairs in zip(one, other, strict=True) for a, b in zip(*pairs, strict=True))


def test_little_shared_memory(tmp_path: Path) -> None:
    """As in a container: a batch is larger than what /dev/shm takes, and comes all the same."""
    folder = write_noise(tmp_path / 'noise', 8)
    whole = list(stream(folder, 4).epoch(0))
    with limited(resource.RLIMIT_FSIZE, 256):
        assert same(list(stream(folder, 4, workers=2).epoch(0)), whole)


def test_no_process_can_be_started(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Then this one decodes, and says so once."""
    folder = write_noise(tmp_path / 'noise', 8)
    whole = [batch for epoch in range(2) for batch in stream(folder, 4).epoch(epoch)]
    loader = stream(folder, 4, workers=2)
    taken = [os.open(os.devnull, os.O_RDONLY) for _ in range(200)]  # also what is free between others
    for descriptor in taken[-4:]:
        os.close(descriptor)
    with limited(resource.RLIMIT_NOFILE, max(taken) + 1):
        found = [batch for epoch in range(2) for batch in loader.epoch(epoch)]
    for descriptor in taken[:-4]:
        os.close(descriptor)
    assert same(found, whole)
    assert capsys.readouterr().err.count('this process alone decodes the images') == 1


def out_of_luck() -> None:
    raise RuntimeError('out of luck')


def test_fault_inside_a_worker_is_not_hidden(folder: Path) -> None:
    batches = stream(folder, workers=1)
    batches.samples = [sample._replace(image=out_of_luck) for sample in batches.samples]
    with pytest.raises(RuntimeError, match='out of luck'), watched_workers():
        list(batches.epoch(0))
