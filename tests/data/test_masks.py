"""Masks as people have them: few bits or many, other values, colours, rotated photographs; and what is refused."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from scae_zoo.checkpoints.folder import open_folder
from scae_zoo.data.cache import load
from scae_zoo.data.masks import values_of
from scae_zoo.data.sources import Pairs, find_source, load_images, with_mask_values

from ..support.pictures import png, refused, save, tiff
from ..support.training_commands import SMALL, run

STEPS = np.arange(12, dtype=np.uint8).reshape(3, 4)  # a mask of 4 x 3 pixels
START = ('--model', 'scae_springenberg9', '--init', 'random', *SMALL)


def masked(folder: Path, *masks: Image.Image | bytes, suffix: str = '.png', classes: str = '', **options: Any) -> Path:
    """A folder of images of one colour, 4 x 3 pixels or a mask's, with these masks."""
    for i, mask in enumerate(masks):
        save(folder / 'images' / f'{i}.png', i, (4, 3) if isinstance(mask, bytes) else mask.size)
        path = folder / 'masks' / f'{i}{suffix}'
        path.parent.mkdir(exist_ok=True)
        if isinstance(mask, bytes):
            path.write_bytes(mask)
        else:
            mask.save(path, **options)
    if classes:
        (folder / 'classes.txt').write_text(classes)
    return folder


def first_mask(folder: Path) -> np.ndarray:
    """The same whether it is trained or measured on."""
    targets = load_images(str(folder), size=None, masks=True).targets
    assert targets is not None
    _, mask = next(iter(Pairs(find_source(str(folder), masks=True))))
    assert torch.equal(targets[0], mask)
    return mask.numpy()


@pytest.mark.parametrize('write', [png, tiff, lambda pixels, bits: png(pixels, bits, palette=True)])
@pytest.mark.parametrize('bits', [1, 2, 4])
def test_few_bits_are_not_scaled(tmp_path: Path, write: Any, bits: int) -> None:
    pixels = STEPS % 2 ** bits
    assert np.array_equal(first_mask(masked(tmp_path, write(pixels, bits))), pixels)


@pytest.mark.parametrize('header', [b'P5\n4 3\n11\n', b'P5\n4 3\n255\n', b'P5\n4 3\n300\n'])
def test_pgm_of_another_range_is_not_scaled(tmp_path: Path, header: bytes) -> None:
    data = STEPS.astype('>u2').tobytes() if b'300' in header else STEPS.tobytes()
    assert np.array_equal(first_mask(masked(tmp_path, header + data, suffix='.ppm')), STEPS)


@pytest.mark.parametrize('kind', ['uint16', 'int32', 'float32'])
def test_many_bits(tmp_path: Path, kind: str) -> None:
    suffix = '.png' if kind == 'uint16' else '.tif'
    pixels = STEPS.astype(kind)
    pixels[0, 0] = 255
    folder = masked(tmp_path, Image.fromarray(pixels), suffix=suffix)
    assert np.array_equal(first_mask(folder), pixels)
    pixels[1, 1] = 300
    masked(tmp_path, Image.fromarray(pixels), suffix=suffix)
    refused(tmp_path, rf'masks/0{suffix}: has the value 300; a mask has class indices up to 254, .* --mask-values',
            masks=True)
    if kind == 'float32':
        pixels[1, 1] = 0.5
        masked(tmp_path, Image.fromarray(pixels), suffix=suffix)
        refused(tmp_path, r'masks/0.tif: has the value 0.5; class indices are whole numbers', masks=True)


def test_alpha_that_says_nothing(tmp_path: Path) -> None:
    grey = Image.fromarray(STEPS)
    assert np.array_equal(first_mask(masked(tmp_path, grey.convert('LA'))), STEPS)
    alpha = Image.new('L', grey.size, 255)
    alpha.putpixel((0, 0), 254)
    grey.putalpha(alpha)
    refused(masked(tmp_path, grey), 'masks/0.png: is partly transparent', masks=True)


@pytest.mark.parametrize(('kind', 'options'), [
    ('JPEG', {'quality': 100}), ('TIFF', {'compression': 'jpeg'}), ('WEBP', {'quality': 90})])
