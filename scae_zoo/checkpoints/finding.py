"""Where checkpoints are found; ``checkpoint_folder`` reads one, ``checkpoint_writing`` writes them.

A checkpoint is a folder named ``<architecture>.<tag>``. ``weights/manifest.json`` lists the zoo's own. They are looked
for in ``$SCAE_ZOO_CHECKPOINTS`` (a folder of such folders), in the package, and on the Hub, in this order. Where no tag
is given, the zoo's go first: the one marked ``default`` in the manifest, then classifiers, auto-encoders, segmenters;
where a kind is asked for, only those of that kind.

timm knows the user's own tags too where ``$SCAE_ZOO_CHECKPOINTS`` is set before this package is imported.
"""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from timm.models import PretrainedCfg, get_pretrained_cfg
from timm.models._builder import resolve_pretrained_cfg

from .downloads import download, download_checkpoint
from .folder import ENCODER, ENVIRONMENT, RUN, Checkpoint, CheckpointError, lists_files, open_folder

WEIGHTS = Path(__file__).parents[1] / 'weights'
HUB_ORG = 'scae-zoo'
HUB_REVISION = 'main'

OF_IMAGES_AND_CLASSES = (  # in timm's configuration
    'num_classes', 'label_names', 'label_descriptions', 'input_size', 'pool_size', 'min_input_size', 'crop_pct',
    'crop_mode', 'interpolation', 'mean', 'std')
KINDS = ('classifier', 'autoencoder', 'segmenter', 'damaged')  # in the order in which an architecture's are taken


def _manifest() -> dict[str, dict[str, Any]]:
    path = WEIGHTS / 'manifest.json'
    return json.loads(path.read_text()) if path.is_file() else {}


def split_name(name: str) -> tuple[str, str]:
    """``'scae_vgg16.dae_photos'`` to ``('scae_vgg16', 'dae_photos')``; the tag is empty where there is none."""
    architecture, _, tag = name.partition('.')
    return architecture, tag


def _source(name: str) -> dict[str, str]:
    """Where timm finds a checkpoint of the zoo: nothing, where it is neither here nor on the Hub."""
    if (WEIGHTS / name / ENCODER).is_file():
        return {'file': str(WEIGHTS / name / ENCODER)}
    if _manifest().get(name, {}).get('hub'):
        return {'hf_hub_id': f'{HUB_ORG}/{name}'}
    return {}


def names() -> list[str]:
    """Every checkpoint that can be loaded: the zoo's own and those in ``$SCAE_ZOO_CHECKPOINTS``."""
    folder = _own_folder()
    own = {path.parent.name for path in folder.glob(f'scae_*.*/{ENCODER}')} if folder else set()
    return sorted(own | {name for name in _manifest() if _source(name)})


def _own_folder() -> Path | None:
    folder = os.path.expanduser(os.environ.get(ENVIRONMENT, ''))
    return Path(folder) if os.path.isdir(folder) and os.access(folder, os.R_OK | os.X_OK) else None


def fault_of_own_folder() -> str:
    """Why nothing in ``$SCAE_ZOO_CHECKPOINTS`` is found, where that is set; empty where all is well."""
    given = os.environ.get(ENVIRONMENT)
    return f'${ENVIRONMENT}: {given} is no folder that can be read' if given and _own_folder() is None else ''


def _open_own(name: str) -> Checkpoint | None:
    folder = _own_folder()
    return open_folder(folder / name) if folder and os.path.isdir(folder / name) else None


def open_local(name: str) -> Checkpoint | None:
    """The checkpoint of that name in ``$SCAE_ZOO_CHECKPOINTS`` or in the package; None where it is in neither.

    Raises:
        CheckpointError: Its manifest is damaged, or of another checkpoint.
    """
    own = _open_own(name)
    if own is not None:
        return own
    entry = _manifest().get(name)
    return None if entry is None or 'hf_hub_id' in _source(name) else _listed(name, WEIGHTS / name, entry)


def _listed(name: str, folder: Path, entry: Mapping[str, Any]) -> Checkpoint:
    if not lists_files(entry.get('files')):
        raise CheckpointError(f'{WEIGHTS / "manifest.json"}: does not list the files of {name}; install scae_zoo again')
    return Checkpoint(name, folder, entry['files'], entry.get('recipe', ''))


