"""``scae publish``: a checkpoint to a repository of the Hugging Face Hub."""

import argparse
import sys

from ..checkpoints.uploads import checked_name, local_paths, others_in, sent_files, upload
from ..errors import CheckpointError
from ..factory import find_checkpoint
from ..models.loading import require_loadable
from ..places import expand
from .arguments import Command


def publish_command(args: argparse.Namespace) -> int:
    checkpoint = find_checkpoint(args.checkpoint)
    files = sent_files(checkpoint)
    require_loadable(checkpoint)
    where = f'{args.repository}{" (private)" * args.private}'
    print(f'{checkpoint.name} {"would go" if args.dry_run else "goes"} to {where}:')
    for file in files:
        print(f'  {file.name:<22}{file.size:>12,} bytes')
    print(f'  {len(files)} files, {sum(file.size for file in files) / 1e6:.1f} MB', flush=True)
    if found := local_paths(checkpoint, files):
        paths = sorted(set().union(*found.values()))
        print(f'local paths that its readers see, in {", ".join(found)}: {", ".join(paths)}', flush=True)
    if args.dry_run:
        return 0
    print(f'published: {upload(checkpoint, args.repository, private=args.private or None)}')
    try:
        others = others_in(args.repository, files)
    except CheckpointError as error:
        print(f'scae: warning: {error}', file=sys.stderr)
        return 0
    if others:
        print(f'it holds other files, too, which were left as they are: {", ".join(others)}')
    return 0


def repository(text: str) -> str:
    """An argument type: a repository with its owner's name."""
    try:
        name = checked_name(text)
    except CheckpointError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if '/' not in name:
        raise argparse.ArgumentTypeError(f'{text!r} does not say whose repository it is; give USER/REPOSITORY')
    return name


def add_commands(command: Command) -> None:
    sub = command('publish', publish_command)
    sub.add_argument('checkpoint', metavar='RUN_OR_CHECKPOINT', type=expand,
                     help='the folder of a run or a checkpoint, or a checkpoint or architecture of `scae list`')
    sub.add_argument('repository', metavar='USER/REPOSITORY', type=repository,
                     help='where to; USER may be an organization')
    sub.add_argument('--private', action='store_true', help='only you see the repository')
    sub.add_argument('--dry-run', action='store_true', help='list what would be sent, and change nothing')
