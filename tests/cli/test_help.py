"""What a command's ``--help`` and its refusals show first, and the examples in it."""

import dataclasses
import re
import shlex
from pathlib import Path

import pytest
from PIL import Image

from scae_zoo.cli import COMMANDS, main, parser_for
from scae_zoo.methods.finetuning import FineTuning
from scae_zoo.methods.pretraining import Pretraining
from scae_zoo.methods.probing import Probing
from scae_zoo.methods.segmenting import Segmenting
from scae_zoo.training.settings import Settings, option

from ..support.training_commands import run


def help_of(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stopped:
        main([command, '--help'])
    assert stopped.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize('command', COMMANDS)
def test_help_ends_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    *_, before, example = help_of(command, capsys).rstrip('\n').split('\n')
    assert before == 'example:'
    program, *argv = shlex.split(example)
    assert program == 'scae'
    assert argv[0] == command
    assert callable(parser_for(argv).parse_args(argv).run)


@pytest.mark.parametrize(('command', 'settings'), [
    ('pretrain', Pretraining), ('finetune', FineTuning), ('segment', Segmenting), ('probe', Probing),
    ('evaluate', Settings)])
def test_help_names_every_option(
        command: str, settings: type[Settings], capsys: pytest.CaptureFixture[str]) -> None:
    printed = help_of(command, capsys)
    for name in ('device', *(field.name for field in dataclasses.fields(settings))):
        assert f'  {option(name)}' in printed
    assert 'None' not in printed


@pytest.mark.parametrize(('command', 'needed'), [
    ('pretrain', '--model --epochs --crop --size --out'),
    ('finetune', '--from --model --labels-per-class --epochs --crop --size --out'),
    ('segment', '--from --model --epochs --crop --init --size --out'),
    ('probe', '--data --labels-per-class --epochs --crop --size --out'),
    ('evaluate', '--data --size --json'),
])
def test_help_shows_first_what_most_runs_need(
        command: str, needed: str, capsys: pytest.CaptureFixture[str]) -> None:
    """All other options are in the groups below it."""
    usage, *groups = re.split(r'\n(?=\S.*:$)', help_of(command, capsys), flags=re.MULTILINE)
    assert usage.count('\n') < 12
    titles = [group.partition('\n')[0] for group in groups]
    assert titles[:3] == ['positional arguments:', 'options:', 'options that most runs need:']
    assert re.findall(r'^  (?:-\w \w+, )?(--[\w-]+)', groups[2], re.MULTILINE) == needed.split()
    assert groups[1].count('  -') == 1  # --help
    if command != 'evaluate':
        assert [title for title in titles[3:] if title != 'example:'] == [
            'hyper-parameters:', 'images:', 'measuring:', 'run:']


def test_an_unknown_option_is_refused_with_the_usage_of_its_command(capsys: pytest.CaptureFixture[str]) -> None:
    for args in (['info', 'scae_vgg16', '--bogus'], ['pretrain', '.', '--bogus', '3']):
        with pytest.raises(SystemExit) as stopped:
            main(args)
        assert stopped.value.code == 2
        message = capsys.readouterr().err
        assert message.startswith(f'usage: scae {args[0]} ')
        assert message.endswith(f'scae {args[0]}: error: unrecognized arguments: {" ".join(args[2:])}\n')


@pytest.mark.parametrize(('noise', 'out'), [('--corruption', '--out'), ('--noise', '--output')])
def test_both_names_of_an_option(noise: str, out: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.linear_gradient('L').resize((20, 20)).save(tmp_path / 'image.png')
    assert run('reconstruct', tmp_path / 'image.png', noise, 'gaussian:20', out, tmp_path / 'out') == 0
    assert [path.name for path in (tmp_path / 'out').iterdir()] == ['image_gaussian-20.png']
