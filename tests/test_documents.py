"""The code of every document runs, in order, in a folder of tiny images; what cannot has its reason above it."""

import json
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import pytest
from PIL import Image

from scae_zoo.checkpoints.finding import WEIGHTS
from scae_zoo.cli import COMMANDS, main
from scae_zoo.experiments import sample_images

from .support.processes import ROOT, Process, script

DOCUMENTS = [ROOT / name for name in ('README.md', 'MODEL_CARD.md', 'CONTRIBUTING.md', 'recipes/README.md')] + sorted(
    (ROOT / 'docs').rglob('*.md'))
NOTEBOOKS = sorted((ROOT / 'docs').rglob('*.ipynb'))
BLOCK = re.compile(r'(?:^<!-- not run: ([^>\n]+) -->\n)?^```(\w*)\n(.*?)^```$', re.MULTILINE | re.DOTALL)
INCLUDED = re.compile(r'--8<-- "(\S+)"\n')
TEXTS = ('text',)  # of blocks: nothing to run
CLIENTS = {'transformers', 'onnx'}  # a page that needs one of these is left where it is not installed


class Block(NamedTuple):
    line: int
    language: str
    code: str
    reason: str  # why it is not run


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    return [Block(text.count('\n', 0, found.start()) + 1, found[2], found[3], found[1] or '')
            for found in BLOCK.finditer(text)]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def runs(block: Block) -> bool:
    return not block.reason and block.language not in TEXTS and not INCLUDED.fullmatch(block.code)


PAGES = [page for page in DOCUMENTS if any(runs(block) for block in blocks(page))]


