"""What Winograd's algorithm (`scae_zoo.winograd`) gains on a CPU in float32, against PyTorch's convolutions.

    python benchmarks/winograd.py

Single layers by 3 x 3, and whole networks at the crops that they are trained with: how many times as long PyTorch's
take, forward alone and forward with backward, in turn; and the largest difference of the outputs, of their spread. The
time is the least of the repeats.
"""

import argparse
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
import torch.nn as nn
from engine import TASKS, add_json, benchmark, config, create, write_json

from scae_zoo.cli.arguments import whole_number
from scae_zoo.models.architectures import ARCHITECTURES
from scae_zoo.winograd import Winograd

LAYERS = '128x57', '192x15', '256x12', '512x12', '512x9', '512x8', '512x5'  # channels x side of the map in pixels
WAYS: tuple[Callable[[], AbstractContextManager[Any]], ...] = nullcontext, Winograd


def layer(text: str) -> tuple[int, int]:
    channels, side = map(int, text.split('x'))
    return channels, side


def measured(model: nn.Module, x: torch.Tensor, repeats: int) -> dict[str, float]:
    """Times of PyTorch's way, of ours, and the difference."""
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = x.contiguous(memory_format=torch.channels_last)
    found: dict[str, float] = {}

    def forward(way: Callable[[], AbstractContextManager[Any]]) -> torch.Tensor:
        with way(), torch.inference_mode():
            return model(x)

    def both(way: Callable[[], AbstractContextManager[Any]]) -> None:
        with way():
            y = model(x)
        y.square().mean().backward()

    for name, call in (('forward', forward), ('with backward', both)):
        model.train(call is both)
        best = [float('inf')] * len(WAYS)
        for repeat in range(repeats + 1):
            for number, way in enumerate(WAYS):
                start = time.perf_counter()
                call(way)
                if repeat:  # the first warms up
                    best[number] = min(best[number], time.perf_counter() - start)
        found |= {name: best[0] / best[1], f'{name}, seconds': best[1]}
    model.eval()
    plain, ours = (forward(way) for way in WAYS)
    return {**found, 'difference': float((plain - ours).abs().max() / plain.std())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    count = whole_number(1)
    parser.add_argument('--layers', nargs='*', type=layer, default=list(map(layer, LAYERS)), metavar='CHANNELSxPIXELS',
                        help=f'(default: {" ".join(LAYERS)})')
    parser.add_argument('--networks', nargs='*', choices=list(ARCHITECTURES), default=list(ARCHITECTURES))
    parser.add_argument('--batch-size', type=count, default=32, help='(default: %(default)s)')
    parser.add_argument('--repeats', type=count, default=3, help='measurements of each (default: %(default)s)')
    add_json(parser)
    args = parser.parse_args()
    with benchmark('cpu'):
        print('| float32 | pixels | forward | with backward | seconds of ours | difference |')
        print('| --- | --- | --- | --- | --- | --- |')
        rows = []
        todo: list[tuple[str, int, int, Callable[[], nn.Module]]] = [
            (f'{channels} channels', channels, side, partial(nn.Conv2d, channels, channels, 3, padding=1))
            for channels, side in args.layers]
        todo += [(f'{network}, {task}', 3, config(network)['input_size'][-1], partial(create, task, network))
                 for network in args.networks for task in TASKS]
        for name, channels, side, make in todo:
            torch.manual_seed(0)
            row = measured(make(), torch.randn(args.batch_size, channels, side, side), args.repeats)
            print(f'| {name} | {side} | {row["forward"]:.2f} | {row["with backward"]:.2f} | '
                  f'{row["with backward, seconds"]:.3g} | {row["difference"]:.0e} |', flush=True)
            rows.append({'name': name, 'pixels': side, **row})
        write_json(args, rows)


if __name__ == '__main__':
    main()
