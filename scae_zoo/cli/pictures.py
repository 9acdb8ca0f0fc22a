"""``scae list``, ``info``, ``reconstruct`` and ``demo``: what checkpoints there are, and what they do to a picture."""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

from ..checkpoints import finding
from ..checkpoints.folder import Checkpoint, CheckpointError
from ..corruption import parse_corruption
from ..evaluation.denoising import psnr
from ..evaluation.tiling import reconstruct
from ..factory import create_autoencoder, create_segmenter, find_checkpoint
from ..images import ImageError, faults_named, like, opaque, open_picture, open_rgb, save_png, side_by_side, to_rgb
from ..models.autoencoder import Scae
from ..models.scae import ARCHITECTURES
from ..models.segmenter import ScaeSegmenter
from ..pixels import denormalize, normalize
from ..places import expand, expand_path
from .options import Command, load_autoencoder, metric_lines, whole_number

DEMO_MODEL = 'scae_springenberg9'
UNCHANGED = 'none'  # --noise for images that are noisy already


def _headline(checkpoint: Checkpoint) -> str:
    for key, text in (
            ('denoising_psnr', '{denoised:.2f} dB at sigma {sigma}'), ('accuracy', '{value:.2f} % accuracy'),
            ('mean_average_precision', '{value:.2f} % mAP'), ('mean_iou', '{value:.2f} % mean IoU')):
        if key in checkpoint.metrics:
            try:
                return text.format(**checkpoint.metrics[key])
            except (KeyError, TypeError, ValueError):
                raise checkpoint.error('metrics.json', f'{key} has not the figures that it should have') from None
    return ''


def _row(name: str, checkpoint: Checkpoint | None) -> tuple[str, str, str, str]:
    if checkpoint is None:
        return name, finding.kind_of(name), 'on the Hub', ''
    checkpoint.verify(finding.split_name(name)[0])
    size = sum(len(checkpoint.read(path.name)) for path in checkpoint.folder.glob('*.safetensors'))
    measured = [_headline(checkpoint)]
    if checkpoint.kind == 'autoencoder' and not checkpoint.config['decoder']['shortcuts']:
        measured.append('a control without shortcuts')
    return name, checkpoint.kind, f'{size / 1e6:.1f} MB', ', '.join(filter(None, measured))


