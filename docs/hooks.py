"""What the site has besides the pages in ``docs/``: documents that lie elsewhere in the repository, and the help of
every command as it is printed, and the fields of the training methods' settings."""

import contextlib
import dataclasses
import importlib
import io
import os
import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
DOCUMENTS = {
    'MODEL_CARD.md': 'model-card.md', 'recipes/README.md': 'recipes.md', 'CHANGELOG.md': 'changelog.md',
    'CONTRIBUTING.md': 'contributing.md'}
PATHS = {page: path for path, page in DOCUMENTS.items()}
FIELDS = re.compile('<!-- the fields of (.+) -->')
HELP = '<!-- the help of every command -->'
FENCE = re.compile(r'(^```.*?^```$)', re.MULTILINE | re.DOTALL)
LINK = re.compile(r'(!?)\[([^\[\]]*)\]\(([^()\s]+)\)')


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for path, page in DOCUMENTS.items():
        files.append(File.generated(config, page, content=(ROOT / path).read_text()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    uri = page.file.src_uri
    parts = FENCE.split(markdown)  # code stands at the odd places
    parts[::2] = [LINK.sub(lambda link: linked(link, uri), part) for part in parts[::2]]
    return FIELDS.sub(lambda found: fields(found[1]), ''.join(parts).replace(HELP, commands_help()))


def linked(link: re.Match[str], uri: str) -> str:
    """A link as the site has it: to what is no page of it, such as a script, there is none."""
    mark, text, target = link.groups()
    path, hash_sign, anchor = target.partition('#')
    if not path or ':' in path:
        return link[0]
    here = posixpath.dirname(PATHS.get(uri, f'docs/{uri}'))
    path = posixpath.normpath(posixpath.join(here, path))
    if path.startswith('docs/'):
        path = path.removeprefix('docs/')
    elif path in DOCUMENTS:
        path = DOCUMENTS[path]
    elif (ROOT / path).exists():
        return text
    return f'{mark}[{text}]({posixpath.relpath(path, posixpath.dirname(uri) or ".")}{hash_sign}{anchor})'


def fields(settings: str) -> str:
    """A table of the fields of a class of settings, which has what is said of each in its metadata."""
    module, _, name = settings.rpartition('.')
    rows = ['| field | default | |', '| --- | --- | --- |']
    for field in dataclasses.fields(getattr(importlib.import_module(module), name)):
        text, choices = field.metadata['text'], ', '.join(map(repr, field.metadata['choices'] or ()))
        rows.append(f'| `{field.name}` | `{field.default!r}` | {text}{f" ({choices})" * bool(choices)} |')
    return '\n'.join(rows)


def commands_help() -> str:
    from scae_zoo.cli import COMMANDS, main

    os.environ['COLUMNS'] = '80'  # argparse writes 2 less; a page of the site has room for 84
    parts = []
    for name in ('', *COMMANDS):
        with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.suppress(SystemExit):
            main([*filter(None, [name]), '--help'])
        parts.append(f'## `{f"scae {name}".strip()}`\n\n```text\n{printed.getvalue().rstrip()}\n```\n')
    return '\n'.join(parts)
