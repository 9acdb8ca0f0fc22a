"""``scae export``: a network as a file that runs without this package."""

import argparse

from ..factory import find_checkpoint
from ..inference.exporting import INPUT, export
from ..places import expand, expand_path
from .arguments import Command


def export_command(args: argparse.Namespace) -> int:
    checkpoint = find_checkpoint(args.model)
    done = export(checkpoint, args.out, args.features, args.half, args.normalize)
    cfg = checkpoint.pretrained_cfg
    units = '0-1 pixels' if args.normalize else f'(0-1 pixels - {list(cfg.mean)}) / {list(cfg.std)}'
    print(f'input       {INPUT}: float32, N x {done.channels} x H x W, N from 1 and H, W from 17 up; {units}')
    print(f'output      {done.output}: float32, {done.shape}{"; computed in fp16" * args.half}')
    if done.opset:
        print(f'opset       {done.opset}')
    print(f'difference  {done.difference:.1e} of the largest value at most, from PyTorch in float32')
    print(f'file        {args.out}: {done.size / 1e6:.1f} MB, {checkpoint.name}')
    if done.opset:
        print(f"next: onnxruntime.InferenceSession('{args.out}').run(['{done.output}'], {{'{INPUT}': {INPUT}}})[0]")
    else:
        print(f"next: torch.export.load('{args.out}').module()({INPUT})")
    return 0


def add_commands(command: Command) -> None:
    sub = command('export', export_command)
    sub.add_argument('model', metavar='RUN_OR_CHECKPOINT', type=expand, help=(
        'the folder of a run or a checkpoint, a checkpoint or architecture of `scae list`, or hf-hub:USER/REPOSITORY'))
    sub.add_argument('-o', '--out', metavar='FILE', type=expand_path, required=True,
                     help='a file that ends in .onnx or in .pt2 (torch.export)')
    sub.add_argument('--features', action='store_true',
                     help='its encoder alone, which gives the pooled features that a classifier sees')
    sub.add_argument('--half', action='store_true',
                     help='weights and computing in fp16, half the size; images and results stay float32')
    sub.add_argument('--normalize', action='store_true', help=(
        'take pixels of 0 to 1 and put mean and std into the file; an auto-encoder then gives such pixels, too'))
