"""``scae reconstruct --noise none``: what becomes of a picture's kind, profile, transparency and place."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from scae_zoo.cli import main

from ..data.test_deep_images import write_png, write_tiff

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
Y, X = np.mgrid[:30, :40]
SMOOTH = (X * 3 + Y * 4).astype(np.uint8)
COLOURS = np.stack([SMOOTH, 255 - SMOOTH, SMOOTH // 2], axis=2)
ALPHA = (X * 6).astype(np.uint8)


def restored(path: Path) -> Image.Image:
    out = path.parent / 'out'
    assert main(['reconstruct', str(path), '--noise', 'none', '-o', str(out)]) == 0
    return Image.open(out / f'{path.stem}_reconstruction.png')


def near(picture: Image.Image, pixels: np.ndarray) -> bool:
    """Smooth pixels are hardly changed."""
    return np.abs(np.asarray(picture).astype(int) - pixels).mean() < 6


@pytest.mark.parametrize(('suffix', 'mode'), [('jpg', 'RGB'), ('png', 'RGBA'), ('tif', 'L'), ('png', 'LA')])
def test_colour_profile_and_resolution_stay(tmp_path: Path, suffix: str, mode: str) -> None:
    path = tmp_path / f'photograph.{suffix}'
    Image.fromarray(COLOURS).convert(mode).save(path, icc_profile=PROFILE, dpi=(300, 300))
    picture = restored(path)
    assert picture.mode == mode
    assert picture.info['icc_profile'] == PROFILE
    assert picture.info['dpi'] == pytest.approx((300, 300), abs=0.1)


def test_a_profile_of_other_colours_goes_and_that_is_said(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cmyk = PROFILE[:16] + b'CMYK' + PROFILE[20:]
    Image.fromarray(COLOURS).convert('CMYK').save(tmp_path / 'print.jpg', icc_profile=cmyk)
    picture = restored(tmp_path / 'print.jpg')
    assert picture.mode == 'RGB'
    assert 'icc_profile' not in picture.info
    assert capsys.readouterr().out.endswith('.png (RGB for CMYK, without its colour profile)\n')


@pytest.mark.parametrize('mode', ['RGBA', 'LA', 'PA', 'P'])
def test_transparency_stays_and_hides_no_colour(tmp_path: Path, mode: str) -> None:
    picture = Image.fromarray(COLOURS if mode != 'LA' else SMOOTH)
    path = tmp_path / ('image.tif' if mode == 'PA' else 'image.png')
    if mode == 'P':  # with an index that is transparent
        picture = picture.convert('P', palette=Image.Palette.ADAPTIVE)
        picture.save(path, transparency=picture.getpixel((0, 0)))
    else:
        picture.putalpha(Image.fromarray(ALPHA))
        picture.convert(mode).save(path)
    with Image.open(path) as stored:
        colours, alpha = (np.asarray(stored.convert('RGBA'))[..., part] for part in (slice(3), 3))
    result = restored(path)
    assert result.mode == ('LA' if mode == 'LA' else 'RGBA')
    assert np.array_equal(np.asarray(result.getchannel('A')), alpha)
    assert alpha.min() == 0
    assert near(result.convert('RGB'), colours) or mode in ('P', 'PA')  # whose few colours are noise


@pytest.mark.parametrize('mode', ['1', 'L', 'P', 'I;16', 'F'])
def test_grey_stays_grey(tmp_path: Path, mode: str, capsys: pytest.CaptureFixture[str]) -> None:
    pixels = {'I;16': SMOOTH.astype(np.uint16) * 16, 'F': SMOOTH.astype(np.float32), '1': X > 20}.get(mode, SMOOTH)
    picture = Image.fromarray(pixels)
    if mode == 'P':
        picture = picture.convert('P')
    assert picture.mode == mode
    picture.save(tmp_path / 'image.tif')
    result = restored(tmp_path / 'image.tif')
    assert result.mode == 'L'
    assert near(result, pixels * 255 if mode == '1' else SMOOTH)
    assert capsys.readouterr().out.endswith(
        '.png (8 bits a channel)\n' if mode in ('I;16', 'F') else '_reconstruction.png\n')


def test_grey_with_alpha_of_16_bits(tmp_path: Path) -> None:
    result = restored(write_png(tmp_path / 'image.png', np.stack([SMOOTH, ALPHA], axis=2).astype(np.uint16) * 257))
    assert result.mode == 'LA'
    assert near(result.getchannel('L'), SMOOTH)
    assert np.array_equal(np.asarray(result.getchannel('A')), ALPHA)


def test_grey_that_is_multiplied_with_its_alpha(tmp_path: Path) -> None:
    pixels = np.stack([SMOOTH // 2, np.full_like(SMOOTH, 128)], axis=2)
    result = restored(write_tiff(tmp_path / 'image.tif', pixels, alpha=1))
    assert result.mode == 'LA'
    assert near(result.getchannel('L'), SMOOTH)
    assert set(np.unique(result.getchannel('A'))) == {128}


@pytest.mark.parametrize('suffix', ['jpg', 'png', 'tif'])
def test_a_photograph_is_turned_once(tmp_path: Path, suffix: str) -> None:
    """Its pixels stand upright, and no tag turns them again."""
    image = Image.fromarray(COLOURS)
    exif = image.getexif()
    exif[0x0112] = 6  # by 90 degrees
    image.save(tmp_path / f'photograph.{suffix}', exif=exif)
    result = restored(tmp_path / f'photograph.{suffix}')
    assert result.size == (30, 40)
    assert near(result, np.rot90(COLOURS, 3))
    assert result.getexif().get(0x0112, 1) == 1


def test_with_noise_the_three_are_shown_as_before(tmp_path: Path) -> None:
    path = tmp_path / 'image.png'
    Image.fromarray(COLOURS).convert('LA').save(path, icc_profile=PROFILE)
    assert main(['reconstruct', str(path), '-o', str(tmp_path)]) == 0
    with Image.open(tmp_path / 'image_gaussian-25.png') as picture:
        assert picture.mode == 'RGB'
        assert 'icc_profile' not in picture.info


def test_a_damaged_image_is_named_and_the_others_are_done(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / 'bad.png').write_text('no image')
    Image.fromarray(COLOURS).save(tmp_path / 'good.png')
    arguments = [str(tmp_path / name) for name in ('bad.png', 'good.png')]
    assert main(['reconstruct', *arguments, '--noise', 'none', '-o', str(tmp_path / 'out')]) == 1
    assert 'bad.png: is no image' in capsys.readouterr().err
    assert [path.name for path in (tmp_path / 'out').iterdir()] == ['good_reconstruction.png']
