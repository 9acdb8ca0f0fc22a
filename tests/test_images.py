"""Images of every mode and size become RGB, and reconstruction works at any size."""

import struct
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from scae_zoo import create_autoencoder, create_segmenter
from scae_zoo.data.masks import open_pair
from scae_zoo.images import ImageError, open_rgb, save_png, side_by_side
from scae_zoo.inference.strips import reconstruct

from .support.networks import ARCHITECTURES, SHIPPED, randomize

RAMP = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20


@pytest.mark.parametrize('mode', ['L', 'RGB', 'RGBA', 'LA', 'P', 'CMYK'])
def test_eight_bit_modes(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ('image.tif' if mode in ('CMYK', 'LA') else 'image.png')
    Image.fromarray(RAMP).convert('RGB').convert(mode, palette=Image.Palette.ADAPTIVE).save(path)
    pixels = open_rgb(path)
    assert pixels.shape == (3, 4, 3)
    assert pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - RAMP[:, :, None]).max() <= 2


def test_black_and_white(tmp_path: Path) -> None:
    Image.fromarray(RAMP > 100).save(tmp_path / 'image.png')
    assert np.array_equal(open_rgb(tmp_path / 'image.png')[:, :, 0], np.where(RAMP > 100, 255, 0))


def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path) -> None:
    Image.fromarray(RAMP.astype(np.uint16) * 257).save(tmp_path / 'image.png')
    assert np.array_equal(open_rgb(tmp_path / 'image.png'), np.repeat(RAMP[:, :, None], 3, axis=2))


@pytest.mark.parametrize('scale', [1, 1 / 255])
def test_float_images(tmp_path: Path, scale: float) -> None:
    Image.fromarray(RAMP.astype(np.float32) * np.float32(scale)).save(tmp_path / 'image.tif')
    assert np.array_equal(open_rgb(tmp_path / 'image.tif')[:, :, 1], RAMP)


@pytest.mark.parametrize('dtype', [np.float32, np.int32])
def test_values_beyond_the_range_are_scaled_by_their_maximum(tmp_path: Path, dtype: type) -> None:
    pixels = (RAMP / RAMP.max() * 1e6).astype(dtype)
    Image.fromarray(pixels).save(tmp_path / 'image.tif')
    assert np.array_equal(open_rgb(tmp_path / 'image.tif')[:, :, 1], np.rint(pixels / 1e6 * 255))


def test_infinite_values_do_not_change_the_others(tmp_path: Path) -> None:
    pixels = RAMP.astype(np.float32)
    pixels[0] = np.nan, np.inf, -np.inf, 0
    Image.fromarray(pixels).save(tmp_path / 'image.tif')
    found = open_rgb(tmp_path / 'image.tif')[:, :, 1]
    assert np.array_equal(found[1:], RAMP[1:])
    assert found[0].tolist() == [0, 255, 0, 0]


def test_transparency_is_white(tmp_path: Path) -> None:
    Image.new('RGBA', (5, 4), (0, 0, 0, 0)).save(tmp_path / 'image.png')
    assert (open_rgb(tmp_path / 'image.png') == 255).all()


def test_photographs_stand_upright(tmp_path: Path) -> None:
    image = Image.new('RGB', (40, 20), 'red')
    exif = image.getexif()
    exif[0x0112] = 6  # orientation: turn by 90 degrees
    image.save(tmp_path / 'image.jpg', exif=exif)
    assert open_rgb(tmp_path / 'image.jpg').shape == (40, 20, 3)


@pytest.mark.parametrize('mode', ['L', 'I;16', 'P', 'RGB', 'RGBA', 'CMYK'])
@pytest.mark.parametrize('compression', ['raw', 'tiff_lzw'])
@pytest.mark.parametrize('orientation', [1, 3, 6, 8])
def test_upright_tiff(tmp_path: Path, mode: str, compression: str, orientation: int) -> None:
    image = Image.fromarray(RAMP.astype(np.uint16) * 257) if mode == 'I;16' else Image.fromarray(RAMP).convert(mode)
    image.save(tmp_path / 'image.tif', compression=compression, tiffinfo={0x0112: orientation})
    turned = np.rot90(RAMP, {1: 0, 3: 2, 6: 3, 8: 1}[orientation])
    if mode in ('L', 'P'):
        found = open_pair(tmp_path / 'image.tif', tmp_path / 'image.tif')
        assert found.mask.shape == found.pixels.shape[:2] == turned.shape
    assert np.abs(open_rgb(tmp_path / 'image.tif')[:, :, 0].astype(int) - turned).max() <= 2