def kind_of(name: str) -> str:
    """'classifier', 'autoencoder' or 'segmenter'; 'damaged' for a folder of the user's own that cannot be read."""
    entry = _manifest().get(name)
    if entry:  # also where a folder of the user's own stands in for it: loading says what is wrong with that
        return entry['kind']
    try:
        checkpoint = open_local(name)
        if checkpoint is None:
            return ''
        checkpoint.require_architecture(split_name(name)[0])
        return checkpoint.kind
    except CheckpointError:
        return 'damaged'


def _by_priority() -> dict[str, str]:
    """Name and kind of every checkpoint, an architecture's default first."""
    manifest = _manifest()
    kinds = {name: kind_of(name) for name in names()}
    return dict(sorted(kinds.items(), key=lambda item: (
        item[0] not in manifest, not manifest.get(item[0], {}).get('default'), KINDS.index(item[1]), item[0])))


def pretrained_cfgs(untrained: Mapping[str, Mapping[str, Any]]) -> dict[str, PretrainedCfg]:
    """timm's configuration of every classifier and auto-encoder, an architecture's default first.

    Args:
        untrained: That of each architecture, for checkpoints that are not at hand: on the Hub, or damaged.
    """
    manifest, cfgs = _manifest(), {}
    for name, kind in _by_priority().items():
        if kind not in ('classifier', 'autoencoder'):
            continue
        own = None
        try:
            own = _open_own(name)
            cfg = (own or _listed(name, WEIGHTS / name, manifest[name])).pretrained_cfg
        except CheckpointError:  # loading it says what is wrong; importing this package must go on
            cfg = PretrainedCfg(**untrained[split_name(name)[0]])
        source = {'file': cfg.file} if own else _source(name)
        cfgs[name] = dataclasses.replace(cfg, file=source.get('file'), hf_hub_id=source.get('hf_hub_id'))
    return cfgs


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
        place = text.removeprefix('hf-hub:')
        checkpoint = open_folder(download_checkpoint(place, cache_dir))
        name = place.partition('@')[0].rpartition('/')[2]  # for the folder's, which is the revision's digits
        return checkpoint if checkpoint.files else dataclasses.replace(checkpoint, name=name)
    if text.startswith('local-dir:'):
        return open_folder(text.removeprefix('local-dir:'))
    return open_folder(text) if means_a_folder(text) else None


def find(
        name: str,
        weights_or_tag: str | os.PathLike[str] | None = None,
        kind: str | None = None,
        cache_dir: str | None = None,
        way_out: str = '',
) -> Checkpoint:
    """The checkpoint that a name, a tag or a path means.

    Args:
        name: ``'scae_vgg16.dae_photos'``, or an architecture alone for its default checkpoint of that kind.
        weights_or_tag: A tag, a whole name, or what ``open_elsewhere`` opens; goes before the name's own tag.
        kind: 'autoencoder', 'classifier' or 'segmenter', where it matters.
        cache_dir: The Hub's cache, where it is not the usual one.
        way_out: What the caller's user can do where there is none, in the words of what he called.

    Raises:
        CheckpointError: There is no such checkpoint, or it is of another architecture or kind.
    """
    architecture, tag = split_name(name)
    given = os.fspath(weights_or_tag or '')
    other, is_whole_name, _ = given.partition('.')
    elsewhere = open_folder(given) if isinstance(weights_or_tag, os.PathLike) else open_elsewhere(given, cache_dir)
    if elsewhere is None and is_whole_name and other.startswith('scae_') and other != architecture:
        raise CheckpointError(f'{given}: is for {other}, not {architecture}; {there_are(architecture, kind)}')
    checkpoint = elsewhere or _find_by_name(
        architecture, given.removeprefix(f'{architecture}.') or tag, kind, cache_dir, way_out)
    checkpoint.require_architecture(architecture)
    checkpoint.require(kind)
    return checkpoint


def _of(architecture: str, kind: str | None) -> list[str]:
    kinds = [kind] if kind else KINDS[:3]
    return [name for name, its_kind in _by_priority().items()
            if split_name(name)[0] == architecture and its_kind in kinds]


def there_are(architecture: str, kind: str | None = None) -> str:
    """Which checkpoints of an architecture there are, for a message."""
    same = _of(architecture, kind)
    return f'there are {", ".join(same)}' if same else f'there is no {kind or "checkpoint"} of {architecture}'


