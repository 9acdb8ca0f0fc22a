"""``scae reconstruct`` and ``demo``: what auto-encoders do to a picture."""

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from ..checkpoints import finding
from ..checkpoints.folder import Checkpoint
from ..corruption import parse_corruption
from ..evaluation.denoising import psnr
from ..images import ImageError, faults_named, like, opaque, open_picture, open_rgb, save_png, side_by_side, to_rgb
from ..inference.asking import Answers, ask, identity, say_found
from ..inference.network import Network
from ..inference.outputs import Outputs
from ..inference.photographs import Photograph, find_photographs, pixels_of
from ..inference.unfinished import unfinished_folder
from ..models.autoencoder import Scae
from ..pixels import denormalize, normalize
from ..places import expand_path
from ..training.distributed import world
from .arguments import Command, whole_number
from .options import add_photograph_options, exit_status, load_autoencoder

DEMO_MODEL = 'scae_springenberg9'
FILLING_MODEL, FILLING_BLOCKS = 'scae_vgg16.dae_imagenette', 'block:0.25:16'
NOISE = 'gaussian:25'
UNCHANGED = 'none'  # --noise for images that are noisy already


class Pictures(NamedTuple):
    """A photograph's clean pixels and what the network gets, 3 x H x W uint8 and float32 in normalised units, and the
    picture that it came from, where the result is to be one of its kind."""

    clean: torch.Tensor
    corrupted: torch.Tensor
    original: Image.Image | None


class Reconstruction(NamedTuple):
    """How photographs are corrupted and reconstructed: by ``noise``, with a seed, or as they are."""

    network: Network[Scae]
    noise: str
    seed: int

    def read(self, photograph: Photograph) -> Pictures:
        if self.noise == UNCHANGED:
            with faults_named(photograph.path):
                original = open_picture(photograph.path)
                pixels = to_rgb(opaque(original))
        else:
            original, pixels = None, open_rgb(photograph.path)
        return self.corrupt(pixels)._replace(original=original)

    def corrupt(self, pixels: np.ndarray, holes: torch.Tensor | None = None) -> Pictures:
        """A photograph, H x W x 3 uint8, and what the network gets of it; where ``holes`` is given, H x W bool, with
        these masked in place of the noise."""
        clean = torch.from_numpy(pixels).permute(2, 0, 1)
        x = normalize(clean[None], self.network.mean, self.network.std)
        if holes is not None:
            x = x.masked_fill_(holes, 0)  # as BlockMask has it
        elif self.noise != UNCHANGED:
            corrupt = parse_corruption(self.noise, self.network.mean, self.network.std, clip=True)
            x = corrupt(x, torch.Generator().manual_seed(self.seed))
        return Pictures(clean, x[0], None)

    def pixels(self, x: torch.Tensor) -> torch.Tensor:
        """N x 3 x H x W in normalised units as uint8."""
        # in parts: a large photograph's float32 copies would be more than all else that is kept of it
        return torch.cat([denormalize(part, self.network.mean, self.network.std).round_().byte()
                          for part in x.split(256, 2)], 2)

    def of(self, pictures: list[Pictures]) -> list[torch.Tensor]:
        """The reconstructions, 3 x H x W uint8."""
        device = self.network.device
        return self.network.of_images(
            self.pixels, [each.corrupted for each in pictures],
            lambda x: x.to(device).contiguous(memory_format=torch.channels_last))

    def write(self, photograph: Photograph, pictures: Pictures, result: torch.Tensor, output: Path,
              scratch: Path | None = None) -> str:
        """Write the picture; returns what there is to say of it."""
        if pictures.original is not None:
            return _write_restored(photograph.path, pictures.original, result, output, scratch)
        before, after = self.compare(pictures, result, output, scratch)
        return f'{photograph.path}: PSNR {before:.2f} dB corrupted, {after:.2f} dB reconstructed -> {output}'

    def compare(self, pictures: Pictures, result: torch.Tensor, output: Path,
                scratch: Path | None = None) -> tuple[float, float]:
        """Write the picture input | corrupted | reconstruction; returns the PSNR before and after, in dB."""
        images = [pictures.clean, self.pixels(pictures.corrupted[None])[0], result]
        before, after = quality(images[0], images[1:])
        titles = ['input', f'{self.noise}  {before:.2f} dB', f'reconstruction  {after:.2f} dB']
        save_png(side_by_side([x.permute(1, 2, 0).numpy() for x in images], titles), output, scratch)
        return before, after


