"""Images of more than 8 bits a channel, and of negative values, come out visible."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scae_zoo.images import open_rgb

RAMP = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20  # up to 220

BITS_PER_SAMPLE, COMPRESSION, PHOTOMETRIC, MAX_SAMPLE_VALUE, SAMPLE_FORMAT = 258, 259, 262, 281, 339


def write_tiff(
        path: Path, pixels: np.ndarray, order: str = '<', bits: int = 0, alpha: int = 2, **more: int) -> Path:
    """An uncompressed TIFF of any type of numbers, H x W or H x W x C; ``more``: tags by their numbers."""
    height, width, channels = (*pixels.shape, 1)[:3]
    data = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes() if not bits else _packed(pixels, bits)
    kind = {'u': 1, 'i': 2, 'f': 3}[pixels.dtype.kind]
    depth = bits or pixels.itemsize * 8
    entries = [
        (256, 'H', [width]), (257, 'H', [height]), (BITS_PER_SAMPLE, 'H', [depth] * channels), (COMPRESSION, 'H', [1]),
        (PHOTOMETRIC, 'H', [2 if channels > 2 else 1]), (273, 'I', [0]), (277, 'H', [channels]), (278, 'H', [height]),
        (279, 'I', [len(data)]), *((int(tag), 'H', [value] * channels) for tag, value in more.items()),
        (SAMPLE_FORMAT, 'H', [kind] * channels)]
    if channels in (2, 4):
        entries.insert(-1, (338, 'H', [alpha]))  # 1: the colours are multiplied with it
    end, rest, rows = 8 + 2 + 12 * len(entries) + 4, b'', b''
    for tag, code, values in sorted(entries):
        values = [end + 100] if tag == 273 else values  # where the pixels are
        packed = struct.pack(f'{order}{len(values)}{code}', *values)
        if len(packed) > 4:
            packed, rest = struct.pack(f'{order}I', end + len(rest)), rest + packed
        rows += struct.pack(f'{order}HHI', tag, 3 if code == 'H' else 4, len(values)) + packed.ljust(4, b'\0')
    mark = b'II' if order == '<' else b'MM'
    path.write_bytes(mark + struct.pack(f'{order}HIH', 42, 8, len(entries)) + rows + bytes(4) + rest.ljust(100, b'\0')
                     + data)
    return path


def _packed(pixels: np.ndarray, bits: int) -> bytes:
    rows = [''.join(f'{value:0{bits}b}' for value in row) for row in pixels.tolist()]
    return b''.join(int(row, 2).to_bytes(-(-len(row) // 8)) for row in rows)


def write_png(path: Path, pixels: np.ndarray) -> Path:
    """A PNG with 16 bits a channel, H x W x C; Pillow writes no such colours."""
    height, width, channels = pixels.shape
    rows = b''.join(b'\0' + row.astype('>u2').tobytes() for row in pixels)
    chunks = ((b'IHDR', struct.pack('>IIBBBBB', width, height, 16, {2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)),
              (b'IDAT', zlib.compress(rows)), (b'IEND', b''))
    path.write_bytes(b'\x89PNG\r\n\x1a\n' + b''.join(
        struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
        for kind, data in chunks))
    return path


def expected(pixels: np.ndarray, black: float, white: float) -> np.ndarray:
    return np.rint((pixels.astype(float) - black) / (white - black) * 255)


def grey(path: Path) -> np.ndarray:
    found = open_rgb(path)
    assert found.dtype == np.uint8
    assert (found == found[:, :, :1]).all()
    return found[:, :, 0]


@pytest.mark.parametrize('suffix', ['png', 'tif'])
@pytest.mark.parametrize(('top', 'white'), [
    (200, 255), (255, 255), (256, 1023), (1023, 1023), (1024, 4095), (4000, 4095), (4095, 4095), (5000, 16383),
    (16383, 16383), (16384, 65535), (40000, 65535), (65535, 65535)])
def test_white_is_that_of_the_bits_that_are_used(tmp_path: Path, suffix: str, top: int, white: int) -> None:
    pixels = np.rint(RAMP / 220 * top).astype(np.uint16)
    Image.fromarray(pixels).save(tmp_path / f'image.{suffix}')
    assert np.array_equal(grey(tmp_path / f'image.{suffix}'), expected(pixels, 0, white))


def test_white_is_what_the_file_says(tmp_path: Path) -> None:
    """A dark image of a camera, and a dark photograph with 16 bits, which is not lightened."""
    pixels = RAMP.astype(np.uint16)
    for most, white in ((4095, 4095), (65535, 65535), (100, 255)):
        path = write_tiff(tmp_path / 'image.tif', pixels, **{str(MAX_SAMPLE_VALUE): most})
        assert np.array_equal(grey(path), expected(pixels, 0, white))
    assert np.array_equal(grey(write_tiff(path, pixels, bits=12)), expected(pixels, 0, 4095))


def test_grey_maps_are_what_they_say(tmp_path: Path) -> None:
    """PGM has its white in its header."""
    pixels = RAMP.astype(np.uint16)
    for most in (300, 4095, 65535):
        (tmp_path / 'image.pgm').write_bytes(b'P5 4 3 %d\n' % most + pixels.astype('>u2').tobytes())
        assert np.abs(grey(tmp_path / 'image.pgm') - expected(pixels, 0, most)).max() <= 1


@pytest.mark.parametrize('order', ['<', '>'])
@pytest.mark.parametrize('dtype', [np.int16, np.int32])
@pytest.mark.parametrize(('low', 'high', 'white'), [
    (-1024, 3071, 3071), (-1024, 1500, 3071), (-100, 100, 155), (-32768, 32767, 32767), (0, 4000, 4095)])
def test_signed_tiff(tmp_path: Path, order: str, dtype: type, low: int, high: int, white: int) -> None:
    """The least value is black where it is negative: CT has -1024 to 3071."""
    pixels = np.rint(low + RAMP / 220 * (high - low)).astype(dtype)
    assert np.array_equal(grey(write_tiff(tmp_path / 'image.tif', pixels, order)), expected(pixels, low, white))


def test_signed_bytes(tmp_path: Path) -> None:
    pixels = (RAMP.astype(int) - 100).astype(np.int8)
    assert np.array_equal(grey(write_tiff(tmp_path / 'image.tif', pixels)), RAMP)
    path = write_tiff(tmp_path / 'image.tif', (RAMP // 2).astype(np.int8))
    assert np.array_equal(grey(path), RAMP // 2)


@pytest.mark.parametrize('top', [2 ** 20, 2 ** 32 - 1])
def test_32_bits(tmp_path: Path, top: int) -> None:
    """Also beyond what a signed number holds."""
    pixels = np.rint(RAMP / 220 * top).astype(np.uint32)
    assert np.array_equal(grey(write_tiff(tmp_path / 'image.tif', pixels)), expected(pixels, 0, top))


@pytest.mark.parametrize(('low', 'high', 'black', 'white'), [
    (0, 0.5, 0, 1), (0, 1, 0, 1), (0, 1.02, 0, 1.02), (0, 10, 0, 10), (0, 200, 0, 255), (0, 3000, 0, 3000),
    (-1, 1, -1, 1), (-0.01, 0.9, -0.01, 0.99), (-1024, 3071, -1024, 3071), (-2.1, 2.6, -2.1, 2.6)])
def test_floating_point(tmp_path: Path, low: float, high: float, black: float, white: float) -> None:
    pixels = (low + RAMP / 220 * (high - low)).astype(np.float32)
    found = grey(write_tiff(tmp_path / 'image.tif', pixels))
    assert np.abs(found - expected(pixels, black, white)).max() <= 1


@pytest.mark.parametrize('top', [15, 255, 4095, 16383, 30000])
@pytest.mark.parametrize('kind', ['png', '<', '>'])
@pytest.mark.parametrize('channels', [3, 4])
def test_colours_of_16_bits(tmp_path: Path, top: int, kind: str, channels: int) -> None:
    """Of which Pillow gives the high bytes."""
    pixels = np.stack([RAMP, RAMP.T.reshape(3, 4), RAMP[::-1], np.full_like(RAMP, 220)], axis=2)[..., :channels]
    pixels = np.rint(pixels / 220 * top).astype(np.uint16)
    pixels[..., 3:] = 65535  # opaque
    path = tmp_path / f'image.{kind if kind == "png" else "tif"}'
    write_png(path, pixels) if kind == 'png' else write_tiff(path, pixels, kind)
    white = next(2 ** bits - 1 for bits in (8, 10, 12, 14, 16) if top < 2 ** bits)
    assert np.abs(open_rgb(path) - expected(pixels[..., :3], 0, white)).max() <= (white == 65535)


def test_a_constant_image_is_no_fault(tmp_path: Path) -> None:
    for dtype in (np.uint16, np.int16, np.int32, np.float32):
        for value in (0, 7) if dtype == np.uint16 else (0, 7, -7):
            pixels = np.full((3, 4), value, dtype)
            found = grey(write_tiff(tmp_path / 'image.tif', pixels))
            assert len(np.unique(found)) == 1
