"""What bfloat16, in which large photographs are computed where the processor has it, does to reconstructions.

    python benchmarks/bfloat16.py --data-dir data/imagenette160

Each auto-encoder's reconstructions of photographs, in both precisions, norms folded, as `scae reconstruct` computes
them: the PSNR of either to the photographs, and of the one to the other, the mean over all in dB. bfloat16 is float32
whose convolutions' inputs, weights and outputs are rounded to it: as it is computed, but for the order of the sums, and
fast on any processor.
"""

import argparse
from contextlib import nullcontext
from typing import Any

import torch
from engine import add_json, benchmark, write_json
from timm.models import reparameterize_model
from torch.overrides import TorchFunctionMode

from scae_zoo import create_autoencoder, reconstruct
from scae_zoo.cli.arguments import whole_number
from scae_zoo.corruption import parse_corruption
from scae_zoo.data.cache import load
from scae_zoo.data.sources import few, find_source
from scae_zoo.evaluation.denoising import psnr
from scae_zoo.pixels import denormalize, normalize
from scae_zoo.places import expand_path

CORRUPTIONS = {'scae_springenberg9': 'gaussian:25.5', 'scae_allconv15': 'gaussian:25.5', 'scae_vgg16': 'block:0.25:16'}


class Rounded(TorchFunctionMode):
    """Convolutions as autocast computes them in bfloat16."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func not in (torch.conv2d, torch.conv_transpose2d):
            return func(*args, **(kwargs or {}))
        x, *others = (_rounded(each) if isinstance(each, torch.Tensor) else each for each in args)
        return _rounded(func(x, *others, **(kwargs or {})))


def _rounded(x: torch.Tensor) -> torch.Tensor:
    return x.bfloat16().float()


@torch.inference_mode()
def measured(network: str, images: torch.Tensor) -> dict[str, float]:
    model = create_autoencoder(network, pretrained=True).eval()
    reparameterize_model(model, inplace=True)
    cfg: dict[str, Any] = model.pretrained_cfg
    mean, std = cfg['mean'], cfg['std']
    corrupt = parse_corruption(CORRUPTIONS[network], mean, std, clip=True)
    found = []
    for number, image in enumerate(images.split(1)):
        x = corrupt(normalize(image, mean, std), torch.Generator().manual_seed(number))
        results = []
        for precision in nullcontext(), Rounded():
            with precision:
                results.append(denormalize(reconstruct(model, x), mean, std).round())
        found.append(torch.cat([psnr(results[0], image), psnr(results[1], image), psnr(*results)]))
    single, fast, between = torch.stack(found).mean(0).tolist()
    return {'float32': single, 'bfloat16': fast, 'between': between}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--networks', nargs='+', choices=list(CORRUPTIONS), default=list(CORRUPTIONS))
    parser.add_argument('--data-dir', type=expand_path, required=True, help='folder of photographs')
    parser.add_argument('--images', type=whole_number(1), default=20, help='(default: %(default)s)')
    parser.add_argument('--size', type=whole_number(17), default=160, help='of a side (default: %(default)s)')
    add_json(parser)
    args = parser.parse_args()
    with benchmark('cpu'):
        images = load(few(find_source(str(args.data_dir)), args.images), args.size).images
        print('| auto-encoder | corruption | float32 | bfloat16 | of the one to the other |')
        print('| --- | --- | --- | --- | --- |')
        rows = {}
        for network in args.networks:
            rows[network] = row = measured(network, images)
            print(f'| {network} | {CORRUPTIONS[network]} | {row["float32"]:.2f} dB | {row["bfloat16"]:.2f} dB | '
                  f'{row["between"]:.1f} dB |', flush=True)
        write_json(args, rows)


if __name__ == '__main__':
    main()