def list_command(args: argparse.Namespace) -> int:
    if fault := finding.fault_of_own_folder():
        print(f'scae: warning: {fault}', file=sys.stderr)
    names = finding.names()
    rows = [('checkpoint', 'kind', 'size', 'measured')]
    for name in names:
        try:
            rows.append(_row(name, finding.open_local(name)))
        except CheckpointError as error:
            rows.append((name, 'damaged', '', ''))
            print(f'scae: warning: {error}', file=sys.stderr)
    untrained = [a for a in ARCHITECTURES if not any(finding.split_name(name)[0] == a for name in names)]
    rows += [(name, 'no weights yet', '', '') for name in untrained]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    for row in rows:
        print('  '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def info_command(args: argparse.Namespace) -> int:
    untrained = args.name in ARCHITECTURES and not any(n.startswith(f'{args.name}.') for n in finding.names())
    checkpoint = None if untrained else find_checkpoint(args.name)
    architecture = args.name if checkpoint is None else checkpoint.architecture
    if checkpoint is not None and checkpoint.kind == 'segmenter':
        classes = checkpoint.config['decoder']['num_classes']
        model: Scae | ScaeSegmenter = create_segmenter(architecture, classes, 'random')
    else:
        model = create_autoencoder(architecture)
    total, own = (sum(p.numel() for p in module.parameters()) for module in (model, model.encoder))
    layers = ' '.join(f'{s.channels}{"/2" if s.stride == 2 else ""}{"(1x1)" if s.kernel_size == 1 else ""}'
                      for s in ARCHITECTURES[architecture])
    print(checkpoint.name if checkpoint else f'{architecture} (no weights yet)')
    others = [n for n in finding.names() if finding.split_name(n)[0] == architecture and n != checkpoint.name] \
        if checkpoint else []
    if others:
        print(f'  others       {", ".join(others)}')
    print(f'  encoder      {layers}  (channels; /2: stride 2)')
    decoder = '' if checkpoint and checkpoint.kind == 'classifier' else f', with decoder {total / 1e6:.2f} M'
    print(f'  parameters   encoder {own / 1e6:.2f} M{decoder}')
    cfg = checkpoint.pretrained_cfg.to_dict() if checkpoint else model.encoder.pretrained_cfg
    size = ' x '.join(map(str, cfg['input_size']))
    print(f'  input        {size}; any size from 17 x 17 up works')
    if checkpoint:
        print(f'  kind         {checkpoint.kind}')
        print(f'  folder       {checkpoint.folder}')
        for path in sorted(checkpoint.folder.iterdir()):
            print(f'    {path.name:<22}{path.stat().st_size:>12,} bytes')
        print(f'  made by      {checkpoint.recipe or "unknown"}')
        for line in metric_lines(checkpoint.metrics):
            print(f'  {line}')
    return 0


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


def reconstruct_command(args: argparse.Namespace) -> int:
    if args.noise != UNCHANGED:
        try:  # a wrong option is refused before anything is loaded
            parse_corruption(args.noise, (0.,), (1.,))
        except ValueError as error:
            raise ValueError(f'--noise: {error}; or none, for images that are noisy already') from None
    model, _ = load_autoencoder(args.model, '--model')
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


def demo_command(args: argparse.Namespace) -> int:
    from matplotlib.cbook import get_sample_data  # slow to import, and complains where there is no home folder

    model, checkpoint = load_autoencoder(DEMO_MODEL)
    photograph = Path(get_sample_data('grace_hopper.jpg', asfileobj=False))
    output = args.output / 'demo.png'
    before, after = _corrupted(model, 'gaussian:25', photograph, output, seed=0)
    print(f'checkpoint  {checkpoint.name}')
    print(f'photograph  {photograph.name}, Gaussian noise of sigma 25 (of 255) added')
    print(f'PSNR        {before:.2f} dB before, {after:.2f} dB after')
    print(f'picture     {output.absolute()}')
    return 0


def add_commands(command: Command) -> None:
    command('list', list_command, 'List the checkpoints that can be loaded, and what was measured on them.')

    sub = command('info', info_command, "Show a model's layers, size, files, recipe and measured figures.")
    sub.add_argument('name', metavar='NAME', type=expand,
                     help='a checkpoint or architecture of `scae list`, the folder of a checkpoint or a run, or '
                          'hf-hub:USER/REPOSITORY')

    sub = command('reconstruct', reconstruct_command,
                  'Corrupt images, reconstruct them, and write pictures input | corrupted | reconstruction.\n\n'
                  'With --noise none they are reconstructed as they are, and the reconstructions are written alone,\n'
                  'with the colour profile, transparency and resolution of the image, and grey where it is grey.')
    sub.add_argument('images', metavar='IMAGE', type=expand_path, nargs='+', help='image files of any size and mode')
    sub.add_argument('--model', default=DEMO_MODEL, type=expand, help=
                     'auto-encoder: a checkpoint, an architecture, a folder or hf-hub:USER/REPOSITORY '
                     '(default: %(default)s)')
    sub.add_argument('--noise', default='gaussian:25',
                     help='gaussian:SIGMA or gaussian:LOW-HIGH (of 255), or block:SHARE[:SIZE] (share of the area 0-1, '
                          'side of a block in pixels); none: the images are noisy already (default: %(default)s)')
    sub.add_argument('-o', '--output', metavar='DIR', type=expand_path, default=Path('.'),
                     help='folder for the pictures, made if need be (default: this one)')
    sub.add_argument('--seed', type=whole_number(0), default=0, help='seed of the noise (default: %(default)s)')

    sub = command('demo', demo_command, 'Denoise a real photograph with a pretrained auto-encoder; needs no network.')
    sub.add_argument('-o', '--output', metavar='DIR', type=expand_path, default=Path('scae_demo'),
                     help='folder for the picture (default: %(default)s)')
