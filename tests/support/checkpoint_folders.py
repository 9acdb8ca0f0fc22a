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
