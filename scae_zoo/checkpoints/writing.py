"""Writes a checkpoint's folder, and the manifest of the checkpoints that ship with the package."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
import yaml
from safetensors.torch import save
from timm.models._hub import save_config_for_hf

from ..errors import CheckpointError
from ..places import expand_path, sync
from .finding import WEIGHTS, split_name
from .folder import DECODER, ENCODER, MULTI_LABEL, Checkpoint, as_json, open_folder

FILES = (ENCODER, DECODER, 'config.json', 'recipe.yaml', 'metrics.json', 'README.md', 'manifest.json')
OURS = {  # the entries of config.json that are read off the network
    'architecture', 'num_classes', 'num_features', 'global_pool', 'model_args', 'pretrained_cfg', 'decoder'}


class Decoder(Protocol):
    """What is recorded of a decoder beside its weights."""

    shortcuts: bool
    num_classes: int | None

    def state_dict(self) -> dict[str, torch.Tensor]: ...


def _stored(module: torch.nn.Module | Decoder) -> bytes:
    """A safetensors file of a module's weights: those of convolutions as fp16 where that changes none of them."""
    return save({key: _smaller(value.detach().cpu()).contiguous() for key, value in module.state_dict().items()},
                {'format': 'pt'})  # contiguous: safetensors keeps no strides


def _smaller(value: torch.Tensor) -> torch.Tensor:
    half = value.half()
    return half if value.ndim == 4 and torch.equal(half.to(value.dtype), value) else value


def round_as_stored(module: torch.nn.Module) -> None:
    """Round convolution weights to fp16, so that a checkpoint takes half the space, and is measured as it is stored."""
    module.load_state_dict({
        key: value.half() if value.ndim == 4 else value for key, value in module.state_dict().items()})


@contextmanager
def _replacing(folder: Path) -> Iterator[Path]:
    """A folder to write into that takes ``folder``'s place when the block ends well, and else leaves no trace."""
    with ExitStack() as leftovers:
        old = None
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            # hidden, and beside the folder: a rename is atomic only within one file system
            scratch = Path(tempfile.mkdtemp(prefix=f'.{folder.name}.', dir=folder.parent))
            leftovers.callback(shutil.rmtree, scratch, ignore_errors=True)
            partial = scratch / 'new'
            partial.mkdir()
            yield partial
            for path in partial.iterdir():
                sync(path)
            if folder.exists():
                old = scratch / 'old'  # said before it is done: Ctrl-C may come right after that
                folder.rename(old)
            partial.rename(folder)
        except BaseException as error:  # also Ctrl-C
            if old is not None and old.exists() and not folder.exists():
                old.rename(folder)
            if not isinstance(error, OSError):
                raise
            raise CheckpointError(f'{folder}: cannot be written ({error.strerror}); nothing was changed') from error


def require_replaceable(folder: Path) -> None:
    """Refuse a place that holds something that would be lost: anything but a checkpoint of ours, and one that a run
    has made, with its recipe and figures.

    Raises:
        CheckpointError: It does.
    """
    if os.path.lexists(folder) and not folder.is_dir():
        raise CheckpointError(f'{folder}: is a file, which would be lost; give a new folder')
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    others = sorted(there - {*FILES}) or [name for name in ('recipe.yaml', 'metrics.json') if name in there]
    if others or (there and 'manifest.json' not in there):
        raise CheckpointError(f'{folder}: holds {[*others, *sorted(there)][0]}, which would be lost; give a new folder')


def write(
        folder: str | Path,
        encoder: torch.nn.Module,
        decoder: Decoder | None = None,
        *,
        card: str,
        recipe: Mapping[str, Any] | None = None,
        metrics: Mapping[str, Any] | None = None,
        multi_label: bool = False,
        config: Mapping[str, Any] | None = None,
) -> Checkpoint:
    """Write a checkpoint's folder, whole or not at all.

    Args:
        folder: Where to; its name is the checkpoint's, ``<architecture>.<tag>``. What was there is replaced.
        encoder: A timm model of this zoo; its ``pretrained_cfg`` becomes ``config.json``.
        decoder: The decoder, for an auto-encoder or a segmenter.
        card: The README.
        recipe: Hyper-parameters, where they are known; ``command`` is the command that makes this checkpoint again.
        metrics: Measured figures, where there are some.
        multi_label: Whether a classifier may find several classes in an image.
        config: Other entries of ``config.json``, as timm's ``save_for_hf`` takes them.

    Raises:
        CheckpointError: The disk is full or the folder cannot be written; nothing is left half-written.
        ValueError: ``config`` has an entry that is the network's own, or other names than one a class.
    """
    folder = expand_path(folder)
    with _replacing(folder) as partial:
        (partial / ENCODER).write_bytes(_stored(encoder))
        if decoder is not None:
            (partial / DECODER).write_bytes(_stored(decoder))
        _write_config(partial / 'config.json', folder.name, encoder, decoder, multi_label, config or {})
        if recipe is not None:
            text = yaml.safe_dump(dict(recipe), sort_keys=False)  # the command may have a file's name that is no text
            (partial / 'recipe.yaml').write_text(text, 'utf-8', 'backslashreplace')
        if metrics is not None:
            (partial / 'metrics.json').write_text(json.dumps(as_json(metrics), indent=2) + '\n')
        (partial / 'README.md').write_text(card, 'utf-8', 'backslashreplace')
        write_manifest(partial, folder.name, (recipe or {}).get('command', ''))
    return open_folder(folder)