def _find_by_name(architecture: str, tag: str, kind: str | None, cache_dir: str | None, way_out: str) -> Checkpoint:
    same = _of(architecture, kind)
    way_out = way_out and f'; {way_out}'
    if not same and tag in ('', 'untrained'):  # timm's default tag where there are no weights
        raise CheckpointError(f'{architecture}: no {kind or "checkpoint"} of it{way_out}')
    name = f'{architecture}.{tag}' if tag else same[0]
    checkpoint = open_local(name)
    if checkpoint is not None:
        return checkpoint
    entry = _manifest().get(name)
    if entry is None:
        raise CheckpointError(f'{name}: no such checkpoint; {there_are(architecture, kind)}{way_out}')
    return _listed(name, _download(name, entry, cache_dir), entry)


def _download(name: str, entry: Mapping[str, Any], cache_dir: str | None) -> Path:
    again = f'; or make it again with {entry.get("recipe", "its recipe")}'
    paths = [download(f'{HUB_ORG}/{name}', file, HUB_REVISION, cache_dir, again) for file in entry['files']]
    return paths[0].parent


def verified_overlay(
        architecture: str,
        pretrained_cfg: Any,
        overlay: Mapping[str, Any] | None,
        cache_dir: str | None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """timm's ``pretrained_cfg_overlay`` with ``file`` set to the encoder's file, found and verified by this module; and
    the arguments that its network was made with (``Checkpoint.model_args``).

    timm itself would load a damaged file, fall back to a pickle, or raise without a message.
    """
    overlay = dict(overlay or {})
    if isinstance(pretrained_cfg, dict) and pretrained_cfg.get('source') == 'local-dir':
        open_folder(pretrained_cfg['file']).verify(architecture)
    cfg = resolve_pretrained_cfg(architecture, pretrained_cfg, overlay)
    if cfg.state_dict:
        return overlay, {}
    if cfg.url:
        raise CheckpointError(f'{cfg.url}: weights are not read from a URL; download them, safetensors, and give file=')
    name = f'{architecture}.{cfg.tag}' if cfg.tag else architecture
    registered = _source(name)
    checkpoint = None
    hub_alone = bool(overlay.get('hf_hub_id')) and not overlay.get('file')  # what the caller asks for
    if cfg.file and cfg.file != registered.get('file') and not hub_alone:
        file, whose = Path(os.path.expanduser(cfg.file)), Path(cfg.file).stem
    elif cfg.hf_hub_id and (cfg.source == 'hf-hub' or cfg.hf_hub_id != registered.get('hf_hub_id')):
        whose, _, revision = cfg.hf_hub_id.partition('@')
        if cfg.hf_hub_filename in (None, ENCODER):
            file = download_checkpoint(cfg.hf_hub_id, cache_dir, with_decoder=False) / ENCODER
        else:
            file = download(whose, _only_safetensors(cfg.hf_hub_filename), revision or None, cache_dir)
    else:
        checkpoint = find(name, cache_dir=cache_dir, way_out=(
            "weights of your own: timm.create_model('local-dir:FOLDER', pretrained=True); for one still to be trained: "
            'pretrained=False'))
    if checkpoint is None and _stands_alone(file):
        _only_safetensors(str(file))
        Checkpoint(whose, file.parent, {}).tensors(file.name)
        return {**overlay, 'file': str(file), 'source': None}, {}
    checkpoint = checkpoint or open_folder(file)
    checkpoint.verify(architecture)
    overlay = {**_news(name, cfg, checkpoint), **overlay, 'file': str(checkpoint.folder / ENCODER), 'source': None}
    return overlay, checkpoint.model_args


def _news(name: str, cfg: PretrainedCfg, checkpoint: Checkpoint) -> dict[str, Any]:
    """What a checkpoint says of its classes and images where that is not what timm was told when this package was
    imported, and where the caller has not asked for something else: another of the same name may be found now, or the
    caller named its folder."""
    try:
        known, now = get_pretrained_cfg(name, allow_unregistered=False), checkpoint.pretrained_cfg
    except RuntimeError:  # no tag of which timm was told: the caller gave a configuration of his own
        return {}
    return {
        key: getattr(now, key) for key in OF_IMAGES_AND_CLASSES
        if getattr(known, key) == getattr(cfg, key) != getattr(now, key)}


def _stands_alone(path: Path) -> bool:
    """Whether a path means a file of weights without a checkpoint's folder around it."""
    return path.is_file() and (path.name != ENCODER or not (path.parent / 'config.json').is_file())


def _only_safetensors(file: str) -> str:
    if not file.endswith('.safetensors'):
        raise CheckpointError(f'{file}: is not a safetensors file; pickles are never loaded. Ways out: give a '
                              "safetensors file, or a checkpoint's folder; or, of a state_dict that timm has saved, "
                              'checkpoint_path= and pretrained=False')
    return file
