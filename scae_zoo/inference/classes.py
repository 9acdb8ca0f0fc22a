"""Which classes a classifier finds in photographs: a table as CSV, or as JSON lines."""

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch

from ..checkpoints.folder import as_json
from ..models.scae import ScaeEncoder
from .asking import Answers, Result, ask
from .network import Network
from .outputs import csv_row
from .photographs import Found, Photograph
from .unfinished import Unfinished


class Classes(NamedTuple):
    """What a classifier said.

    Args:
        files: The photographs' paths.
        names: The names of all classes.
        probabilities: N x K, in the order of ``indices``, 0-1.
        indices: N x K, the classes; the most probable first, or of a classifier of many labels all in their order.
    """

    files: list[str]
    names: tuple[str, ...]
    probabilities: torch.Tensor
    indices: torch.Tensor


def classify(
        network: Network[ScaeEncoder],
        found: Found,
        multi_label: bool,
        first: int,
        unfinished: Unfinished | None,
) -> tuple[Classes, Result]:
    """Ask a classifier about the middle of each photograph.

    Args:
        network: The classifier.
        found: The photographs.
        multi_label: Whether a photograph may have several classes: each then has a probability of its own.
        first: How many classes of a photograph are kept, of a classifier of one label; the most probable ones.
        unfinished: As ``ask`` has it.
    """
    def answer(_: list[Photograph], squares: list[torch.Tensor]) -> Answers:
        probabilities, indices = scores(network, squares, multi_label, first)
        return Answers({'probabilities': probabilities} if multi_label else {
            'probabilities': probabilities, 'indices': indices})

    result = ask(found, network.square, answer, unfinished)
    number = network.model.num_classes
    names = network.class_names(number)
    probabilities = result.tensors.get('probabilities', torch.empty(0, number))
    indices = result.tensors.get('indices', torch.arange(number).expand(len(probabilities), -1))
    return Classes([str(each.path) for each in result.photographs], names, probabilities, indices), result


def scores(
        network: Network[ScaeEncoder],
        squares: Sequence[torch.Tensor],
        multi_label: bool,
        first: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The ``probabilities`` and ``indices`` of ``Classes`` for N squares, 3 x crop x crop uint8 each."""
    logits = network.of_squares(network.model, torch.stack(list(squares)))
    if multi_label:
        return logits.sigmoid(), torch.arange(logits.shape[1]).expand(len(logits), -1)
    top = logits.softmax(1).topk(min(first, logits.shape[1]))
    return top.values, top.indices


def table(classes: Classes, multi_label: bool, as_json: bool) -> Iterator[str]:
    """The lines of the table: a header and a row a photograph, or a JSON object each."""
    if as_json:
        for file, found in _found(classes):
            if multi_label:
                yield _json({'file': file, 'probabilities': dict(found)})
            else:
                yield _json({'file': file, 'classes': [
                    {'class': name, 'probability': value} for name, value in found]})
        return
    if multi_label:
        yield csv_row(['file', *classes.names])
    else:
        ranks = [f'_{rank}' if rank > 1 else '' for rank in range(1, classes.indices.shape[1] + 1)]
        yield csv_row(['file', *(f'{column}{rank}' for rank in ranks for column in ('class', 'probability'))])
    for file, found in _found(classes):
        cells = [f'{value:.4f}' for _, value in found] if multi_label else [
            cell for name, value in found for cell in (name, f'{value:.4f}')]
        yield csv_row([file, *cells])


def _found(classes: Classes) -> Iterator[tuple[str, list[tuple[str, float]]]]:
    """Each photograph's classes with their probabilities."""
    for file, values, indices in zip(classes.files, classes.probabilities, classes.indices, strict=True):
        yield file, [(classes.names[i], round(value, 6))
                     for i, value in zip(indices.tolist(), values.tolist(), strict=True)]


def _json(said: dict[str, Any]) -> str:
    return json.dumps(as_json(said), allow_nan=False) + '\n'
