"""Our encoders against what people would take instead, and our decoders against our encoders, in inference.

    python benchmarks/peers.py
    python benchmarks/peers.py --compile

All in one run and in turn, channels_last; the fastest of the repeats counts. Folded: batch norms in the convolutions,
as timm's `reparameterize_model` does it to ours, and this script to timm's.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import timm
import torch
import torch.nn as nn
from engine import add_json, benchmark, write_json
from timm.models import reparameterize_model
from torch.utils.flop_counter import FlopCounterMode

from scae_zoo import create_autoencoder
from scae_zoo.cli.arguments import whole_number
from scae_zoo.models.architectures import ARCHITECTURES
from scae_zoo.training.precision import precision

PEERS = ('scae_vgg16', ('vgg16_bn', 'resnet50'), 224, 4), ('scae_allconv15', ('resnet18',), 32, 32)  # side, batch
DECODERS = {'scae_springenberg9': (32, 32), 'scae_allconv15': (32, 16), 'scae_swwae': (89, 8), 'scae_vgg16': (224, 2)}


def folded(model: nn.Module) -> nn.Module:
    """A network whose batch norms are in the convolutions that they follow, in the order of the modules."""
    model = reparameterize_model(model)
    for parent in model.modules():
        before = ''
        for name, child in list(parent.named_children()):
            conv = getattr(parent, before) if before else None
            if isinstance(child, nn.BatchNorm2d) and isinstance(conv, nn.Conv2d):
                setattr(parent, before, nn.utils.fuse_conv_bn_eval(conv, child))
                setattr(parent, name, getattr(child, 'act', nn.Identity()))
            before = name
    return model


def seconds(calls: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """The fastest of each, in turn, after one to warm up."""
    best = dict.fromkeys(calls, float('inf'))
    for repeat in range(repeats + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if repeat:
                best[name] = min(best[name], time.perf_counter() - start)
    return best


def ways(model: nn.Module, compiled: bool) -> dict[str, nn.Module]:
    found: dict[str, Any] = {'as it is': model, 'folded': folded(model)}
    if compiled:
        found['folded, compiled'] = torch.compile(found['folded'])
    return found


def against_peers(args: argparse.Namespace, dtype: torch.dtype) -> list[dict[str, Any]]:
    rows = []
    for ours, peers, side, batch in (each for each in PEERS if each[0] in args.networks):
        batch = args.batch_size or batch
        x = torch.randn(batch, 3, side, side).contiguous(memory_format=torch.channels_last)
        networks, flops = dict[str, Any](), dict[str, float]()
        for name in (ours, *peers):
            model = timm.create_model(name).eval().to(memory_format=torch.channels_last)
            with FlopCounterMode(display=False) as counter:
                model(x)
            flops[name] = counter.get_total_flops() / batch
            networks |= {f'{name}|{way}': each for way, each in ways(model, args.compile).items()}
        found = seconds({key: partial(each, x) for key, each in networks.items()}, args.repeats)
        for key, value in found.items():
            name, way = key.split('|')
            us = found[f'{ours}|{way}']
            rows.append({'network': name, 'way': way, 'precision': str(dtype).removeprefix('torch.'), 'side': side,
                         'milliseconds': 1e3 * value / batch, 'times_ours': value / us,
                         'times_ours_a_flop': value / flops[name] / (us / flops[ours])})
    return rows


def decoders(args: argparse.Namespace, dtype: torch.dtype) -> list[dict[str, Any]]:
    rows = []
    for name in args.networks:
        side, batch = DECODERS[name]
        batch = args.batch_size or batch
        x = torch.randn(batch, 3, side, side).contiguous(memory_format=torch.channels_last)
        both: Any
        for way, both in ways(create_autoencoder(name).eval().to(memory_format=torch.channels_last), False).items():
            found = seconds(
                {'both': partial(both, x), 'encoder': partial(both.encoder.forward_features, x)}, args.repeats)
            rows.append({
                'network': name, 'way': way, 'precision': str(dtype).removeprefix('torch.'), 'side': side,
                'milliseconds': 1e3 * found['both'] / batch, 'times_encoder': found['both'] / found['encoder']})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--networks', nargs='+', choices=list(ARCHITECTURES), default=list(ARCHITECTURES))
    parser.add_argument('--batch-size', type=whole_number(1), help='(default: each network has its own)')
    parser.add_argument('--repeats', type=whole_number(1), default=5,
                        help='measurements, of which the fastest counts (default: %(default)s)')
    parser.add_argument('--compile', action='store_true', help='measure with torch.compile as well')
    add_json(parser)
    args = parser.parse_args()
    with benchmark('cpu') as where, torch.inference_mode():
        dtypes = dict.fromkeys([torch.float32, precision(where.device)])  # bfloat16 where the processor has it
        both: list[list[dict[str, Any]]] = [[], []]
        for dtype in dtypes:
            with torch.autocast('cpu', torch.bfloat16, enabled=dtype is torch.bfloat16):
                both[0] += against_peers(args, dtype)
                both[1] += decoders(args, dtype)
        print('| network | way | precision | pixels | time, of ours | a multiply-add, of ours | ms an image |')
        print('| --- | --- | --- | --- | --- | --- | --- |')
        for row in both[0]:
            print(f'| {row["network"]} | {row["way"]} | {row["precision"]} | {row["side"]} | {row["times_ours"]:.2f} | '
                  f'{row["times_ours_a_flop"]:.2f} | {row["milliseconds"]:.1f} |')
        print('\n| auto-encoder | way | precision | pixels | time, of its encoder alone | ms an image |')
        print('| --- | --- | --- | --- | --- | --- |')
        for row in both[1]:
            print(f'| {row["network"]} | {row["way"]} | {row["precision"]} | {row["side"]} | '
                  f'{row["times_encoder"]:.2f} | {row["milliseconds"]:.1f} |')
        write_json(args, {'peers': both[0], 'decoders': both[1]})


if __name__ == '__main__':
    main()
