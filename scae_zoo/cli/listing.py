"""``scae list`` and ``scae info``: what checkpoints there are."""

import argparse
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..checkpoints import finding
from ..checkpoints.folder import Checkpoint
from ..errors import CheckpointError
from ..models.architectures import ARCHITECTURES
from ..places import expand
from .arguments import Command, add_json
from .figures import metric_lines, print_json

if TYPE_CHECKING:
    from ..models.encoder_decoder import EncoderDecoder


def _entry(name: str) -> dict[str, Any]:
    """What the list says of a checkpoint, or of an architecture without one."""
    return {'name': name, 'architecture': finding.split_name(name)[0], 'kind': None, 'bytes': None, 'shortcuts': None,
            'default_of': [], 'headline': '', 'metrics': {}}


def _read(name: str, checkpoint: Checkpoint | None) -> dict[str, Any]:
    """The part of an entry that a checkpoint's files say."""
    if checkpoint is None:  # on the Hub
        return {'kind': finding.kind_of(name)}
    if finding.open_own(name):  # the zoo's own are as they were made if their sha256 are right, as they are read below:
        checkpoint.verify(finding.split_name(name)[0])  # that spares them timm, which is slow to import
    decoder = checkpoint.config.get('decoder')
    return {
        'kind': checkpoint.kind,
        'bytes': sum(len(checkpoint.read(path.name)) for path in checkpoint.folder.glob('*.safetensors')),
        'shortcuts': decoder and decoder['shortcuts'], 'headline': checkpoint.headline, 'metrics': checkpoint.metrics}


def _no_weights(architecture: str) -> str:
    return f'no weights{finding.left_out(architecture) or " yet"}'


def _row(entry: Mapping[str, Any]) -> tuple[str, ...]:
    if entry['kind'] is None:
        return entry['name'], _no_weights(entry['name']), '', '', ''
    size = f'{entry["bytes"] / 1e6:.1f} MB' if entry['bytes'] else '' if entry['kind'] == 'damaged' else 'on the Hub'
    control = 'a control without shortcuts' * (entry['kind'] == 'autoencoder' and entry['shortcuts'] is False)
    measured = ', '.join(filter(None, [entry['headline'], control]))
    return entry['name'], entry['kind'], size, ', '.join(entry['default_of']), measured


def list_command(args: argparse.Namespace) -> int:
    if fault := finding.fault_of_own_folder():
        print(f'scae: warning: {fault}', file=sys.stderr)
    names, defaults = finding.names(), finding.defaults()
    entries = []
    for name in names:
        entry = _entry(name) | {'default_of': defaults.get(name, [])}
        try:
            entry |= _read(name, finding.open_local(name))
        except CheckpointError as error:
            entry['kind'] = 'damaged'
            print(f'scae: warning: {error}', file=sys.stderr)
        entries.append(entry)
    untrained = [a for a in ARCHITECTURES if not any(entry['architecture'] == a for entry in entries)]
    if args.json:
        print_json(entries + [_entry(name) for name in untrained])
        return 0
    rows = [('checkpoint', 'kind', 'size', 'default of', 'measured'), *map(_row, entries)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows + [_row(_entry(name)) for name in untrained]:
        print('  '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def _facts(name: str) -> dict[str, Any]:
    """What is known of a checkpoint, or of an architecture without one."""
    from ..factory import create_autoencoder, create_segmenter, find_checkpoint
    from ..inference.batching import MIN_SIZE

    untrained = name in ARCHITECTURES and not any(n.startswith(f'{name}.') for n in finding.names())
    checkpoint = None if untrained else find_checkpoint(name)
    architecture = name if checkpoint is None else checkpoint.architecture
    if checkpoint is not None and checkpoint.kind == 'segmenter':
        classes = checkpoint.config['decoder']['num_classes']
        model: EncoderDecoder = create_segmenter(architecture, classes, 'random')
    else:
        model = create_autoencoder(architecture)
    encoder, decoder = (sum(p.numel() for p in module.parameters()) for module in (model.encoder, model.decoder))
    cfg = checkpoint.pretrained_cfg.to_dict() if checkpoint else model.encoder.pretrained_cfg
    facts: dict[str, Any] = {
        'name': architecture, 'architecture': architecture, 'kind': None, 'others': [],
        'layers': [spec._asdict() for spec in ARCHITECTURES[architecture]],
        'parameters': {'encoder': encoder, 'decoder': decoder},
        'input_size': cfg['input_size'], 'smallest_side': MIN_SIZE,
        'folder': None, 'files': {}, 'made_by': None, 'metrics': {}}
    if checkpoint is None:
        return facts
    if checkpoint.kind == 'classifier':
        facts['parameters']['decoder'] = None
    others = [n for n in finding.names() if finding.split_name(n)[0] == architecture and n != checkpoint.name]
    return facts | {
        'name': checkpoint.name, 'kind': checkpoint.kind, 'others': others, 'folder': str(checkpoint.folder),
        'files': {path.name: path.stat().st_size for path in sorted(checkpoint.folder.iterdir())},
        'made_by': checkpoint.recipe or None, 'metrics': checkpoint.metrics}


def _info_lines(facts: Mapping[str, Any]) -> Iterator[str]:
    yield facts['name'] if facts['kind'] else f'{facts["name"]}: {_no_weights(facts["name"])}'
    if facts['others']:
        yield f'  others       {", ".join(facts["others"])}'
    layers = ' '.join(f'{layer["channels"]}{"/2" if layer["stride"] == 2 else ""}'
                      f'{"(1x1)" if layer["kernel_size"] == 1 else ""}' for layer in facts['layers'])
    yield f'  encoder      {layers}  (channels; /2: stride 2)'
    encoder, decoder = facts['parameters'].values()
    with_decoder = '' if decoder is None else f', with decoder {(encoder + decoder) / 1e6:.2f} M'
    yield f'  parameters   encoder {encoder / 1e6:.2f} M{with_decoder}'
    least = facts['smallest_side']
    yield f'  input        {" x ".join(map(str, facts["input_size"]))}; any size from {least} x {least} up works'
    if facts['kind']:
        yield f'  kind         {facts["kind"]}'
        yield f'  folder       {facts["folder"]}'
        yield from (f'    {name:<22}{size:>12,} bytes' for name, size in facts['files'].items())
        yield f'  made by      {facts["made_by"] or "unknown"}'
        yield from (f'  {line}' for line in metric_lines(facts['metrics']))


def info_command(args: argparse.Namespace) -> int:
    facts = _facts(args.name)
    if args.json:
        print_json(facts)
    else:
        print('\n'.join(_info_lines(facts)))
    return 0


def add_commands(command: Command) -> None:
    add_json(command('list', list_command))

    sub = command('info', info_command)
    sub.add_argument('name', metavar='NAME', type=expand,
                     help='a checkpoint or architecture of `scae list`, the folder of a checkpoint or a run, or '
                          'hf-hub:USER/REPOSITORY')
    add_json(sub)
