"""What is said of what was found, and which files are images."""

import warnings
from pathlib import Path

import pytest
from PIL import Image

from scae_zoo.data.image_files import NO_IMAGE, LeftOut, described, extensions
from scae_zoo.data.sources import find_source, load_images

from ..support.pictures import encoded, picture, save, save_mask, values, write_shard
from ..support.training_commands import SMALL, run


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith('found ')]


def test_formats_that_pillow_reads(tmp_path: Path) -> None:
    """Each that it writes as well is read, the first frame of several."""
    skipped = set()
    for suffix in sorted(extensions() | {'.heic', '.pdf', '.eps', '.mpg'}):
        path = tmp_path / 'all' / f'{suffix[1:]}{suffix.upper()}'
        kind = Image.registered_extensions().get(suffix)
        path.parent.mkdir(exist_ok=True)
        for mode in ('RGB', 'P', 'L', '1'):  # the first one that the format can have
            try:
                picture(100, (32, 32)).convert(mode).save(path, kind)
            except (OSError, ValueError, KeyError):
                path.unlink(missing_ok=True)
            else:
                break
        else:
            skipped.add(suffix)
    assert skipped >= {'.heic', '.mpg'}
    images = load_images(str(tmp_path / 'all'), size=32)
    written = {path.suffix.lower() for path in (tmp_path / 'all').iterdir()}
    assert len(images) == len(written - {'.pdf', '.eps'})
    assert written >= {'.gif', '.jfif', '.jpe', '.pgm', '.pbm', '.pnm', '.avif', '.jp2', '.j2k', '.tga', '.ico', '.png'}
    assert '.mpo' in extensions()  # photographs of cameras with two lenses
    frames = [picture(value, (32, 32)) for value in (10, 20)]
    frames[0].save(tmp_path / 'two.gif', save_all=True, append_images=frames[1:])
    (tmp_path / 'flat').mkdir()
    (tmp_path / 'two.gif').rename(tmp_path / 'flat' / 'two.gif')
    assert abs(values(load_images(str(tmp_path / 'flat'), size=32))[0] - 10) < 3


def test_shards_of_other_formats(tmp_path: Path) -> None:
    import tarfile
    write_shard(tmp_path / 'train-0.tar', [(encoded(10), 0)])
    (tmp_path / '1.gif').write_bytes(encoded(20, 'GIF'))
    with tarfile.open(tmp_path / 'train-0.tar', 'a') as tar:
        tar.add(tmp_path / '1.gif', '0001.gif')
        (tmp_path / 'label').write_text('1')
        tar.add(tmp_path / 'label', '0001.cls')
    text = (tmp_path / '_info.json').read_text()
    (tmp_path / '_info.json').write_text(text.replace('[1]', '[2]').replace('"num_samples": 1', '"num_samples": 2'))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        assert len(load_images('wds/mine', size=None, root=tmp_path)) == 2


def test_a_plug_in_of_pillow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / '0.png', 0)
    picture(9).save(tmp_path / '1.heic', 'PNG')
    assert find_source(str(tmp_path)).total == 1
    Image.init()
    monkeypatch.setitem(Image.EXTENSION, '.heic', 'PNG')  # as pillow_heif registers itself
    assert find_source(str(tmp_path)).total == 2


def test_what_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in 'abcdef':
        save(tmp_path / 'set' / 'train' / name / '0.png', 0)
    for file in ('a/1.heic', 'a/2.HEIC', 'b/3.dng', 'a/.DS_Store', 'b/._0.png', 'a/notes.txt', 'b/Thumbs.db',
                 'b/README', 'c/@eaDir/0.png', '../runs/mine/run.json', '../docs/x.md', '../preview.png'):
        (tmp_path / 'set' / 'train' / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / 'set' / 'train' / file).write_bytes(b'{}')
    load_images(str(tmp_path / 'set'), size=20, crop=17)
    line, = said(capsys)
    assert line.startswith(f'found 6 images of 6 classes (a, b, c, d, e, ...) in {tmp_path}/set/train, split train; '
                           'scaled to 20 x 20 (shorter side, then the middle), crops of 17 x 17; cache ')
    for part in ('2 .heic', '1 .dng (not read by Pillow)', '2 hidden', "1 @eaDir (a system's folder)",
                 '1 docs/, 1 preview.png (beside the splits)', '1 .txt', '1 .db', '1 without suffix'):
        assert part in line
    assert line.endswith('(no images)')
    folder = Path(line.split('; cache ')[1].split(';')[0])
    assert (folder / 'index.json').is_file()


