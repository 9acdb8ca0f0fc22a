"""Where checkpoints are found.

A checkpoint is a folder named ``<architecture>.<tag>``. ``weights/manifest.json`` lists the zoo's own. They are looked
for in ``$SCAE_ZOO_CHECKPOINTS`` (a folder of such folders), in the package, in data packages, and on the Hub, in this
order. Where no tag is given, the zoo's go first: the one marked ``default`` in the manifest, then classifiers,
auto-encoders, segmenters; where a kind is asked for, only those of that kind. timm knows the user's own tags too where
``$SCAE_ZOO_CHECKPOINTS`` is set before this package is imported.

A data package holds a checkpoint for which this one has no room, and no code. Its entry point in the group
``scae_zoo.weights`` has the checkpoint's name, and for a value the package in which the checkpoint's folder lies. It is
not trusted: the manifest of this package has the sha256 of its files.
"""

import dataclasses
import json
import os
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from .folder import ENCODER, ENVIRONMENT, RUN, Checkpoint, lists_files, open_folder

WEIGHTS = Path(__file__).parents[1] / 'weights'
DATA_PACKAGES = 'scae_zoo.weights'  # the group of their entry points
HUB_ORG = 'scae-zoo'
HUB_REVISION = 'main'

KINDS = ('classifier', 'autoencoder', 'segmenter', 'damaged')  # in the order in which an architecture's are taken
TAKEN_BY = {  # who is given an architecture's name alone, and the kinds of which he takes the first checkpoint
    'timm': ('classifier', 'autoencoder'), 'create_autoencoder': ('autoencoder',), 'create_segmenter': ('segmenter',)}


def _manifest() -> dict[str, dict[str, Any]]:
    path = WEIGHTS / 'manifest.json'
    return json.loads(path.read_text()) if path.is_file() else {}


def split_name(name: str) -> tuple[str, str]:
    """``'scae_vgg16.dae_photos'`` to ``('scae_vgg16', 'dae_photos')``; the tag is empty where there is none."""
    architecture, _, tag = name.partition('.')
    return architecture, tag


@cache  # all that is installed has to be looked through
def data_packages() -> dict[str, Path]:
    """The folders of the checkpoints in data packages, of which nothing is imported."""
    from importlib.metadata import entry_points

    return {entry.name: Path(str(entry.dist.locate_file(entry.value))) / entry.name
            for entry in entry_points(group=DATA_PACKAGES) if entry.dist}


def _installed(name: str) -> Path | None:
    """The folder of a checkpoint of the zoo, in the package or in a data package."""
    if (WEIGHTS / name).is_dir():
        return WEIGHTS / name
    return data_packages().get(name) if name in _manifest() else None


def source_of(name: str) -> dict[str, str]:
    """Where timm finds a checkpoint of the zoo: nothing, where it is neither installed nor on the Hub."""
    folder = _installed(name)
    if folder and (folder / ENCODER).is_file():
        return {'file': str(folder / ENCODER)}
    if _manifest().get(name, {}).get('hub'):
        return {'hf_hub_id': f'{HUB_ORG}/{name}'}
    return {}


def names() -> list[str]:
    """Every checkpoint that can be loaded: the zoo's own and those in ``$SCAE_ZOO_CHECKPOINTS``."""
    folder = _own_folder()
    own = {path.parent.name for path in folder.glob(f'scae_*.*/{ENCODER}')} if folder else set()
    return sorted(own | {name for name in _manifest() if source_of(name)})


def _own_folder() -> Path | None:
    folder = os.path.expanduser(os.environ.get(ENVIRONMENT, ''))
    return Path(folder) if os.path.isdir(folder) and os.access(folder, os.R_OK | os.X_OK) else None


def fault_of_own_folder() -> str:
    """Why nothing in ``$SCAE_ZOO_CHECKPOINTS`` is found, where that is set; empty where all is well."""
    given = os.environ.get(ENVIRONMENT)
    return f'${ENVIRONMENT}: {given} is no folder that can be read' if given and _own_folder() is None else ''


def open_own(name: str) -> Checkpoint | None:
    folder = _own_folder()
    return open_folder(folder / name) if folder and os.path.isdir(folder / name) else None


def open_local(name: str) -> Checkpoint | None:
    """The checkpoint of that name in ``$SCAE_ZOO_CHECKPOINTS``, in the package or in a data package; None where it is
    in none of them.

    Raises:
        CheckpointError: Its manifest is damaged, or of another checkpoint.
    """
    own = open_own(name)
    if own is not None:
        return own
    known = name in _manifest() and _installed(name) and 'hf_hub_id' not in source_of(name)
    return listed(name) if known else None


