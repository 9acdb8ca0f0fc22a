"""What the cache makes of images: their middle, their labels and masks, and what it says of those it cannot read."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from scae_zoo.data.cache import Sample, Source, decode, load
from scae_zoo.data.named_sources import Passes
from scae_zoo.images import ImageError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('SCAE_ZOO_CACHE', str(tmp_path / 'cache'))


def grey(value: int, width: int = 4, height: int = 4) -> Image.Image:
    return Image.new('RGB', (width, height), (value,) * 3)


def source(*samples: Sample, total: int | None = None, classes: tuple[str, ...] = (), **more: Any) -> Source:
    return Source(list(samples), total, classes, 'mine', **more)


def broken(name: str) -> Sample:
    return Sample(name, b'nonsense')


def rows(pixels: np.ndarray) -> list[int]:
    assert (pixels == pixels[:, :1, :1]).all()
    return pixels[:, 0, 0].tolist()


@pytest.mark.parametrize('turned', [False, True])
def test_the_middle_of_long_images(turned: bool) -> None:
    """As it is where the shorter side has the size already; else scaled from just that part."""
    steps = np.arange(20, dtype=np.uint8)[:, None, None] * 10
    pixels = np.broadcast_to(steps, (20, 4, 3))

    def middle(size: int | None, longest: float = 1.) -> np.ndarray:
        image = Image.fromarray(pixels.swapaxes(0, 1).copy() if turned else pixels.copy())
        found = decode(Sample('x', image), size, longest)
        assert not isinstance(found, ImageError)
        return found.pixels.swapaxes(0, 1) if turned else found.pixels

    assert rows(middle(4)) == [80, 90, 100, 110]
    assert rows(middle(4, longest=2.)) == [60, 70, 80, 90, 100, 110, 120, 130]
    assert rows(middle(4, longest=2.5)) == [50, 60, 70, 80, 90, 100, 110, 120, 130, 140]
    assert rows(middle(4, longest=9.)) == rows(middle(None)) == [10 * i for i in range(20)]
    assert middle(2).shape == (2, 2, 3)
    assert middle(2, longest=2.).shape == (4, 2, 3)
    assert rows(middle(2)) == pytest.approx([85, 105], abs=4)
    assert rows(middle(2, longest=2.)) == pytest.approx([65, 85, 105, 125], abs=4)
    assert rows(middle(8))[:2] == pytest.approx([78, 82], abs=4)


def test_masks_are_scaled_to_values_that_were_there(tmp_path: Path) -> None:
    mask = np.zeros((8, 8), np.uint8)
    mask[:, 3:] = 9
    Image.fromarray(mask).save(tmp_path / 'mask.png')
    grey(0, 8, 8).save(tmp_path / 'x.png')
    images = load(source(Sample('x', tmp_path / 'x.png', mask=tmp_path / 'mask.png')), 5)
    assert images.targets is not None
    assert images.targets.shape == (1, 5, 5)
    assert images.targets.dtype == torch.uint8
    assert set(images.targets.flatten().tolist()) == {0, 9}
    assert images.mask_indices == (0, 9)


def test_labels() -> None:
    numbered = load(source(*(Sample(str(i), grey(i), i) for i in (2, 0, 1))), None)
    assert numbered.targets is not None
    assert (numbered.targets.tolist(), numbered.targets.dtype) == ([2, 0, 1], torch.int64)
    assert numbered.classes == ('0', '1', '2')
    two = source(Sample('x', grey(0), 1), Sample('y', grey(0), 2), classes=('a', 'b'), version='two')
    with pytest.raises(ValueError, match='mine: has label 2, but only 2 classes'):
        load(two, None)
    many = load(source(Sample('x', grey(0), [1., 0., -1.]), classes=('a', 'b', 'c'), version='many'), None)
    assert many.targets is not None
    assert (many.targets.tolist(), many.targets.dtype) == ([[1, 0, -1]], torch.float32)
    some = source(Sample('x', grey(0), 1), Sample('y', grey(0)), version='some')
    assert load(some, None).targets is None
    assert [each.labelled for each in (two, some, source(), Source(Passes(lambda: iter(())), 0, (), ''))] == [
        True, False, True, False]


def test_many_images_stay_in_order() -> None:
    images = load(source(*(Sample(str(i), grey(i)) for i in range(150)), total=150), None)
    assert images.images[:, 0, 0, 0].tolist() == list(range(150))
    assert images.images.shape == (150, 3, 4, 4)
    assert images.identity == 'mine'
    assert load(source(Sample('x', grey(3, 8, 8))), 4).identity == 'mine 4'


@pytest.mark.parametrize('number', [1, 2])
def test_a_few_that_cannot_be_read(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Named while they are decoded, and whenever they are not there afterwards; the others keep what they are."""
    samples = [Sample('0', grey(0)), *map(broken, 'ab'[:number]), *(Sample(str(i), grey(i)) for i in (1, 2))]
    everything = load(source(*(Sample(str(i), grey(i)) for i in range(len(samples))), version='whole'), None).origins
    mine = source(*samples, total=len(samples), origins=everything)
    capsys.readouterr()
    images = load(mine, None, max_unreadable=number / len(samples))
    assert images.images[:, 0, 0, 0].tolist() == [0, 1, 2]
    assert images.origins is not None
    assert everything is not None
    assert images.origins.keys.tolist() == [everything.keys[i] for i in (0, number + 1, number + 2)]
    error = capsys.readouterr().err
    assert all(f'left out: {name}: ' in error for name in 'ab'[:number])
    again = load(mine, None, max_unreadable=number / len(samples))
    assert again.origins is not None
    assert again.origins.keys.tolist() == images.origins.keys.tolist()
    line, = (line for line in capsys.readouterr().err.splitlines() if line.startswith('left out'))
    assert line.startswith('left out: a: ')
    assert ('; 2 such files; to try again, remove ' in line) == (number == 2)
    assert ('such files' in line) == (number == 2)
    for total, seen in ((len(samples), 1), (None, number)):  # where that is not known, all are looked at first
        with pytest.raises(ValueError, match=rf'a: .*; {seen} such files of {len(samples)} are more than 15.0%'):
            load(source(*samples, total=total, version=str(total)), None, max_unreadable=0.15)
    with pytest.raises(ValueError, match=f'a: .*; {number} such files of {len(samples)} are more than 15.0%'):
        load(mine, None, max_unreadable=0.15)  # also where they were left out before