def _require_others(config: Mapping[str, Any], classes: int) -> None:
    """Refuse entries of ``config.json`` that are none of the caller's, or would name other classes than there are.

    Raises:
        ValueError: There are some.
    """
    if ours := sorted(config.keys() & OURS):
        raise ValueError(f'config: {", ".join(ours)} cannot be given, as the network itself says it; leave it out')
    if 'labels' in config:  # which timm would take for label_names
        raise ValueError('config: labels is called label_names')
    names = config.get('label_names')
    usable = isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names)
    if names is not None and not (usable and len(names) == classes):
        given = f'{len(names)} names' if usable else repr(names)
        raise ValueError(f'config: label_names must be a list of names, one for each of the {classes} classes in their '
                         f'order, not {given}')


def _write_config(
        path: Path,
        name: str,
        encoder: Any,
        decoder: Decoder | None,
        multi_label: bool,
        others: Mapping[str, Any],
) -> None:
    _require_others(others, encoder.num_classes if decoder is None else decoder.num_classes or 0)
    architecture, tag = split_name(name)
    cfg = {'num_classes': encoder.num_classes}
    if architecture == encoder.pretrained_cfg['architecture']:
        cfg |= {'tag': tag}
    ours: dict[str, Any] = {'pretrained_cfg': cfg}
    if decoder is not None:
        ours['decoder'] = {'shortcuts': decoder.shortcuts, 'num_classes': decoder.num_classes}
    save_config_for_hf(encoder, str(path), {**others, **ours})
    config = for_transformers(json.loads(path.read_text()), multi_label)
    path.write_text(json.dumps(config, indent=2) + '\n')


def for_transformers(config: Mapping[str, Any], multi_label: bool = False) -> dict[str, Any]:
    """timm's ``config.json`` such that transformers takes it as well: it gives timm the number of classes itself, looks
    for their names at the top level, and wants to know whether an image may have several."""
    model_args = {key: value for key, value in config.get('model_args', {}).items() if key != 'num_classes'}
    names = config['pretrained_cfg'].get('label_names')
    return {
        **config,
        **({'label_names': names} if names and len(names) == config['num_classes'] else {}),
        **({'problem_type': MULTI_LABEL} if multi_label else {}),
        'model_args': model_args,
    }


def write_manifest(folder: Path, name: str, recipe: str) -> None:
    """List a folder's files in its ``manifest.json``."""
    files = {
        path.name: {'sha256': hashlib.sha256(path.read_bytes()).hexdigest(), 'bytes': path.stat().st_size}
        for path in sorted(folder.iterdir()) if path.name != 'manifest.json'
    }
    entry = {'name': name, 'recipe': recipe, 'files': files}
    (folder / 'manifest.json').write_text(json.dumps(entry, indent=2) + '\n')


def copy(checkpoint: Checkpoint, root: str | Path) -> None:
    """Copy a checkpoint's folder below another one, whole or not at all; what was there under its name is replaced.

    Raises:
        CheckpointError: The disk is full or the folder cannot be written.
    """
    with _replacing(expand_path(root) / checkpoint.name) as partial:
        for path in checkpoint.folder.iterdir():
            shutil.copyfile(path, partial / path.name)


def update_manifest(root: str | Path = WEIGHTS) -> None:
    """Rewrite the package's ``manifest.json`` from the folders beside it; keeps the marks.

    ``hub``: it is on the Hub; ``default``: it goes first of its architecture.
    """
    path = Path(root) / 'manifest.json'
    old = json.loads(path.read_text()) if path.is_file() else {}
    new = {}
    for folder in sorted(p.parent for p in Path(root).glob('*/manifest.json')):
        checkpoint = open_folder(folder)
        marks = {key: old.get(folder.name, {}).get(key, mark)
                 for key, mark in (('hub', False), ('default', False))}
        new[folder.name] = {
            'kind': checkpoint.kind, **marks, 'recipe': checkpoint.recipe, 'files': dict(checkpoint.files)}
    partial = path.with_suffix('.partial')
    partial.write_text(json.dumps({**{k: v for k, v in old.items() if v.get('hub')}, **new}, indent=2) + '\n')
    os.replace(partial, path)