def listed(name: str, folder: Path | None = None) -> Checkpoint:
    """One of the zoo's own, as its manifest lists it, where it is installed or in another folder."""
    entry = _manifest()[name]
    if not lists_files(entry.get('files')):
        raise CheckpointError(f'{WEIGHTS / "manifest.json"}: does not list the files of {name}; install scae_zoo again')
    return Checkpoint(name, folder or _installed(name) or WEIGHTS / name, entry['files'], entry.get('recipe', ''))


def kind_of(name: str) -> str:
    """'classifier', 'autoencoder' or 'segmenter'; 'damaged' for a folder of the user's own that cannot be read."""
    entry = _manifest().get(name)
    if entry:  # also where a folder of the user's own stands in for it: loading says what is wrong with that
        return entry['kind']
    try:
        if (checkpoint := open_local(name)) is None:
            return ''
        checkpoint.require_architecture(split_name(name)[0])
        return checkpoint.kind
    except CheckpointError:
        return 'damaged'


def by_priority() -> dict[str, str]:
    """Name and kind of every checkpoint, an architecture's default first."""
    manifest = _manifest()
    kinds = {name: kind_of(name) for name in names()}
    return dict(sorted(kinds.items(), key=lambda item: (
        item[0] not in manifest, not manifest.get(item[0], {}).get('default'), KINDS.index(item[1]), item[0])))


def defaults() -> dict[str, list[str]]:
    """The checkpoints that an architecture's name alone means, and to whom: names in ``TAKEN_BY``."""
    ordered = by_priority()
    found: dict[str, list[str]] = {}
    for who, kinds in TAKEN_BY.items():
        first: dict[str, str] = {}
        for name, kind in ordered.items():
            if kind in kinds:
                first.setdefault(split_name(name)[0], name)
        for name in first.values():
            found.setdefault(name, []).append(who)
    return found


def means_a_folder(text: str) -> bool:
    """Whether that is a path, not a name: a folder that happens to be called like a checkpoint is not meant."""
    if not text:
        return False
    path = Path(os.path.expanduser(text))
    return os.sep in text or path.is_file() or any((path / file).is_file() for file in ('config.json', RUN))


def open_elsewhere(text: str, cache_dir: str | None = None) -> Checkpoint | None:
    """The checkpoint that a path means, or, as in timm, ``local-dir:PATH`` or ``hf-hub:USER/REPOSITORY[@REVISION]``;
    None where the text is a name or a tag."""
    if text in ('hf-hub:', 'local-dir:'):
        raise CheckpointError(f'{text}: names nothing; give local-dir:PATH, or hf-hub:USER/REPOSITORY')
    if text.startswith('hf-hub:'):
        return open_repository(text, cache_dir)
    if text.startswith('local-dir:'):
        return open_folder(text.removeprefix('local-dir:'))
    return open_folder(text) if means_a_folder(text) else None


def open_repository(place: str, cache_dir: str | None = None, **options: Any) -> Checkpoint:
    """The checkpoint in ``USER/REPOSITORY`` or ``USER/REPOSITORY@REVISION`` of the Hub, with or without ``hf-hub:``
    before it; ``options`` as ``downloads.download`` takes them."""
    from .downloads import download_checkpoint  # slow to import, as all that is below

    place = place.removeprefix('hf-hub:')
    checkpoint = open_folder(download_checkpoint(place, cache_dir, **options))
    name = place.partition('@')[0].rpartition('/')[2]  # for the folder's, which is the revision's digits
    return checkpoint if checkpoint.files else dataclasses.replace(checkpoint, name=name)


def find(
        name: str,
        weights: str | os.PathLike[str] | None = None,
        kind: str | None = None,
        cache_dir: str | None = None,
        way_out: str = '',
) -> Checkpoint:
    """The checkpoint that a name, a tag or a path means.

    Args:
        name: ``'scae_vgg16.dae_photos'``, or an architecture alone for its default checkpoint of that kind.
        weights: A tag, a whole name, or what ``open_elsewhere`` opens; goes before the name's own tag.
        kind: 'autoencoder', 'classifier' or 'segmenter', where it matters.
        cache_dir: The Hub's cache, where it is not the usual one.
        way_out: What the caller's user can do where there is none, in the words of what he called.

    Raises:
        CheckpointError: There is no such checkpoint, or it is of another architecture or kind.
    """
    return _find(*split_name(name), weights, kind, cache_dir, way_out)


