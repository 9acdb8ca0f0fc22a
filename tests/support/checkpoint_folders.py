"""Writes and edits checkpoints' folders."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

import scae_zoo
from scae_zoo import create_autoencoder
from scae_zoo.checkpoints import finding
from scae_zoo.checkpoints.writing import write

from .networks import SHIPPED

ARCHITECTURE, TAG = finding.split_name(SHIPPED)
NOTES = {'recipe': {'command': 'python recipes/mine.py'}, 'metrics': {'figure': 1.5}, 'card': '# mine\n'}


def write_autoencoder(folder: Path, architecture: str = ARCHITECTURE, **kwargs) -> scae_zoo.Scae:
    model = create_autoencoder(architecture, **kwargs)
    write(folder, model.encoder, model.decoder, **NOTES)
    return model


def weights_without(architecture: str, folder: Path) -> Path:
    """The zoo's checkpoints but for one network's, as where that has none: links in a new folder."""
    folder.mkdir(parents=True)
    manifest = json.loads((finding.WEIGHTS / 'manifest.json').read_text())
    left = {name: entry for name, entry in manifest.items() if not name.startswith(f'{architecture}.')}
    (folder / 'manifest.json').write_text(json.dumps(left))
    for name in left:
        (folder / name).symlink_to(finding.WEIGHTS / name)
    return folder


def edit(path: Path, change: Callable[[Any], Any]) -> None:
    """Change a file of a checkpoint, and forget what its manifest says of it."""
    (path.parent / 'manifest.json').unlink(missing_ok=True)
    if path.suffix == '.json':
        path.write_text(json.dumps(change(json.loads(path.read_text()))))
    else:
        save_file(change(load_file(path)), path)


def without_names(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration that names no classes, as others write them."""
    return {key: without_names(value) if key == 'pretrained_cfg' else value
            for key, value in config.items() if key != 'label_names'}


def same(a: torch.nn.Module, b: torch.nn.Module, tolerance: float = 0.) -> bool:
    x, y = a.state_dict(), b.state_dict()
    return x.keys() == y.keys() and all(torch.allclose(x[k], y[k], rtol=tolerance, atol=tolerance) for k in x)