def quality(clean: torch.Tensor, others: list[torch.Tensor]) -> list[float]:
    """The PSNR of pictures to a clean one, 3 x H x W uint8, in dB."""
    return [psnr(x[None], clean[None]).item() for x in others]


def _write_restored(path: Path, original: Image.Image, result: torch.Tensor, output: Path,
                    scratch: Path | None) -> str:
    """Write the reconstruction of a file alone, a picture of the same kind; returns what there is to say of it."""
    picture = like(original, result.permute(1, 2, 0).numpy())
    save_png(picture, output, scratch, **picture.info)  # type: ignore[arg-type]
    lost = ['8 bits a channel'] * original.info['deep']
    if 'icc_profile' in original.info.keys() - picture.info.keys():
        lost.append(f'RGB for {original.mode}, without its colour profile')
    return f'{path}: -> {output}' + f' ({", ".join(lost)})' * bool(lost)


def noise_for(checkpoint: Checkpoint) -> str:
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
    noise = args.noise or noise_for(checkpoint)
    found = find_photographs(args.images, args.out)
    say_found(found)
    kind = 'reconstruction' if noise == UNCHANGED else noise.replace(':', '-')
    outputs = Outputs(args.out, found.photographs, [kind])
    with world(args.device) as place:
        reconstruction = Reconstruction(Network(model, place.device), noise, args.seed)
        with unfinished_folder(args.out, identity(
                checkpoint, reconstruction.network, found, command='reconstruct', noise=noise,
                seed=args.seed)).held() as kept:

            def answer(photographs: list[Photograph], pictures: list[Pictures]) -> Answers:
                notes, faults = [], []
                for photograph, each, result in zip(photographs, pictures, reconstruction.of(pictures), strict=True):
                    note = fault = ''
                    try:
                        note = reconstruction.write(photograph, each, result, outputs.of(photograph, kind), kept.folder)
                    except ImageError as error:
                        fault = str(error)
                    notes.append(note)
                    faults.append(fault)
                return Answers({}, notes, faults, [outputs.of(each, kind) for each in photographs])

            return exit_status(ask(found, reconstruction.read, answer, kept, pixels_of))


def _demonstrate(name: str, noise: str, what: str, output: Path) -> None:
    """Draw what an auto-encoder does to a photograph, and say how well."""
    from matplotlib.cbook import get_sample_data  # slow to import, and complains where there is no home folder

    model, checkpoint = load_autoencoder(name)
    photograph = Path(get_sample_data('grace_hopper.jpg', asfileobj=False))
    reconstruction = Reconstruction(Network(model, torch.device('cpu')), noise, seed=0)
    pictures = reconstruction.read(Photograph(photograph, Path(photograph.name)))
    before, after = reconstruction.compare(pictures, reconstruction.of([pictures])[0], output)
    print(f'checkpoint  {checkpoint.name}')
    print(f'photograph  {photograph.name}, {what}')
    print(f'PSNR        {before:.2f} dB before, {after:.2f} dB after')
    print(f'picture     {output.absolute()}')


def demo_command(args: argparse.Namespace) -> int:
    _demonstrate(DEMO_MODEL, NOISE, 'Gaussian noise of sigma 25 (of 255) added', args.out / 'demo.png')
    if FILLING_MODEL in finding.names():  # the installed package leaves it out for its size
        _demonstrate(FILLING_MODEL, FILLING_BLOCKS, 'a quarter masked in blocks of 16 pixels',
                     args.out / 'demo_filled.png')
    print('next: scae list; scae reconstruct PHOTOS; or train on your own: scae pretrain PHOTOS -o runs/photos')
    return 0


def add_commands(command: Command) -> None:
    sub = command('reconstruct', reconstruct_command)
    add_photograph_options(sub, 'an auto-encoder: ', default=DEMO_MODEL)
    sub.add_argument('--corruption', '--noise', dest='noise', metavar='CORRUPTION',
                     help='gaussian:SIGMA or gaussian:LOW-HIGH (of 255), or block:SHARE[:SIZE] (share of the area 0-1, '
                          'side of a block in pixels); none: the images are noisy already (default: the '
                          f'blocks that the auto-encoder was trained to fill, else {NOISE})')
    sub.add_argument('-o', '--out', '--output', metavar='DIR', type=expand_path, default=Path('.'),
                     help='folder for the pictures, made if need be (default: this one)')
    sub.add_argument('--seed', type=whole_number(0), default=0, help='seed of the noise (default: %(default)s)')

    sub = command('demo', demo_command)
    sub.add_argument('-o', '--out', '--output', metavar='DIR', type=expand_path, default=Path('scae_demo'),
                     help='folder for the pictures (default: %(default)s)')