def resolve(
        name: str,
        weights: str | os.PathLike[str] | None,
        kind: str | None,
        architectures: Collection[str],
        *,
        needed: bool,
        cache_dir: str | None,
        way_out: str,
) -> tuple[str, Checkpoint | None]:
    """The architecture that a name means, and its checkpoint where one is needed.

    Args:
        name: And all but these two as in ``find``.
        architectures: Those that there are.
        needed: Whether a checkpoint is.

    Raises:
        ValueError: There is no such architecture.
        CheckpointError: There is no such checkpoint, also where none is needed but the name has a tag, as in timm; or
            it is of another architecture or kind.
    """
    architecture, tag = split_name(name)
    if architecture not in architectures:
        folder = f'; {name} is a folder: give it as weights=, after its architecture' * means_a_folder(name)
        raise ValueError(f'unknown architecture {architecture!r}; there are {", ".join(architectures)}{folder}')
    if needed:
        return architecture, _find(architecture, tag, weights, kind, cache_dir, way_out)
    if tag not in ('', 'untrained') and name not in names():
        raise CheckpointError(
            f'{name}: no such checkpoint{left_out(architecture)}; {there_are(architecture)}; for one still to be '
            'trained: leave out the tag')
    return architecture, None


def _find(
        architecture: str,
        tag: str,
        weights: str | os.PathLike[str] | None,
        kind: str | None,
        cache_dir: str | None,
        way_out: str,
) -> Checkpoint:
    given = os.fspath(weights or '')
    other, is_whole_name, _ = given.partition('.')
    elsewhere = open_folder(given) if isinstance(weights, os.PathLike) else open_elsewhere(given, cache_dir)
    if elsewhere is None and is_whole_name and other.startswith('scae_') and other != architecture:
        raise CheckpointError(f'{given}: is for {other}, not {architecture}; {there_are(architecture, kind)}')
    checkpoint = elsewhere or _find_by_name(
        architecture, given.removeprefix(f'{architecture}.') or tag, kind, cache_dir, way_out)
    checkpoint.require_architecture(architecture)
    checkpoint.require(kind)
    return checkpoint


def _of(architecture: str, kind: str | None) -> list[str]:
    kinds = [kind] if kind else KINDS[:3]
    return [name for name, its_kind in by_priority().items()
            if split_name(name)[0] == architecture and its_kind in kinds]


def there_are(architecture: str, kind: str | None = None) -> str:
    """Which checkpoints of an architecture there are, for a message."""
    same = _of(architecture, kind)
    return f'there are {", ".join(same)}' if same else f'there is no {kind or "checkpoint"} of {architecture}'


def left_out(architecture: str) -> str:
    """Which checkpoints are not in the installed package for their size, nor in data packages, for a message; nothing
    where all are there."""
    missing = [name for name in _manifest() if split_name(name)[0] == architecture and not source_of(name)]
    return (f' in the installed package ({", ".join(missing)}: apart, for their size; '
            f"pip install 'scae-zoo[{architecture.removeprefix('scae_')}]' brings them, and an editable install of a "
            "checkout, pip install -e ., has them)") * bool(missing)


def _find_by_name(architecture: str, tag: str, kind: str | None, cache_dir: str | None, way_out: str) -> Checkpoint:
    same = _of(architecture, kind)
    way_out = way_out and f'; {way_out}'
    if not same and tag in ('', 'untrained'):  # timm's default tag where there are no weights
        raise CheckpointError(f'{architecture}: no {kind or "checkpoint"} of it{left_out(architecture)}{way_out}')
    name = f'{architecture}.{tag}' if tag else same[0]
    if (checkpoint := open_local(name)) is not None:
        return checkpoint
    entry = _manifest().get(name)
    if entry is None or not source_of(name):
        raise CheckpointError(
            f'{name}: no such checkpoint{left_out(architecture)}; {there_are(architecture, kind)}{way_out}')
    return listed(name, _download(name, entry, cache_dir))


def _download(name: str, entry: Mapping[str, Any], cache_dir: str | None) -> Path:
    from .downloads import download

    again = f'; or make it again with {entry.get("recipe", "its recipe")}'
    paths = [download(f'{HUB_ORG}/{name}', file, HUB_REVISION, cache_dir, again) for file in entry['files']]
    return paths[0].parent
