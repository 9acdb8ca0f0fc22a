"""What an encoder knows of photographs, as a vector each: kept in a file, and searched for the nearest ones."""

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from ..models.scae import ScaeEncoder
from ..places import expand_path, written_whole
from .asking import Answers, Result, ask
from .network import Network
from .outputs import csv_row
from .photographs import Found, Photograph
from .unfinished import Unfinished

FORMATS = ('.safetensors', '.npz', '.csv')


class Features(NamedTuple):
    """Features of photographs.

    Args:
        files: The photographs' paths.
        values: N x C float32.
        made_by: Checkpoint, layer and more, as they are recorded.
    """

    files: list[str]
    values: torch.Tensor
    made_by: dict[str, Any]


def embed(
        network: Network[ScaeEncoder],
        found: Found,
        layer: int | None,
        unfinished: Unfinished | None,
) -> Result:
    """The features of the middle of each photograph, ``features`` of the result, N x C float32: what a classifier would
    see, or the mean over all places of a layer's output.

    Args:
        network: The encoder.
        found: The photographs.
        layer: The convolution, from 1; None: the pooled features behind the last one.
        unfinished: As ``ask`` has it.
    """
    def answer(_: list[Photograph], squares: list[torch.Tensor]) -> Answers:
        return Answers({'features': features_of(network, squares, layer)})

    return ask(found, network.square, answer, unfinished)


def features_of(network: Network[ScaeEncoder], squares: Sequence[torch.Tensor], layer: int | None) -> torch.Tensor:
    """The features of N squares, 3 x crop x crop uint8 each, as ``embed`` has them."""
    def pooled(x: torch.Tensor) -> torch.Tensor:
        if layer is None:
            return network.model.forward_head(network.model.forward_features(x), pre_logits=True)
        return network.model.blocks[:layer](x).float().mean((2, 3))

    return network.of_squares(pooled, torch.stack(list(squares)))


def save_features(features: Features, path: Path) -> None:
    """Write features by the suffix of the file, whole or not at all: a safetensors file with the tensor
    ``features`` and, as JSON in the entry ``photographs`` of its metadata, the names ``files``; an ``.npz`` with both;
    or a CSV with a row a photograph.

    Raises:
        OSError: The disk is full or the folder cannot be written.
    """
    with written_whole(path) as file:
        if path.suffix == '.npz':
            files = np.array([name.encode('utf-8', 'surrogateescape') for name in features.files])
            np.savez(file, features=features.values.numpy(), files=files, made_by=json.dumps(features.made_by))
        elif path.suffix == '.csv':
            file.write(csv_row(['file', *(f'f{i}' for i in range(features.values.shape[1]))]).encode())
            for name, row in zip(features.files, features.values, strict=True):
                cells = [name, *(f'{value:.6g}' for value in row.tolist())]
                file.write(csv_row(cells).encode('utf-8', 'surrogateescape'))
        else:  # one entry of metadata: several have no order of their own
            file.write(save({'features': features.values}, {
                'photographs': json.dumps({'files': features.files, 'made_by': features.made_by})}))


def load_features(path: str | Path) -> Features:
    """What ``save_features`` wrote as safetensors or ``.npz``.

    Raises:
        ValueError: It is missing or something else.
    """
    path = expand_path(path)
    try:
        if path.suffix == '.npz':
            with np.load(path, allow_pickle=False) as file:
                names = [name.decode('utf-8', 'surrogateescape') for name in file['files'].tolist()]
                found = Features(names, torch.from_numpy(file['features']), json.loads(str(file['made_by'])))
        else:
            with safe_open(path, 'pt') as tensors:
                said = json.loads((tensors.metadata() or {})['photographs'])
                found = Features(said['files'], tensors.get_tensor('features'), said['made_by'])
    except FileNotFoundError:
        raise ValueError(f'{path}: there is no such file; give the photographs that it is to be made of, too') from None
    except (OSError, SafetensorError, zipfile.BadZipFile, KeyError, TypeError, ValueError) as error:
        raise ValueError(f'{path}: holds no features that `scae embed` wrote ({error}); to search, give one that '
                         'ends in .safetensors or .npz') from None
    if found.values.ndim != 2 or len(found.values) != len(found.files):
        raise ValueError(f'{path}: has {len(found.files):,} names for features of shape '
                         f'{tuple(found.values.shape)}; make it again')
    return found


def nearest(features: Features, query: torch.Tensor, number: int) -> Sequence[tuple[str, float]]:
    """The files whose features differ from the mean of all as those of a query do, C values, each by its standard
    deviation, with the cosine of the angle between, most alike first. Features that are all positive would else point
    nearly one way."""
    deviation, mean = torch.std_mean(features.values, dim=0, correction=0)
    deviation = deviation.clamp_min(1e-6)
    likeness = F.normalize((features.values - mean) / deviation, dim=1) @ F.normalize((query - mean) / deviation, dim=0)
    top = likeness.topk(min(number, len(likeness)))
    return [(features.files[i], value) for value, i in zip(top.values.tolist(), top.indices.tolist(), strict=True)]