def test_damaged_exif_is_named(tmp_path: Path) -> None:
    """The image itself can be decoded; its width, text in place of a number, cannot be put into upright EXIF."""
    entries = b''.join(struct.pack('<HHI4s', *entry) for entry in (
        (256, 2, 4, b'wid\0'), (274, 3, 1, b'\6\0\0\0')))
    path = tmp_path / 'image.jpg'
    Image.new('RGB', (8, 8)).save(path, exif=b'Exif\0\0II*\0\x08\0\0\0\2\0' + entries + bytes(4))
    with pytest.raises(ImageError, match=f'{path}: is a damaged image'):
        open_rgb(path)


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new('RGB', (8, 8), colour) for colour in ('red', 'blue')]
    frames[0].save(tmp_path / 'image.gif', save_all=True, append_images=frames[1:])
    assert tuple(open_rgb(tmp_path / 'image.gif')[0, 0]) == (255, 0, 0)


def test_bad_files_are_named_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tmp_path / 'whole.png'
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 60, 3), np.uint8)).save(whole)
    cut = tmp_path / 'cut.png'
    cut.write_bytes(whole.read_bytes()[:4000])
    text = tmp_path / 'text.png'
    text.write_text('no image')
    empty = tmp_path / 'empty.png'
    empty.touch()
    for path in (cut, text, empty, tmp_path, tmp_path / 'none.png'):
        with pytest.raises(ImageError) as caught:
            open_rgb(path)
        assert str(path) in str(caught.value)
        assert '\n' not in str(caught.value)
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 1000)
    with pytest.raises(ImageError, match='too many pixels'):
        open_rgb(whole)


@pytest.mark.parametrize('size', [(1, 1), (500, 3), (32, 32), (300, 700)])
def test_pictures_hold_the_panels_pixel_by_pixel(tmp_path: Path, size: tuple[int, int]) -> None:
    panels = [np.full((*size, 3), value, np.uint8) for value in (50, 100, 150)]
    save_png(side_by_side(panels, ['input', 'noise 20.00 dB', 'reconstruction 30.00 dB']), tmp_path / 'picture.png')
    pixels = open_rgb(tmp_path / 'picture.png')
    zoom = max(1, 192 // max(size))
    for value in (50, 100, 150):
        assert (pixels == value).all(axis=2).sum() >= size[0] * size[1] * zoom ** 2


@pytest.mark.parametrize('size', [(1, 1), (3, 40), (16, 17), (31, 18)])
def test_any_size_is_reconstructed(size: tuple[int, int]) -> None:
    model = create_autoencoder(SHIPPED, pretrained=True)
    x = torch.zeros(1, 3, *size)
    assert reconstruct(model, x).shape == x.shape


@pytest.mark.parametrize('name', ARCHITECTURES)
@pytest.mark.parametrize('kind', ['autoencoder', 'segmenter'])
def test_strips_are_not_seen(name: str, kind: str) -> None:
    model = randomize(create_autoencoder(name) if kind == 'autoencoder' else create_segmenter(name, 5, init='random'))
    x = torch.randn(1, 3, *((75, 141) if kind == 'autoencoder' else (76, 142)))
    whole = reconstruct(model, x)
    cut = reconstruct(model, x, strip=4096)
    assert (cut - whole).abs().max() <= 1e-4 * whole.abs().max()


@pytest.mark.parametrize('format', ['PNG', 'JPEG', 'WEBP', 'GIF', 'BMP', 'TIFF'])
def test_open_files_are_read_from_their_beginning(format: str) -> None:
    """Whatever they can do, and wherever they were left."""
    class Plain:
        def __init__(self, file: BytesIO) -> None:
            self.read, self.readline, self.seek, self.tell = file.read, file.readline, file.seek, file.tell

    Image.new('RGB', (5, 4), 'red').save(file := BytesIO(), format)
    expected = open_rgb(BytesIO(file.getvalue()))
    file.seek(7)
    assert np.array_equal(open_rgb(file), expected)
    file.seek(0)
    assert np.array_equal(open_rgb(Plain(file)), expected)


def test_names_do_not_say_what_a_file_is(tmp_path: Path) -> None:
    Image.new('RGB', (5, 4), 'red').save(path := tmp_path / 'photo.jpg', 'PNG')
    assert (open_rgb(path) == (255, 0, 0)).all()
