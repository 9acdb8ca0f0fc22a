"""Writes a checkpoint's folder, and the manifest of the checkpoints that ship with the package."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save
from timm.models._hub import save_config_for_hf

from ..checkpoints.finding import WEIGHTS
from ..checkpoints.folder import DECODER, ENCODER, MULTI_LABEL, Checkpoint, as_json, open_folder
from ..errors import CheckpointError
from ..models.decoder import ScaeDecoder
from ..models.scae import ScaeEncoder
from ..places import expand_path, sync


def stored_tensors(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Convolution weights as fp16, everything else as it is; contiguous, since safetensors keeps no strides."""
    return {
        key: (value.half() if value.ndim == 4 else value).detach().cpu().contiguous()
        for key, value in module.state_dict().items()
    }


def round_as_stored(module: torch.nn.Module) -> None:
    """Give a module the precision that its checkpoint will have, so that it can be measured before it is written."""
    module.load_state_dict(stored_tensors(module))


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


def write(
        folder: str | Path,
        encoder: ScaeEncoder,
        decoder: ScaeDecoder | None = None,
        *,
        recipe: Mapping[str, Any],
        metrics: Mapping[str, Any],
        card: str,
    multi_label: bool = False,
) -> Checkpoint:
    """Write a checkpoint's folder, whole or not at all.

    Args:
        folder: Where to; its name is the checkpoint's, ``<architecture>.<tag>``. What was there is replaced.
        encoder: A timm model of this zoo; its ``pretrained_cfg`` becomes ``config.json``.
        decoder: The decoder, for an auto-encoder or a segmenter.
        recipe: Hyper-parameters; ``command`` is the command that makes this checkpoint again.
        metrics: Measured figures.
        card: The README.
        multi_label: Whether a classifier may find several classes in an image.

    Raises:
        CheckpointError: The disk is full or the folder cannot be written; nothing is left half-written.
    """
    folder = expand_path(folder)
    with _replacing(folder) as partial:
        (partial / ENCODER).write_bytes(save(stored_tensors(encoder), {'format': 'pt'}))
        save_config_for_hf(encoder, str(partial / 'config.json'))
        ours: dict[str, Any] = {'problem_type': MULTI_LABEL} if multi_label else {}
        if decoder is not None:
            (partial / DECODER).write_bytes(save(stored_tensors(decoder), {'format': 'pt'}))
            ours['decoder'] = {'shortcuts': decoder.shortcuts, 'num_classes': decoder.num_classes}
        if ours:
            config = json.loads((partial / 'config.json').read_text())
            (partial / 'config.json').write_text(json.dumps({**config, **ours}, indent=2) + '\n')
        # the command may have a file's name that is no text
        (partial / 'recipe.yaml').write_text(yaml.safe_dump(dict(recipe), sort_keys=False), 'utf-8', 'backslashreplace')
        (partial / 'metrics.json').write_text(json.dumps(as_json(metrics), indent=2) + '\n')
        (partial / 'README.md').write_text(card, 'utf-8', 'backslashreplace')
        files = {
            path.name: {'sha256': hashlib.sha256(path.read_bytes()).hexdigest(), 'bytes': path.stat().st_size}
            for path in sorted(partial.iterdir())
        }
        entry = {'name': folder.name, 'recipe': recipe.get('command', ''), 'files': files}
        (partial / 'manifest.json').write_text(json.dumps(entry, indent=2) + '\n')
    return open_folder(folder)


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
