"""The cache of decoded images: built once, whole or not there, and anew where the images changed."""

import json
import os
import resource
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from scae_zoo.data import cache_folder
from scae_zoo.data.cache import Sample, Source, load
from scae_zoo.data.named_sources import Passes
from scae_zoo.data.sources import load_images

from ..support.processes import Process, code

LOAD = '''import sys
from scae_zoo.data.sources import load_images
print(load_images(sys.argv[1], size=48).images.sum())'''


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv('SCAE_ZOO_CACHE', str(tmp_path / 'cache'))
    return tmp_path / 'cache'


def write_images(folder: Path, number: int, side: int = 32) -> Path:
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    for i in range(number):
        Image.fromarray(np.roll(pixels, i, 0)).save(folder / f'{i:04}.png', compress_level=0)
    return folder


def start(images: Path, log: str = 'log') -> Process:
    return Process(images.with_name(log), code, LOAD, str(images))


def folders(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.glob('*') if path.is_dir())


def test_decoded_once(cache: Path, tmp_path: Path) -> None:
    images = write_images(tmp_path / 'images', 3)
    first = load_images(str(images), size=None)
    built = (cache / folders(cache)[0] / 'images').stat()
    again = load_images(str(images), size=None)
    assert (cache / folders(cache)[0] / 'images').stat() == built
    assert torch.equal(first.images, again.images)
    again.images.zero_()  # a copy of our own
    assert torch.equal(first.images, load_images(str(images), size=None).images)