def test_many_kinds_that_are_left_out() -> None:
    """The rare ones are not named."""
    kinds = LeftOut({(NO_IMAGE, f'.{suffix}'): 1009 - i for i, suffix in enumerate('abcde')})
    assert described(kinds) == '1,009 .a, 1,008 .b, 1,007 .c, 1,006 .d, 1,005 .e (no images)'
    kinds[NO_IMAGE, '.f'] = 1
    assert described(kinds) == '1,009 .a, 1,008 .b, 1,007 .c, 1,006 .d, ... (no images)'


def test_images_that_a_table_does_not_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(3):
        save(tmp_path / f'{i}.png', i)
    (tmp_path / 'labels.csv').write_text('image,cat,dog\n0.png,1,0\n1.png,0,1\n')
    load_images(str(tmp_path), size=None)
    line, = said(capsys)
    assert line.startswith(f'found 2 images of 2 classes (cat, dog) in {tmp_path}, no splits; ')
    assert line.endswith('; left out: 1 images (not in labels.csv)')


def test_a_folder_of_what_is_not_read(tmp_path: Path) -> None:
    (tmp_path / 'cat').mkdir()
    (tmp_path / 'cat' / '0.heic').touch()
    with pytest.raises(ValueError, match=r'no image in this folder or below it \(left out: 1 .heic \(not read by'):
        find_source(str(tmp_path))
    save(tmp_path / 'dog' / '0.png', 0)
    with pytest.raises(ValueError, match=r'cat: is a class without images; .* \(it holds 1 .heic \(not read by'):
        find_source(str(tmp_path))


def test_of_several_processes_one_says_it(tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                          monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / '0.png', 0)
    for rank, lines in (('0', 1), ('1', 0)):
        monkeypatch.setenv('RANK', rank)
        load_images(str(tmp_path), size=None)
        assert len(said(capsys)) == lines


def test_commands_say_it(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before the training, of what is trained on and of what is measured on."""
    classes, masks, out = data / 'classes', data / 'masks', ('-o', tmp_path / 'run')
    trained = 'scaled to 32 x 32 (shorter side, then the middle), crops of 29 x 29; cache '
    for command, expected in (
            (['pretrain', classes], [trained, 'scaled to 32 x 32 (shorter side, then the middle); cache ']),
            (['pretrain', classes, '--stream'], ['shorter side scaled to 32, crops of 29 x 29; not cached', 'cache ']),
            (['finetune', classes, '--model', 'scae_springenberg9'], [trained, trained]),
            (['segment', masks, '--from', 'scae_springenberg9'], [trained, 'not scaled; not cached'])):
        # an option that is found wrong after the images are loaded
        assert run(*command, *SMALL, '--batch-size', '8', '--crop', '29', '--size', '32', *out,
                   *(('--tag', 'x' * 201))) == 2
        lines = said(capsys)
        assert len(lines) == 2
        for line, part, split in zip(lines, expected, ('train', 'test'), strict=True):
            assert part in line
            assert f', split {split}' in line
    assert run('evaluate', 'scae_springenberg9.dae_cifar10', '--data', classes, '--limit', '3') == 0
    line, = said(capsys)
    assert line.startswith(f'found 3 images of 3 classes (cat, dog, eel) in {classes}/test, split test; scaled to 32')


def test_names_that_are_no_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ('caf\udce9', 'two\nlines'):
        save(tmp_path / name / '0.png', 0)
    load_images(str(tmp_path), size=None)
    line, = said(capsys)
    assert r'(caf\udce9, two\nlines)' in line
    assert '; cache ' in line


def test_masks_are_counted(tmp_path: Path) -> None:
    save(tmp_path / 'images' / '0.png', 0)
    save_mask(tmp_path / 'masks' / '0.gif', 0)
    (tmp_path / 'images' / 'notes.txt').touch()
    (tmp_path / 'masks' / '1.svg').touch()
    source = find_source(str(tmp_path), masks=True)
    assert source.total == 1
    assert source.left_out == '1 .svg (not read by Pillow), 1 .txt (no images)'