@pytest.fixture
def _images(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the documents call photos, labelled and so on; the working directory is theirs."""
    for folder, made in (('labelled', 'classes'), ('masked', 'masks')):
        shutil.copytree(data / made, tmp_path / folder)
    for folder, seed in (('photos', 5), ('noisy', 6)):
        (tmp_path / folder).mkdir()
        for i, (_, piece) in enumerate(sample_images.cuttings(12, 40, seed)):
            piece.save(tmp_path / folder / f'{i:02}.png')
    for i, photo in enumerate(('photo.jpg', 'other.jpg')):
        Image.open(tmp_path / 'photos' / f'{i:02}.png').save(tmp_path / photo)
    monkeypatch.chdir(tmp_path)


def commands(code: str) -> Iterator[list[str]]:
    for line in code.replace('\\\n', ' ').splitlines():
        if words := shlex.split(line, comments=True):
            yield words


def short(argv: list[str]) -> list[str]:
    """One pass over the images in place of many, and labels of as many as there are."""
    few = {'--epochs': '1', '--labels-per-class': '4'}
    return [few.get(before, word) for before, word in zip(['', *argv], argv, strict=False)]


def run_shell(code: str) -> None:
    for program, *argv in commands(code):
        if program == 'scae':
            status = main(short(argv))
        else:
            assert program == 'python', f'{program}: only scae and python can be run here'
            status = script(ROOT / argv[0], *argv[1:]) or 0
        assert status == 0, f'{program} {shlex.join(argv)}'


def reports_each_pass(names: dict[str, Any], printed: str) -> None:
    """What ``on_pass`` is told is what the run's log has."""
    assert names['model'].num_classes == 3
    expected = []
    for run in ('photos', 'classifier', 'segmenter'):
        for row in map(json.loads, (Path('runs') / run / 'log.jsonl').read_text().splitlines()):
            expected.append(f'pass {row["epoch"]}: loss {row["loss"]:.4f} after {row["seconds"]:.0f} s')
    assert [line for line in printed.splitlines() if line.startswith('pass ')] == expected
    assert len(expected) == 6


CHECKS = {'docs/python.md': reports_each_pass}  # of what a page's code leaves and prints


@pytest.mark.usefixtures('_images')
@pytest.mark.parametrize('page', PAGES, ids=name)
def test_code(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {'__name__': 'page'}
    for block in filter(runs, blocks(page)):
        code = block.code.replace('/path/to/this/checkout', str(ROOT))
        for client in CLIENTS:
            if (f'import {client}' in code or f'.{client}' in code) and find_spec(client) is None:
                pytest.skip(f'{client} is not installed')
        if block.language == 'python':
            exec(compile('\n' * block.line + code, str(page), 'exec'), names)
        else:
            assert block.language == 'sh', f'{page}:{block.line}: is of no kind that is run'
            run_shell(code)
    if check := CHECKS.get(name(page)):
        check(names, capsys.readouterr().out)


@pytest.mark.parametrize('page', DOCUMENTS, ids=name)
def test_every_block_says_what_it_is(page: Path) -> None:
    """An example is shown by its file, which tests/test_examples.py runs; links to files of the repository hold."""
    for block in blocks(page):
        assert block.language in (*TEXTS, 'python', 'sh'), f'{page}:{block.line}'
        for shown in INCLUDED.findall(block.code):
            assert (ROOT / shown).parent == ROOT / 'examples'
            assert (ROOT / shown).is_file()
    text = re.sub(BLOCK, '', page.read_text())
    if page.name != 'CONTRIBUTING.md':  # whose commands are the maintainers'
        assert not re.search(r'\n\n {4}\S', text), f'{page}: code is fenced, for it to run'
    for target in re.findall(r'(?<!`)\]\(([^()\s#:]+)(?:#[^()\s]*)?\)', text):
        assert (page.parent / target).exists(), f'{page}: {target}'


def test_every_page_is_in_the_site() -> None:
    listed = set(re.findall(r': (\S+\.md)$', (ROOT / 'mkdocs.yml').read_text(), re.MULTILINE))
    ours = {str(page.relative_to(ROOT / 'docs')) for page in (ROOT / 'docs').rglob('*.md')}
    assert ours | {'model-card.md', 'recipes.md', 'changelog.md', 'contributing.md'} == listed


def test_the_card_has_every_checkpoint() -> None:
    card = (ROOT / 'MODEL_CARD.md').read_text()
    headings = ' '.join(re.findall(r'^### (.*)$', card, re.MULTILINE)).replace(',', '').split()
    assert sorted(headings) == sorted(json.loads((WEIGHTS / 'manifest.json').read_text()))
    for checkpoint in headings:
        assert f'`{checkpoint}`' in card.partition('\n## ')[0]


def test_the_readme_is_a_screen() -> None:
    assert 60 <= (ROOT / 'README.md').read_text().count('\n') <= 80


def test_the_commands_page_has_all_of_them() -> None:
    pytest.importorskip('mkdocs', reason='the extra docs is not installed')
    with mock.patch.object(sys, 'path', [str(ROOT / 'docs'), *sys.path]), mock.patch.dict('os.environ'):
        from hooks import HELP, commands_help  # type: ignore[import-not-found]
        text = commands_help()
    assert HELP in (ROOT / 'docs' / 'reference' / 'commands.md').read_text()
    assert re.findall('^## `scae ?(.*)`$', text, re.MULTILINE) == ['', *COMMANDS]
    assert text.count('\nusage: scae') + text.count('```text\nusage: scae') >= len(COMMANDS)
    assert text.count('example:\n  scae ') == len(COMMANDS)


def test_the_methods_page_has_the_fields_of_all_settings() -> None:
    pytest.importorskip('mkdocs', reason='the extra docs is not installed')
    with mock.patch.object(sys, 'path', [str(ROOT / 'docs'), *sys.path]):
        from hooks import FIELDS, fields
        shown = FIELDS.findall((ROOT / 'docs' / 'reference' / 'methods.md').read_text())
        tables = {each.rpartition('.')[2]: fields(each) for each in shown}
    assert set(tables) == {'Pretraining', 'FineTuning', 'Segmenting'}
    assert '| `corruption` | `\'gaussian:5-50\'` | gaussian:SIGMA or' in tables['Pretraining']
    assert '| `epochs` | `30` | passes over the images |' in tables['FineTuning']
    assert "or nothing ('autoencoder', 'encoder', 'random') |" in tables['Segmenting']


def cells_of(notebook: Path) -> list[dict[str, Any]]:
    return json.loads(notebook.read_text())['cells']


def run_cells(notebook: Path) -> None:
    names: dict[str, Any] = {'__name__': '__main__'}
    for cell in cells_of(notebook):
        if cell['cell_type'] == 'code':
            exec(''.join(cell['source']), names)


def run_in_a_kernel(notebook: Path) -> None:
    import nbformat
    from nbclient import NotebookClient
    NotebookClient(nbformat.read(notebook, as_version=4), timeout=600, kernel_name='python3').execute()


@pytest.mark.parametrize('notebook', NOTEBOOKS, ids=name)
def test_notebook(notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From top to bottom: in a kernel where there is one, else its cells by themselves."""
    assert not any(cell.get('outputs') or cell.get('execution_count') for cell in cells_of(notebook))
    monkeypatch.chdir(tmp_path)
    kernel = all(find_spec(package) for package in ('nbclient', 'nbformat', 'ipykernel'))
    done = Process(tmp_path / 'log', run_in_a_kernel if kernel else run_cells, notebook,
                   NOTEBOOK_SIDE='64', NOTEBOOK_PASSES='1').wait(600)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / 'runs' / 'classifier' / 'curve.png').is_file()