def test_mapped_on_other_systems(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = write_images(tmp_path / 'images', 3)
    here = load_images(str(images), size=None).images.clone()
    monkeypatch.setattr(cache_folder, 'sys', SimpleNamespace(platform='darwin'))
    for _ in range(2):
        there = load_images(str(images), size=None).images
        assert torch.equal(there, here)
        there.zero_()  # a copy of our own


def test_two_processes_at_once(cache: Path, tmp_path: Path) -> None:
    images = write_images(tmp_path / 'images', 300)
    processes = [start(images, log) for log in 'ab']
    a, b = (process.wait() for process in processes)
    assert (a.returncode, b.returncode) == (0, 0), a.stderr + b.stderr
    assert a.stdout == b.stdout
    assert int(load_images(str(images), size=48).images.sum()) == int(a.stdout.split('(')[1].rstrip(')\n'))
    assert len(folders(cache)) == 1


def test_on_the_disk_before_it_takes_its_name(
        cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files, and the names in their folder: after a power cut an entry is whole or not there."""
    fsync, synced = os.fsync, set()

    def noting(descriptor: int) -> None:
        fsync(descriptor)
        if all(name.startswith('.') for name in folders(cache)):
            synced.add(os.fstat(descriptor).st_ino)

    monkeypatch.setattr(os, 'fsync', noting)
    load_images(str(write_images(tmp_path / 'set' / 'a', 2).parent), size=None)
    entry = cache / folders(cache)[0]
    assert {'images', 'index.json', 'labels.npy'} <= {path.name for path in entry.iterdir()}
    assert {path.stat().st_ino for path in (entry, *entry.iterdir())} <= synced


def test_killed_while_it_builds(cache: Path, tmp_path: Path) -> None:
    """What it left is not taken for whole, and is removed."""
    images = write_images(tmp_path / 'images', 150, 500)
    process = start(images)
    while not list(cache.glob('.*.*/images')):
        assert process.returncode is None
        time.sleep(0.002)
    process.kill()
    left, = folders(cache)
    assert left.startswith('.')
    assert len(load_images(str(images), size=48)) == 150
    built, = folders(cache)
    assert left.startswith(f'.{built}.')


def test_full_disk(cache: Path, tmp_path: Path) -> None:
    images = write_images(tmp_path / 'images', 30)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limit[1]))
    try:
        with pytest.raises(ValueError, match=r'cache.*: cannot be written \(File too large\); make room, or') as caught:
            load_images(str(images), size=48)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert '\n' not in str(caught.value)
    assert folders(cache) == []
    assert len(load_images(str(images), size=48)) == 30


def test_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / 'file').touch()
    monkeypatch.setenv('SCAE_ZOO_CACHE', str(tmp_path / 'file' / 'cache'))
    with pytest.raises(ValueError, match=r'file/cache: cannot be written \(Not a directory\); .* in \$SCAE_ZOO_CACHE'):
        load_images(str(write_images(tmp_path / 'images', 1)), size=None)


def test_source_that_breaks_off(cache: Path) -> None:
    """Its fault, not the disk's: while it lists its images, or gives one of them."""
    def lists() -> Iterator[Sample]:
        yield Sample('a', Image.new('RGB', (4, 4)))
        raise OSError('connection reset')

    def gives() -> Image.Image:
        raise OSError('connection reset')

    for samples in (Passes(lists), [Sample('a', gives)]):
        with pytest.raises(ValueError, match=r'cannot be read \(connection reset\)'):
            load(Source(samples, None, (), 'far away'), None)
    assert folders(cache) == []


@pytest.mark.skipif(sys.platform != 'linux', reason='what is tested is that Linux sets no memory aside')
def test_more_than_the_memory_holds(cache: Path, tmp_path: Path) -> None:
    """The file has holes: nothing of that size is written or read."""
    images = write_images(tmp_path / 'images', 1, side=64)
    load_images(str(images), size=None)
    folder, = (path for path in cache.iterdir() if path.is_dir())
    memory = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
    number = 4 * memory // (64 * 64 * 3)
    (folder / 'index.json').write_text(json.dumps({'shape': [number, 64, 64, 3], 'masks': False, 'unreadable': []}))
    os.truncate(folder / 'images', number * 64 * 64 * 3)
    loaded = load_images(str(images), size=None).images
    assert len(loaded) == number
    assert loaded[0].any()
    assert not loaded[-1].any()


def test_a_whole_cache_needs_no_writing(cache: Path, tmp_path: Path) -> None:
    images = write_images(tmp_path / 'images', 2)
    before = load_images(str(images), size=None).images
    for lock in cache.glob('*.lock'):
        lock.unlink()
        lock.mkdir()  # nobody can take it, root neither
    assert torch.equal(load_images(str(images), size=None).images, before)


def entry_of(cache: Path) -> Path:
    folder, = (path for path in cache.iterdir() if path.is_dir() and not path.suffix)
    return folder


def test_lock_of_another_user(cache: Path, tmp_path: Path) -> None:
    """It cannot be taken: the entry is built without. Where another process was faster, its entry is taken."""
    images = write_images(tmp_path / 'images', 2)
    whole = load_images(str(images), size=None).images
    shutil.rmtree(entry_of(cache))
    lock, = cache.glob('*.lock')
    lock.chmod(0)
    if os.getuid() == 0:  # whom the mode does not stop; but another user's file in a sticky folder does
        cache.chmod(0o1777)
        os.chown(lock, 12345, 12345)
    assert torch.equal(load_images(str(images), size=None).images, whole)


def test_another_users_process_is_faster(cache: Path) -> None:
    """One that we cannot wait for: its entry is taken."""
    inner, theirs = [], []

    def image() -> Image.Image:
        if entered:
            entered.pop()
            inner.append(load(source, None).images)
            theirs.append((entry_of(cache) / 'images').stat().st_ino)
        return Image.new('RGB', (4, 4), 'red')

    entered: list[None] = []
    source = Source([Sample('a', image)], 1, (), 'twice')
    load(source, None)
    lock, = cache.glob('*.lock')
    shutil.rmtree(entry_of(cache))
    lock.unlink()
    lock.mkdir()  # nobody can take it, root neither
    entered.append(None)
    outer = load(source, None).images
    assert len(inner) == 1
    assert torch.equal(outer, inner[0])
    assert folders(cache) == sorted([entry_of(cache).name, lock.name])
    assert theirs == [(entry_of(cache) / 'images').stat().st_ino]


@pytest.mark.parametrize('whole', [True, False])
def test_another_process_takes_the_name_at_the_last_moment(
        cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: bool) -> None:
    def late(self: Path, target: Path) -> Path:
        shutil.copytree(self, target)
        if not whole:
            (target / 'index.json').unlink()
        return rename(self, target)

    images = write_images(tmp_path / 'images', 2)
    rename = Path.rename
    monkeypatch.setattr(Path, 'rename', late)
    if whole:
        assert len(load_images(str(images), size=None)) == 2
    else:
        with pytest.raises(ValueError, match=r'cache: cannot be written \('):
            load_images(str(images), size=None)
    assert folders(cache) == [entry_of(cache).name]


def test_entry_that_is_not_whole(cache: Path, tmp_path: Path) -> None:
    """It is built anew."""
    images = write_images(tmp_path / 'images', 2)
    whole = load_images(str(images), size=None).images.clone()
    (entry_of(cache) / 'index.json').unlink()
    (entry_of(cache) / 'images').write_bytes(b'')
    assert torch.equal(load_images(str(images), size=None).images, whole)


def test_entry_that_cannot_be_read(cache: Path, tmp_path: Path) -> None:
    """It is another user's, or damaged: one line says which, and what to do."""
    images = write_images(tmp_path / 'images', 2)
    load_images(str(images), size=None)
    entry = entry_of(cache)
    os.truncate(entry / 'images', 100)
    fault = rf'cache/{entry.name}: cannot be read from the cache \(.*\); remove it, or give .* in \$SCAE_ZOO_CACHE'
    with pytest.raises(ValueError, match=fault):
        load_images(str(images), size=None)
    (entry / 'index.json').unlink()
    (entry / 'index.json').mkdir()
    with pytest.raises(ValueError, match=fault):
        load_images(str(images), size=None)
    shutil.rmtree(entry)
    assert len(load_images(str(images), size=None)) == 2


def test_entry_of_an_earlier_version(
        cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It does not say what was left out, nor anything of masks."""
    images = write_images(tmp_path / 'images', 2)
    before = load_images(str(images), size=None)
    path = entry_of(cache) / 'index.json'
    index = json.loads(path.read_text())
    path.write_text(json.dumps({key: index[key] for key in ('shape', 'masks', 'unreadable')}))
    capsys.readouterr()
    after = load_images(str(images), size=None)
    assert torch.equal(after.images, before.images)
    assert after.origins.among(before.origins).tolist() == [0, 1]
    assert after.mask_indices == ()
    assert 'EXIF' not in capsys.readouterr().err


def test_labels_are_no_program(cache: Path, tmp_path: Path) -> None:
    """Others may write into a cache that is shared: NumPy's files can hold code."""
    class Program:
        def __reduce__(self) -> tuple:
            return (tmp_path / 'ran').touch, ()

    images = write_images(tmp_path / 'set' / 'cat', 2).parent
    load_images(str(images), size=None)
    np.save(entry_of(cache) / 'labels.npy', np.array([Program(), 0], object), allow_pickle=True)
    with pytest.raises(ValueError, match='cannot be read from the cache'):
        load_images(str(images), size=None)
    assert not (tmp_path / 'ran').exists()


@pytest.mark.skipif(os.getuid() != 0, reason="root alone can make another user's files")
def test_left_by_another_user(cache: Path, tmp_path: Path) -> None:
    """That process may be alive: what it builds stays; what ours have left goes."""
    images = write_images(tmp_path / 'images', 2)
    load_images(str(images), size=None)
    entry = entry_of(cache)
    shutil.rmtree(entry)
    ours, theirs = (cache / f'.{entry.name}.{name}' for name in ('ours', 'theirs'))
    for folder in (ours, theirs):
        folder.mkdir()
    os.chown(theirs, 12345, 12345)
    load_images(str(images), size=None)
    assert folders(cache) == sorted([theirs.name, entry.name])


def test_changed_file(cache: Path, tmp_path: Path) -> None:
    images = write_images(tmp_path / 'images', 2)
    before = load_images(str(images), size=None)
    stat = (images / '0000.png').stat()
    (images / '0000.png').write_bytes((images / '0001.png').read_bytes())
    os.utime(images / '0000.png', ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    after = load_images(str(images), size=None)
    assert not torch.equal(before.images, after.images)
    assert torch.equal(after.images[0], after.images[1])


def test_identity(cache: Path, tmp_path: Path) -> None:
    """The same for the same files elsewhere, another one for other files or another size."""
    here, there = (load_images(str(write_images(tmp_path / place / 'images', 2)), size=20) for place in 'ab')
    assert here.identity == there.identity
    assert load_images(str(tmp_path / 'a' / 'images'), size=24).identity != here.identity
    write_images(tmp_path / 'c' / 'images', 3)
    assert load_images(str(tmp_path / 'c' / 'images'), size=20).identity != here.identity


def test_decoded_in_parallel(cache: Path) -> None:
    """Each of these images can be read only while the other one is."""
    both = threading.Barrier(2, timeout=30)

    def image() -> Image.Image:
        both.wait()
        return Image.new('RGB', (4, 4))

    assert len(load(Source([Sample(name, image) for name in 'ab'], 2, (), 'two'), None)) == 2


def test_masks_are_opened_as_images_are(cache: Path, tmp_path: Path) -> None:
    """Turned as their EXIF says; what cannot be decoded is named."""
    image, mask = (Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4) + 10 * i) for i in range(2))
    exif = Image.Exif()
    exif[0x0112] = 3  # orientation: upside down
    for kind, picture in (('images', image), ('masks', mask)):
        (tmp_path / 'set' / kind).mkdir(parents=True)
        picture.save(tmp_path / 'set' / kind / '0.png', exif=exif)
    found = load_images(str(tmp_path / 'set'), size=None, masks=True)
    assert found.targets is not None
    assert torch.equal(found.targets[0], found.images[0, 0] + 10)
    assert found.images[0, 0, 0, 0] == 11
    path = tmp_path / 'set' / 'masks' / '0.png'
    for damaged in (path.read_bytes()[:60], b'nonsense', b''):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match='masks/0.png: ') as caught:
            load_images(str(tmp_path / 'set'), size=None, masks=True)
        assert '\n' not in str(caught.value)


def test_squares(cache: Path, tmp_path: Path) -> None:
    """The shorter side is scaled to the size, then the middle is taken."""
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, 20:60] = 200
    (tmp_path / 'images').mkdir()
    Image.fromarray(pixels).save(tmp_path / 'images' / '0.png')
    images = load_images(str(tmp_path / 'images'), size=20).images
    assert images.shape == (1, 3, 20, 20)
    assert (images[..., 2:-2] == 200).all()  # at the border the scaling mixes in what is beyond
