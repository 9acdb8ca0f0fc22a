"""Which photographs are meant by files, folders and globs, and in which parts they are read."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from scae_zoo.images import ImageError, open_rgb
from scae_zoo.inference import photographs
from scae_zoo.inference.outputs import Outputs
from scae_zoo.inference.photographs import Photograph, find_photographs, parts_of, pixels_of, read_ahead

from ..support.pictures import save


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ('b.png', 'a10.png', 'a9.png', 'sub/c.jpg', '.hidden.png'):
        save(tmp_path / 'photos' / name, 20)
    (tmp_path / 'photos' / 'notes.txt').write_text('no image')
    return tmp_path / 'photos'


def names(*asked: object, output: Path | None = None) -> list[str]:
    return [str(each.name) for each in find_photographs([str(each) for each in asked], output).photographs]


def test_a_folder_gives_all_below_it_in_order_and_says_what_else_is_there(folder: Path) -> None:
    assert names(folder) == ['a9.png', 'a10.png', 'b.png', 'sub/c.jpg']
    left_out = find_photographs([str(folder)]).left_out
    assert '1 .txt' in left_out
    assert '1 hidden' in left_out


def test_globs_files_and_folders_come_as_they_are_asked_for_each_once(folder: Path) -> None:
    assert names(folder / 'b.png', folder / '*.png') == ['b.png', 'a10.png', 'a9.png']
    assert names(folder / '**/*.jpg', folder / 'sub') == ['c.jpg']


def test_a_name_with_the_signs_of_a_glob_means_itself(folder: Path) -> None:
    shutil.copy(folder / 'b.png', folder / 'b[1].png')
    assert names(folder / 'b[1].png') == ['b[1].png']


@pytest.mark.parametrize(('asked', 'fault'), [
    ('none.png', 'none.png: there is no such file or folder'), ('*.gif', r'\*.gif: matches no file or folder'),
    ('empty', r'empty: no image in this folder or below it \(left out: 1 .txt \(no images\)\)')])
def test_what_is_not_there_is_named(folder: Path, asked: str, fault: str) -> None:
    (folder / 'empty').mkdir()
    (folder / 'empty' / 'a.txt').touch()
    with pytest.raises(ValueError, match=fault):
        names(folder / asked)


def test_pictures_that_were_made_are_no_photographs(folder: Path) -> None:
    save(folder / 'masks' / 'a9.png', 1)
    assert 'masks/a9.png' in names(folder)
    assert names(folder, output=folder / 'masks') == ['a9.png', 'a10.png', 'b.png', 'sub/c.jpg']
    assert names(folder / '*', output=folder / 'masks') == ['a10.png', 'a9.png', 'b.png', 'notes.txt', 'c.jpg']
    with pytest.raises(ValueError, match='give another folder to -o'):
        names(folder, output=folder / 'sub' / '..')


def test_pictures_lie_as_their_photographs_do_and_none_is_written_over(folder: Path) -> None:
    shutil.copy(folder / 'sub' / 'c.jpg', folder / 'sub' / 'c.png')
    found = find_photographs([str(folder)]).photographs
    outputs = Outputs(folder, found, ['', 'overlay'])
    written = [str(outputs.of(each, kind).relative_to(folder)) for each in found for kind in ('', 'overlay')]
    assert written == ['a9-2.png', 'a9_overlay.png', 'a10-2.png', 'a10_overlay.png', 'b-2.png', 'b_overlay.png',
                       'sub/c-2.png', 'sub/c_overlay.png', 'sub/c-3.png', 'sub/c_overlay-2.png']


@pytest.mark.parametrize('pixels', [0, 1, photographs.PART_PIXELS // 3, photographs.PART_PIXELS, 10 ** 9])
def test_parts_fit_into_memory_and_leave_none_out(pixels: int) -> None:
    some = [Photograph(Path(str(i)), Path(str(i))) for i in range(150)]
    parts = list(parts_of(some, lambda _: pixels))
    assert sum(parts, []) == some
    assert all(len(part) <= photographs.PART for part in parts)
    assert all(len(part) == 1 or len(part) * pixels <= photographs.PART_PIXELS for part in parts)
    assert len(parts) == {0: 5, 1: 5, photographs.PART_PIXELS // 3: 50}.get(pixels, 150)


def test_sizes_are_read_from_the_heads_of_files(folder: Path) -> None:
    assert pixels_of(Photograph(folder / 'b.png', Path('b.png'))) == 48
    assert pixels_of(Photograph(folder / 'notes.txt', Path('notes.txt'))) == 0


def test_parts_are_read_in_order_and_faults_are_given_in_their_places(folder: Path) -> None:
    (folder / 'a9.png').write_text('no image')
    found = find_photographs([str(folder)]).photographs
    read = list(read_ahead(iter([found[:2], found[2:3], found[3:]]), lambda each: open_rgb(each.path),
                           wanted=lambda number: number != 1))
    assert [number for number, *_ in read] == [0, 1, 2]
    assert read[1][2] is None
    assert read[0][2] is not None
    assert isinstance(read[0][2][0], ImageError)
    assert read[0][2][1].shape == (6, 8, 3)  # type: ignore[union-attr]


def test_one_part_is_read_while_the_one_before_is_answered(folder: Path) -> None:
    """And not the whole folder, which may be larger than the memory."""
    found = find_photographs([str(folder)]).photographs
    seen: list[Photograph] = []
    coming = read_ahead(iter([[each] for each in found]), lambda each: seen.append(each) or Image.open(each.path))
    next(coming)
    next(coming)
    assert len(seen) <= 3
    coming.close()
