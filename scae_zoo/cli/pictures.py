"""``scae reconstruct`` and ``demo``: what auto-encoders do to a picture."""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

from ..checkpoints import finding
from ..checkpoints.folder import Checkpoint
from ..corruption import parse_corruption
from ..evaluation.denoising import psnr
from ..evaluation.tiling import reconstruct
from ..images import ImageError, faults_named, like, opaque, open_picture, open_rgb, save_png, side_by_side, to_rgb
from ..models.autoencoder import Scae
from ..pixels import denormalize, normalize
from ..places import expand, expand_path
from .arguments import Command, whole_number
from .options import load_autoencoder

DEMO_MODEL = 'scae_springenberg9'
FILLING_MODEL, FILLING_BLOCKS = 'scae_vgg16.dae_imagenette', 'block:0.25:16'
NOISE = 'gaussian:25'
UNCHANGED = 'none'  # --noise for images that are noisy already


def _reconstructed(model: Scae, noise: str, pixels: np.ndarray, seed: int) -> list[torch.Tensor]:
    """An image, H x W x 3 uint8, the same corrupted, and reconstructed from that, 1 x 3 x H x W uint8 each."""
    mean, std = model.encoder.pretrained_cfg['mean'], model.encoder.pretrained_cfg['std']
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    x = normalize(image, mean, std)
    if noise != UNCHANGED:
        x = parse_corruption(noise, mean, std, clip=True)(x, torch.Generator().manual_seed(seed))
    return [image, *(denormalize(y, mean, std).round().byte() for y in (x, reconstruct(model, x)))]


def _corrupted(model: Scae, noise: str, path: Path, output: Path, seed: int) -> tuple[float, float]:
    """Write the picture input | corrupted | reconstruction of one file; returns the PSNR before and after, in dB."""
    images = _reconstructed(model, noise, open_rgb(path), seed)
    before, after = (psnr(x, images[0]).item() for x in images[1:])
    panels = [x[0].permute(1, 2, 0).numpy() for x in images]
    titles = ['input', f'{noise}  {before:.2f} dB', f'reconstruction  {after:.2f} dB']
    save_png(side_by_side(panels, titles), output)
    return before, after


def _restored(model: Scae, path: Path, output: Path) -> str:
    """Write the reconstruction of one file as it is, a picture of the same kind; returns what it has not kept."""
    with faults_named(path):
        picture = open_picture(path)
        pixels = to_rgb(opaque(picture))
    *_, reconstruction = _reconstructed(model, UNCHANGED, pixels, seed=0)
    result = like(picture, reconstruction[0].permute(1, 2, 0).numpy())
    save_png(result, output, **result.info)  # type: ignore[arg-type]
    lost = ['8 bits a channel'] * picture.info['deep']
    if 'icc_profile' in picture.info.keys() - result.info.keys():
        lost.append(f'RGB for {picture.mode}, without its colour profile')
    return ', '.join(lost)


def _free_name(folder: Path, stem: str, taken: set[Path]) -> Path:
    """A name that is no input of this call nor what becomes of another one: two inputs may share a stem."""
    path, number = folder / f'{stem}.png', 2
    while path.resolve() in taken:
        path, number = folder / f'{stem}-{number}.png', number + 1
    taken.add(path.resolve())
    return path


def _noise_for(checkpoint: Checkpoint) -> str:
    """The blocks that an auto-encoder was trained to fill, as it was measured with them, else Gaussian noise."""
    filling = checkpoint.metrics.get('filling_psnr')
    blocks = filling.get('corruption') if isinstance(filling, dict) else None
    return blocks if isinstance(blocks, str) else NOISE


def reconstruct_command(args: argparse.Namespace) -> int:
    if args.noise not in (None, UNCHANGED):
        try:  # a wrong option is refused before anything is loaded
            parse_corruption(args.noise, (0.,), (1.,))
        except ValueError as error:
            raise ValueError(f'--noise: {error}; or none, for images that are noisy already') from None
    model, checkpoint = load_autoencoder(args.model, '--model')
    args.noise = args.noise or _noise_for(checkpoint)
    failed, taken = 0, {path.resolve() for path in args.images}
    for path in args.images:
        suffix = 'reconstruction' if args.noise == UNCHANGED else args.noise.replace(':', '-')
        output = _free_name(args.output, f'{path.stem}_{suffix}', taken)
        try:
            if args.noise == UNCHANGED:
                lost = _restored(model, path, output)
                print(f'{path}: -> {output}{f" ({lost})" * bool(lost)}')
            else:
                before, after = _corrupted(model, args.noise, path, output, args.seed)
                print(f'{path}: PSNR {before:.2f} dB corrupted, {after:.2f} dB reconstructed -> {output}')
        except ImageError as error:
            print(f'scae: error: {error}', file=sys.stderr)
            failed += 1
    if failed == len(args.images):
        return 2
    return 1 if failed else 0


def _demonstrate(name: str, noise: str, what: str, output: Path) -> None:
    """Draw what an auto-encoder does to a photograph, and say how well."""
    from matplotlib.cbook import get_sample_data  # slow to import, and complains where there is no home folder

    model, checkpoint = load_autoencoder(name)
    photograph = Path(get_sample_data('grace_hopper.jpg', asfileobj=False))
    before, after = _corrupted(model, noise, photograph, output, seed=0)
    print(f'checkpoint  {checkpoint.name}')
    print(f'photograph  {photograph.name}, {what}')
    print(f'PSNR        {before:.2f} dB before, {after:.2f} dB after')
    print(f'picture     {output.absolute()}')


def demo_command(args: argparse.Namespace) -> int:
    _demonstrate(DEMO_MODEL, NOISE, 'Gaussian noise of sigma 25 (of 255) added', args.output / 'demo.png')
    if FILLING_MODEL in finding.names():  # the installed package leaves it out for its size
        _demonstrate(FILLING_MODEL, FILLING_BLOCKS, 'a quarter masked in blocks of 16 pixels',
                     args.output / 'demo_filled.png')
    return 0


def add_commands(command: Command) -> None:
    sub = command('reconstruct', reconstruct_command)
    sub.add_argument('images', metavar='IMAGE', type=expand_path, nargs='+', help='image files of any size and mode')
    sub.add_argument('--model', default=DEMO_MODEL, type=expand, help=
                     'auto-encoder: a checkpoint, an architecture, a folder or hf-hub:USER/REPOSITORY '
                     '(default: %(default)s)')
    sub.add_argument('--noise',
                     help='gaussian:SIGMA or gaussian:LOW-HIGH (of 255), or block:SHARE[:SIZE] (share of the area 0-1, '
                          'side of a block in pixels); none: the images are noisy already (default: the '
                          f'blocks that the auto-encoder was trained to fill, else {NOISE})')
    sub.add_argument('-o', '--output', metavar='DIR', type=expand_path, default=Path('.'),
                     help='folder for the pictures, made if need be (default: this one)')
    sub.add_argument('--seed', type=whole_number(0), default=0, help='seed of the noise (default: %(default)s)')

    sub = command('demo', demo_command)
    sub.add_argument('-o', '--output', metavar='DIR', type=expand_path, default=Path('scae_demo'),
                     help='folder for the pictures (default: %(default)s)')
