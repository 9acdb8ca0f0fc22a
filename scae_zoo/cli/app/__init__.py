"""``scae app``: a page to try the zoo on."""

import argparse
import os
import sys

from ...extras import require_installed
from ...places import expand, expand_path
from ..arguments import Command, whole_number

HOST, PORT = '127.0.0.1', 7860


def app_command(args: argparse.Namespace) -> int:
    require_installed('gradio', extra='app')
    if args.port > 65535:
        raise ValueError(f'--port {args.port}: a port has a number up to 65535; 0 takes a free one')
    from ...training.distributed import world  # with torch, which --help and a wrong option do without
    from .serving import serve
    from .trials import Trials

    with world(args.device) as place:
        trials = Trials(place.device, args.model, args.features)
        serve(trials, args.host, args.port)
    if trials.busy:  # Python would wait for the answer, which may take minutes, and which nobody gets
        sys.stdout.flush()
        os._exit(0)
    return 0


def add_commands(command: Command) -> None:
    sub = command('app', app_command)
    sub.add_argument('--model', metavar='RUN_OR_CHECKPOINT', type=expand, help=(
        'the one that the page begins with, besides those of `scae list`: the folder of a run or a checkpoint, a '
        'checkpoint or architecture of `scae list`, or hf-hub:USER/REPOSITORY'))
    sub.add_argument('--features', metavar='FILE', type=expand_path, help=(
        'a .safetensors or .npz that `scae embed` wrote: the page then finds the photographs in it that are most like '
        'one'))
    sub.add_argument('--host', default=HOST, help=(
        'address to listen on; 0.0.0.0 is every network that this machine is in, and anybody there can then use the '
        'page (default: %(default)s, this machine alone)'))
    sub.add_argument('--port', type=whole_number(0), default=PORT,
                     help='port to listen on; 0: a free one (default: %(default)s)')
    sub.add_argument('--device', help='cpu, cuda, cuda:1, ... (default: the GPU if there is one)')
