"""``scae list`` and ``scae info``: what checkpoints there are."""

import argparse
import sys
from typing import TYPE_CHECKING

from ..checkpoints import finding
from ..checkpoints.folder import Checkpoint
from ..errors import CheckpointError
from ..models.architectures import ARCHITECTURES
from ..places import expand
from .arguments import Command
from .figures import metric_lines

if TYPE_CHECKING:
    from ..models.autoencoder import EncoderDecoder


def _row(name: str, checkpoint: Checkpoint | None) -> tuple[str, str, str, str]:
    if checkpoint is None:
        return name, finding.kind_of(name), 'on the Hub', ''
    if finding.open_own(name):  # the zoo's own are as they were made if their sha256 are right, as they are read below:
        checkpoint.verify(finding.split_name(name)[0])  # that spares them timm, which is slow to import
    size = sum(len(checkpoint.read(path.name)) for path in checkpoint.folder.glob('*.safetensors'))
    measured = [checkpoint.headline]
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
    rows += [(name, f'no weights{finding.left_out(name) or " yet"}', '', '') for name in untrained]
    widths = [max(len(row[i]) for row in rows[:len(rows) - len(untrained)]) for i in range(4)]
    for row in rows:
        print('  '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def info_command(args: argparse.Namespace) -> int:
    from ..factory import create_autoencoder, create_segmenter, find_checkpoint

    untrained = args.name in ARCHITECTURES and not any(n.startswith(f'{args.name}.') for n in finding.names())
    checkpoint = None if untrained else find_checkpoint(args.name)
    architecture = args.name if checkpoint is None else checkpoint.architecture
    if checkpoint is not None and checkpoint.kind == 'segmenter':
        classes = checkpoint.config['decoder']['num_classes']
        model: EncoderDecoder = create_segmenter(architecture, classes, 'random')
    else:
        model = create_autoencoder(architecture)
    total, own = (sum(p.numel() for p in module.parameters()) for module in (model, model.encoder))
    layers = ' '.join(f'{s.channels}{"/2" if s.stride == 2 else ""}{"(1x1)" if s.kernel_size == 1 else ""}'
                      for s in ARCHITECTURES[architecture])
    without = finding.left_out(architecture) or ' yet'
    print(checkpoint.name if checkpoint else f'{architecture}: no weights{without}')
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


def add_commands(command: Command) -> None:
    command('list', list_command)

    sub = command('info', info_command)
    sub.add_argument('name', metavar='NAME', type=expand,
                     help='a checkpoint or architecture of `scae list`, the folder of a checkpoint or a run, or '
                          'hf-hub:USER/REPOSITORY')