def test_lossy_masks_are_refused(tmp_path: Path, kind: str, options: dict[str, Any]) -> None:
    """Whatever they are called, and however few they are."""
    exact = Image.new('L', (16, 16), 1)
    folder = masked(tmp_path, exact, exact.convert('RGB') if kind == 'WEBP' else exact, format=kind, **options)
    refused(folder, f'masks/0.png: is a {kind} image, whose compression can change the values', masks=True,
            max_unreadable=1)


def test_values_of_many_masks() -> None:
    masks = torch.zeros(600, 1, 2, dtype=torch.uint8)
    masks[0, 0, 1], masks[599, 0, 0] = 7, 255
    assert values_of(masks) == [0, 7, 255]


@pytest.mark.parametrize(('values', 'ways'), [
    ([0, 170], 'are 0, 170 .*--mask-values 0,170 .*names the classes 0 to 170'),
    ([1, 2, 3, 255], 'are 1, 2, 3 .*--mask-values 1,2,3 .*names the classes 0 to 3'),
    ([0, 1, 3], 'are 0, 1, 3 .*--mask-values 0,1,3 '),
    (list(range(0, 200, 10)), r'are 0, 10, .*, 110, \.\.\. \(20 values\) .*--mask-values VALUE,VALUE,\.\.\. '),
    ([0, 255], 'no class but 0 .*--mask-values 0,255 makes 255 class 1'),
    ([255], 'no class but 0 .*give each pixel the number of its class'),
])
def test_values_that_are_no_class_numbers(
        tmp_path: Path, capsys: pytest.CaptureFixture[str], values: list[int], ways: str) -> None:
    """Each in a mask of its own."""
    folder = masked(tmp_path / 'set', *(Image.new('L', (20, 20), value) for value in values))
    assert run('segment', folder, *START, '-o', tmp_path / 'run') == 2
    error = capsys.readouterr().err.strip()
    assert error.splitlines()[-1].startswith('scae: error: ')
    assert re.search(ways, error)
    assert not (tmp_path / 'run').exists()


def test_classes_beyond_the_crop(tmp_path: Path) -> None:
    """Those at the border, which is cut off, leave no gap; each is a class."""
    pixels = np.full((20, 40), 2, np.uint8)
    pixels[:, :3], pixels[:, 3:6], pixels[:, -3:] = 0, 1, 3
    folder = masked(tmp_path / 'set', *[Image.fromarray(pixels)] * 8)
    assert run('segment', folder, *START, '-o', tmp_path / 'run') == 0
    assert open_folder(tmp_path / 'run').config['pretrained_cfg']['label_names'] == ['0', '1', '2', '3']