def test_images_that_a_reader_drops() -> None:
    """Of six there are four."""
    four = [Sample(str(i), grey(i)) for i in range(4)]
    with pytest.raises(ValueError, match='mine: 2 images are missing or cannot be read; 2 such files of 6 are more'):
        load(source(*four, total=6), None)
    assert len(load(source(*four, total=6), None, max_unreadable=0.4)) == 4
    with pytest.raises(ValueError, match='mine: has no image'):
        load(source(version='empty'), None)


def test_images_of_several_sizes() -> None:
    with pytest.raises(ValueError, match='y: 6x5 pixels, but x has 4x3; all images must have one size here, or give'):
        load(source(Sample('x', grey(0, 4, 3)), Sample('y', grey(0, 6, 5))), None)


def test_images_are_given_in_many_ways(tmp_path: Path) -> None:
    stored = io.BytesIO()
    grey(7).save(stored, 'PNG')
    (tmp_path / '7.png').write_bytes(stored.getvalue())
    for image in (grey(7), stored.getvalue(), tmp_path / '7.png', lambda: grey(7), stored.getvalue):
        found = decode(Sample('x', image), None)
        assert not isinstance(found, ImageError)
        assert rows(found.pixels) == [7] * 4
        assert found.mask is None


def test_what_is_wrong_with_an_image(tmp_path: Path) -> None:
    def cut_off() -> bytes:
        raise OSError('connection reset')

    (tmp_path / 'a.png').write_bytes(b'nonsense')
    for image in (b'nonsense', tmp_path / 'a.png', cut_off):
        found = decode(Sample('the name', image), None)
        assert isinstance(found, ImageError)
        assert str(found).startswith('the name: ')
    assert str(found) == 'the name: cannot be read (connection reset)'
