"""``labels.csv`` and ``classes.txt``: as pandas, Excel and people write them, and what each fault says."""

import unicodedata
from pathlib import Path

import pytest

from scae_zoo.data.sources import find_source, load_images
from scae_zoo.data.tables import read_classes

from ..support.pictures import labels, refused, save, values

TABLE = ['image,cat,dog', '0.png,1,0', '1.png,0,1', '2.png,1,0', '3.png,0,1']
NAMES = [f'{i}.png' for i in range(4)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i, name in enumerate(NAMES):
        save(tmp_path / name, i)
    return tmp_path


def write(folder: Path, *lines: str, encoding: str = 'utf-8', end: str = '\n') -> None:
    (folder / 'labels.csv').write_bytes(''.join(line + end for line in lines).encode(encoding))


def found(folder: Path, split: str = 'train') -> dict[str, list[float]]:
    """The images of a table, by their paths from the folder, with their labels."""
    source = find_source(str(folder), split)
    assert source.classes == ('cat', 'dog')
    return {str(sample.image.relative_to(folder)): sample.label for sample in source.samples}


def test_multi_label_folder(tmp_path: Path) -> None:
    for i in range(3):
        save(tmp_path / f'{i}.png', i)
    (tmp_path / 'labels.csv').write_text('\ufeffimage,cat,"dog, big"\r\n2.png,1,0\r\n0.png,,1\r\n\r\n', 'utf-8')
    images = load_images(str(tmp_path), size=None)
    assert images.multi_label
    assert images.classes == ('cat', 'dog, big')
    assert values(images) == [2, 0]
    assert labels(images) == [[1, 0], [-1, 1]]
    (tmp_path / 'labels.csv').write_text('\ufeffimage,cat,"dog, big"\r\n2.png,0,1\r\n0.png,,1\r\n\r\n', 'utf-8')
    other = load_images(str(tmp_path), size=None)  # as many bytes
    assert labels(other) == [[0, 1], [-1, 1]]
    assert other.identity != images.identity


@pytest.mark.parametrize('separator', [',', ';', '\t'])
@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16'])
@pytest.mark.parametrize('end', ['\n', '\r\n', '\r'])
def test_separators_and_encodings(folder: Path, separator: str, encoding: str, end: str) -> None:
    write(folder, *(line.replace(',', separator) for line in TABLE), encoding=encoding, end=end)
    assert found(folder) == {'0.png': [1, 0], '1.png': [0, 1], '2.png': [1, 0], '3.png': [0, 1]}


def test_cells_as_pandas_and_excel_write_them(folder: Path) -> None:
    write(folder, ',cat,dog', '0.png,1.0,0.0', '1.png,,-1.0', '2.png,True,False', '3.png, 0 ,-1')
    assert found(folder) == {'0.png': [1, 0], '1.png': [-1, -1], '2.png': [1, 0], '3.png': [0, -1]}
    write(folder, 'image;cat;dog', '0.png;1,0;0,0')
    assert found(folder) == {'0.png': [1, 0]}


def test_blank_rows(folder: Path) -> None:
    write(folder, '', ',,', TABLE[0], TABLE[1], '', ' , ,', TABLE[2], ',,', ',')
    assert found(folder) == {'0.png': [1, 0], '1.png': [0, 1]}


def test_marks_in_classes(folder: Path) -> None:
    write(folder, 'image;"cat, ""big""";"dog"""', '0.png;1;0')
    assert find_source(str(folder)).classes == ('cat, "big"', 'dog"')


def test_marks_in_names(tmp_path: Path) -> None:
    save(tmp_path / 'a, b' / 'c.png', 0)
    save(tmp_path / 'a;b.png', 0)
    write(tmp_path, 'image,cat,dog', r'"a, b\c.png",1,0', 'a;b.png,0,1')
    assert found(tmp_path) == {'a, b/c.png': [1, 0], 'a;b.png': [0, 1]}


@pytest.mark.parametrize('stored', ['NFC', 'NFD'])
def test_other_forms_of_unicode(tmp_path: Path, stored: str) -> None:
    """As a Mac's file names are written, and the tables of others."""
    save(tmp_path / 'train' / unicodedata.normalize(stored, 'é/ü.png'), 0)
    for form in ('NFC', 'NFD'):
        write(tmp_path / 'train', 'image,cat,' + unicodedata.normalize(form, 'ö'),
              unicodedata.normalize(form, 'é/ü.png') + ',1,0')
        source = find_source(str(tmp_path))
        assert source.classes == ('cat', '\u00f6')
        assert [sample.image.is_file() for sample in source.samples] == [True]


@pytest.mark.parametrize(('lines', 'fault'), [
    ([], 'labels.csv: needs a header'),
    (['image', '0.png'], 'labels.csv: needs a header'),
    (['image,cat'], 'labels.csv: needs a header'),
    (['image|cat', '0.png|1'], 'labels.csv: needs a header'),
    ([TABLE[0], TABLE[1], '9.png,1,0'], 'labels.csv, line 3: there is no image .*9.png'),
    ([TABLE[0], '0.png ,1,0'], 'labels.csv, line 2: there is no image .*; remove the spaces around its name'),
    ([TABLE[0], '', '0.png,yes,0'], "labels.csv, line 3: has 'yes' for class cat; cells are 1, 0 or empty"),
    ([TABLE[0], '0.png,1,2'], "labels.csv, line 2: has '2' for class dog"),
    ([TABLE[0], '0.png,1,nan'], "labels.csv, line 2: has 'nan' for class dog"),
    ([TABLE[0], '0.png,1'], 'labels.csv, line 2: has 2 cells, but the header 3'),
    ([TABLE[0], '0.png,1,0,'], 'labels.csv, line 2: has 4 cells, but the header 3'),
    ([TABLE[0], '0.png;1;0'], r'labels.csv, line 2: has 1 cells \(it has semicolons\), but the header 3'),
    (['image,cat;dog', '0.png,1;0'], 'labels.csv: its header has commas and semicolons between the cells; use one'),
    ([line + ',' for line in TABLE], r'labels.csv, line 1: column 4 has no name \(there is a separator at the end'),
    (['image,,dog', *TABLE[1:]], 'labels.csv, line 1: column 2 has no name; name it'),
    (['image,cat,cat', *TABLE[1:]], 'labels.csv, line 1: has the class cat twice'),
    (['image, cat, dog', *TABLE[1:]], "labels.csv, line 1: ' cat' is no name: remove the spaces around it"),
    (['image,cat,"dog\nbig"', *TABLE[1:]], r"labels.csv, line 2: 'dog\\nbig' is no name"),
    (TABLE[1:], 'labels.csv, line 1: has an image and its labels, where a header .* must be'),
    (['9.png,1,', *TABLE[1:]], 'labels.csv, line 1: has an image and its labels, where a header'),
    (['0.png,cat', '1.png,dog'], 'labels.csv, line 1: has an image and its labels, where a header'),
    ([*TABLE, '0.png,1,0'], 'labels.csv, line 6: 0.png is in line 2 already, with the same labels; remove one'),
    ([*TABLE, './0.png,0,0'], 'labels.csv, line 6: ./0.png is in line 2 already, with other labels; remove one'),
    ([TABLE[0], *(f'{name},,-1' for name in NAMES)], 'labels.csv: labels nothing: no cell of an image .* is 1 or 0'),
    ([TABLE[0], '"0.png,1,0'], 'labels.csv, line 2: cannot be read as a table'),
])
def test_faulty_labels(folder: Path, lines: list[str], fault: str) -> None:
    write(folder, *lines)
    refused(folder, fault)


@pytest.mark.parametrize('data', [
    'image,c\xe4t\n0.png,1\n'.encode('latin-1'), 'image,cat\n'.encode('utf-16-le'), b'PK\3\4\0'])
def test_tables_in_other_encodings(folder: Path, data: bytes) -> None:
    (folder / 'labels.csv').write_bytes(data)
    refused(folder, 'labels.csv: is not UTF-8; save it as that')


def test_numbers_as_classes(folder: Path) -> None:
    """Which are no labels below the header."""
    write(folder, 'image,0,1', '0.png,1,0')
    assert find_source(str(folder)).classes == ('0', '1')


def test_one_table_above_the_splits(tmp_path: Path) -> None:
    for split, names in (('train', '012'), ('test', '023')):
        for name in names:
            save(tmp_path / split / f'{name}.png', 0)
    save(tmp_path / '.thumbnails' / '1.png', 0)
    write(tmp_path, TABLE[0], 'train/0.png,1,0', r'test\0.png,0,1', '1.png,,1', '3.png,1,')  # 2.png is in neither
    assert found(tmp_path) == {'train/0.png': [1, 0], 'train/1.png': [-1, 1]}
    assert found(tmp_path, 'test') == {'test/0.png': [0, 1], 'test/3.png': [1, -1]}
    write(tmp_path, TABLE[0], 'train/0.png,1,0', '2.png,0,1')
    refused(tmp_path, 'labels.csv, line 3: 2.png may be test/2.png or train/2.png; write which')
    write(tmp_path, TABLE[0], 'train/0.png,1,0', '0.png,1,0')
    refused(tmp_path, 'labels.csv, line 3: 0.png may be test/0.png or train/0.png; write which')
    write(tmp_path, TABLE[0], 'train/0.png,1,0')
    refused(tmp_path, f'labels.csv: has no row for an image in {tmp_path}/test', split='test')
    write(tmp_path, TABLE[0], 'train/0.png,1,0', 'test/0.png,,')
    refused(tmp_path, f'labels.csv: labels nothing: no cell of an image in {tmp_path}/test', split='test')
    write(tmp_path / 'test', TABLE[0], '3.png,0,0')  # a table of its own goes first
    assert found(tmp_path, 'test') == {'test/3.png': [0, 0]}


def classes(folder: Path, text: str | bytes) -> tuple[str, ...]:
    path = folder / 'classes.txt'
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    names, codes = read_classes(path)
    assert codes is None
    return names


def test_names_of_classes_as_other_systems_write_them(tmp_path: Path) -> None:
    for text in (b'\xef\xbb\xbfciel\r\nh\xc3\xa9t\r\n', 'ciel\rhe\u0301t', 'ciel\nh\u00e9t\n\n \n',
                 ' ciel\t\nh\u00e9t'.encode('utf-16')):
        assert classes(tmp_path, text) == ('ciel', 'h\u00e9t')
    assert len(classes(tmp_path, '\n'.join(map(str, range(255))))) == 255  # no more can be told apart
    with pytest.raises(ValueError, match='classes.txt: is not UTF-8; save it as that'):
        classes(tmp_path, b'ciel\r\nh\xe9t\r\n')


@pytest.mark.parametrize(('text', 'fault'), [
    ('sky\n\nsea\n', 'line 2: is blank, before other names'),
    ('\nsky\nsea\n', 'line 1: is blank, before other names'),
    ('\n\n', 'classes.txt: is empty; name the classes'),
    ('sky\nsea\nsky\n', 'line 3: sky is in line 1 already'),
    ('caf\u00e9\ncafe\u0301\n', 'line 2: caf\u00e9 is in line 1 already'),
    ('\n'.join(map(str, range(256))), 'names 256 classes; masks tell at most 255 apart'),
    ('sky 0 0 255\nsea\n', 'line 2: has no colour, though others have'),
    ('sky 0 0 255\nsea 0 0 256\n', 'line 2: has no colour, though others have; .* up to 255'),
    ('sky 0 0 255\n\nsea 0 0 9\n', 'line 2: is blank'),
    ('sky 0 0 255\nsea 0 0 255\n', 'line 2: the colour 0 0 255 is in line 1 already'),
    ('sky 0 0 255\nsky 0 0 9\n', 'line 2: sky is in line 1 already'),
])
def test_faulty_names_of_classes(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault) as caught:
        classes(tmp_path, text)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('text', [
    'traffic light 250 170 30\nvoid 0 0 0\nroad 128 64 128\nIgnore 1 1 1\n',
    'name,r,g,b\r\ntraffic light,250,170,30\r\nvoid,0,0,0\r\nroad,128,64,128\r\nIgnore,1,1,1',
    'traffic light\t250\t170\t30\nvoid\t0\t0\t0\nroad; 128; 64; 128\nIgnore, 1, 1, 1\n\n',
])
def test_colours_of_classes(tmp_path: Path, text: str) -> None:
    (tmp_path / 'classes.txt').write_text(text)
    names, codes = read_classes(tmp_path / 'classes.txt')
    assert names == ('traffic light', 'road')
    assert codes is not None
    assert codes.colours
    assert codes.values == (0xfaaa1e, 0x804080)
    assert codes.ignored == (0, 0x010101)


def test_one_file_by_two_paths(tmp_path: Path) -> None:
    """Spelled otherwise, or linked: it would have two rows of labels."""
    image = save(tmp_path / '0.png', 0)
    (tmp_path / 'link.png').symlink_to(image)
    for other in (str(image), 'link.png', './0.png'):
        (tmp_path / 'labels.csv').write_text(f'image,cat\n0.png,1\n{other},0\n')
        with pytest.raises(ValueError, match='is in line 2 already, with other labels'):
            find_source(str(tmp_path))


def test_classes_that_are_numbers(tmp_path: Path) -> None:
    save(tmp_path / '0.png', 0)
    (tmp_path / 'labels.csv').write_text('filename,0,1\n0.png,1,0\n')
    assert find_source(str(tmp_path)).classes == ('0', '1')