def test_values_that_stand_for_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For training, measuring, and later measuring; black and white is what 255 would not be counted in."""
    squares = np.zeros((20, 20), np.uint8)
    squares[5:15, 5:15] = 255
    for split in ('train', 'test'):
        masked(tmp_path / 'set' / split, *[Image.fromarray(squares)] * 4)
    out = tmp_path / 'run'
    assert run('segment', tmp_path / 'set', *START, '--mask-values', '0,255', '-o', out) == 0
    config = json.loads((out / 'run.json').read_text())
    assert config['mask_values'] == [0, 255]
    assert all('mask values 0,255' in config[key] for key in ('data', 'test'))
    trained = open_folder(out)
    assert trained.config['pretrained_cfg']['label_names'] == ['0', '1']
    capsys.readouterr()
    assert run('evaluate', out, '--data', tmp_path / 'set') == 0  # as it was trained
    printed = capsys.readouterr()
    assert f'mean IoU  {trained.metrics["mean_iou"]["value"]:.2f} %' in printed.out
    assert 'was trained with --mask-values 0,255: so these masks are read, too' in printed.err
    assert run('evaluate', out, '--data', tmp_path / 'set', '--mask-values', '255,0') == 0
    assert f'mean IoU  {trained.metrics["mean_iou"]["value"]:.2f} %' not in capsys.readouterr().out

    (trained.folder / 'recipe.yaml').write_text('mask_values: [')  # damaged: nothing is remembered
    (trained.folder / 'manifest.json').unlink()
    assert run('evaluate', trained.folder, '--data', tmp_path / 'set') == 2
    assert 'these masks have no class but 0 (255 stands for' in (error := capsys.readouterr().err)
    assert '--mask-values 0,255' in error
    Image.fromarray(squares // 255 * 7).save(tmp_path / 'set' / 'test' / 'masks' / '2.png')
    assert run('evaluate', trained.folder, '--data', tmp_path / 'set') == 2
    assert 'test/masks/2.png: has class 7, but' in (error := capsys.readouterr().err)
    assert '--mask-values says which value of a pixel is which class' in error


def test_values_that_are_given(tmp_path: Path) -> None:
    pixels = np.array([[0, 170, 255, 0]] * 2 + [[7, 7, 170, 0]], np.uint8)
    folder = masked(tmp_path, Image.fromarray(pixels))
    source = find_source(str(folder), masks=True)
    three = with_mask_values(source, (0, 7, 170))
    images = load(three, None)
    assert images.classes == ('0', '1', '2')
    assert images.targets is not None
    assert images.targets[0].tolist() == [[0, 2, 255, 0]] * 2 + [[1, 1, 2, 0]]
    assert images.identity != load(source, None).identity
    assert load(with_mask_values(source, (170, 255, 7, 0)), None).targets[0, 0].tolist() == [3, 0, 1, 3]
    for values, fault in (((0, 170), r'masks/0.png: has the value 7 \(2 pixels\), which is not in --mask-values 0,170'),
                          ((0, 1), r'has the value 7 \(2 pixels\), which is not in --mask-values 0,1; 2 such values')):
        with pytest.raises(ValueError, match=fault):
            load(with_mask_values(source, values), None, max_unreadable=1)
    (folder / 'classes.txt').write_text('sky\nsea\nland\n')
    source = find_source(str(folder), masks=True)
    assert load(with_mask_values(source, (0, 7, 170)), None).classes == ('sky', 'sea', 'land')
    with pytest.raises(ValueError, match=r'names 3 classes \(sky, sea, land\), but --mask-values 0,170 gives 2 values'):
        with_mask_values(source, (0, 170))
    Image.fromarray(np.array([[0, 700, 65535, 255]] * 3, np.uint16)).save(folder / 'masks' / '0.png')
    images = load(with_mask_values(find_source(str(folder), masks=True), (0, 700, 65535)), None)
    assert images.targets is not None
    assert images.targets[0, 0].tolist() == [0, 1, 2, 255]


@pytest.mark.parametrize('values', ['0', '0,0', '0,-1', '0,x', '0,70000', '', ','.join(map(str, range(256)))])
def test_faulty_options(values: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run('segment', 'nowhere', '--model', 'scae_vgg16', '--mask-values', values)
    assert 'argument --mask-values: ' in capsys.readouterr().err


def test_mask_values_are_for_segmenters(capsys: pytest.CaptureFixture[str]) -> None:
    assert run('evaluate', 'scae_springenberg9', '--data', 'nowhere', '--mask-values', '0,255') == 2
    assert '--mask-values: for segmenters; ' in capsys.readouterr().err


def test_an_image_that_cannot_be_read(tmp_path: Path) -> None:
    """It is named, not its mask."""
    folder = masked(tmp_path, Image.fromarray(STEPS))
    (folder / 'images' / '0.png').write_bytes(b'nonsense')
    refused(folder, 'images/0.png: ', masks=True)


SKY, SEA, VOID = (0, 0, 255), (10, 200, 30), (0, 0, 0)
COLOURS = 'sky 0 0 255\nvoid 0 0 0\nsea 10 200 30\n'


def coloured() -> Image.Image:
    picture = Image.new('RGB', (4, 3), SKY)
    picture.paste(SEA, (2, 0, 4, 3))
    picture.putpixel((0, 0), VOID)
    return picture


@pytest.mark.parametrize('mode', ['RGB', 'RGBA', 'P'])
def test_colours(tmp_path: Path, mode: str) -> None:
    picture = coloured().convert(mode, palette=Image.Palette.ADAPTIVE)
    folder = masked(tmp_path, picture, classes=COLOURS)
    assert first_mask(folder).tolist() == [[255, 0, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1]]
    assert find_source(str(folder), masks=True).classes == ('sky', 'sea')
    with pytest.raises(ValueError, match='classes.txt says which colour is which class; leave out --mask-values'):
        with_mask_values(find_source(str(folder), masks=True), (0, 1))


def test_black_and_white_as_colours(tmp_path: Path) -> None:
    for bits, white in ((1, 1), (2, 3), (8, 255)):
        pixels = (STEPS % 2 * white).astype(np.uint8)
        folder = masked(tmp_path, png(pixels, bits), classes='thing 255 255 255\nground 0 0 0\n')
        assert np.array_equal(first_mask(folder), 1 - STEPS % 2)


def test_faulty_colours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = coloured()
    folder = masked(tmp_path / 'set', picture)
    assert run('segment', folder, *START, '-o', tmp_path / 'run') == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert 'masks/0.png: is a RGB image; a mask has one class index a pixel' in error
    assert 'classes.txt' in error
    assert 'NAME RED GREEN BLUE, such as "road 128 64 128"' in error
    picture.paste((0, 0, 254), (0, 1, 1, 3))
    picture.putpixel((0, 0), (9, 9, 9))
    masked(folder, picture, classes=COLOURS)
    refused(folder, r'masks/0.png: has the colour 0 0 254 \(2 pixels\), which is not in the table classes.txt; 2 such '
            'colours$', masks=True, max_unreadable=1)
    masked(folder, Image.new('RGB', (4, 3), 'white'), classes=COLOURS)  # a larger value than all in the table
    refused(folder, r'has the colour 255 255 255 \(12 pixels\), which is not in the table classes.txt$', masks=True)
    Image.fromarray(STEPS.astype(np.uint16)).save(folder / 'masks' / '0.png')
    refused(folder, 'masks/0.png: is a I;16 image; classes.txt gives colours', masks=True)


@pytest.mark.parametrize('orientation', [5, 6, 7, 8])
@pytest.mark.parametrize('suffix', ['.png', '.tif'])
def test_masks_of_rotated_photographs(
        tmp_path: Path, capsys: pytest.CaptureFixture[str], orientation: int, suffix: str) -> None:
    """Drawn on the pixels as they are stored, or as they are shown: the sizes tell."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    folder = masked(tmp_path, Image.fromarray(STEPS), suffix=suffix)
    Image.fromarray(STEPS).save(folder / 'images' / '0.png', exif=exif)
    images = load_images(str(folder), size=None, masks=True)
    shown = images.images[0, 0]
    assert shown.shape == (4, 3)
    assert np.array_equal(first_mask(folder), shown)
    Image.fromarray(shown.numpy()).save(folder / 'masks' / f'0{suffix}')
    assert np.array_equal(first_mask(folder), shown)
    assert 'EXIF' not in capsys.readouterr().err
    Image.new('L', (5, 4)).save(folder / 'masks' / f'0{suffix}')
    refused(folder, rf'masks/0{suffix}: has 5x4 pixels, its image 3x4; they must agree', masks=True)


def test_sizes_that_do_not_tell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    square = STEPS[:, :3]
    folder = masked(tmp_path / 'set', *[Image.fromarray(square)] * 3)
    for i, orientation in enumerate((1, 3, 6)):
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(square).save(folder / 'images' / f'{i}.png', exif=exif)
    Image.fromarray(square).save(folder / 'images' / '0.png')
    said = '2 images have an EXIF orientation that their masks do not have'
    targets = load_images(str(folder), size=None, masks=True).targets
    assert targets is not None
    assert (targets == torch.from_numpy(square)).all()
    assert capsys.readouterr().err.count(said) == 1
    list(Pairs(find_source(str(folder), masks=True)))  # once for a set
    assert said not in capsys.readouterr().err
    other = Path(shutil.copytree(folder, tmp_path / 'other'))
    list(Pairs(find_source(str(other), masks=True)))
    assert capsys.readouterr().err.count(said) == 1
