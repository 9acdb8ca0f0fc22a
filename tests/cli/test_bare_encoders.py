"""``scae finetune --from FILE.safetensors``: encoders that other trainers have left."""

import argparse
import hashlib
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import timm
import torch
import yaml
from safetensors.torch import load_file, save_file
from timm.utils import CheckpointSaver

from scae_zoo.checkpoints.folder import open_folder

from ..support.networks import randomize
from ..support.training_commands import SMALL, run

ARCHITECTURE = 'scae_springenberg9'
State = dict[str, torch.Tensor]


@dataclass
class Runs:
    """It makes a folder when it is loaded."""

    place: str

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (self.place,)


@pytest.fixture(scope='module')
def state() -> State:
    return randomize(timm.create_model(ARCHITECTURE, num_classes=7)).state_dict()


def saved(path: Path, tensors: State) -> Path:
    save_file({key: value.clone() for key, value in tensors.items()}, path)
    return path


def finetuned(data: Path, source: Path, out: Path) -> State:
    """What a run of which the encoder stays as it is has started from."""
    assert run('finetune', data / 'classes', '--from', source, '--model', ARCHITECTURE, '--freeze', *SMALL,
               '-o', out) == 0
    return open_folder(out / f'{ARCHITECTURE}.dae_ft_classes').tensors('model.safetensors')


@pytest.mark.parametrize('prefix', ['', 'model.', 'module._orig_mod.backbone.'])
def test_an_encoder_under_any_prefix(
        prefix: str, state: State, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    others = {'loss.weight': torch.ones(3), **{prefix + key: value for key, value in state.items()}}
    file = saved(tmp_path / 'encoder.safetensors', others)
    trained = finetuned(data, file, tmp_path / 'run')
    left_out = ', '.join(sorted([f'{prefix}head.fc.bias', f'{prefix}head.fc.weight', 'loss.weight']))
    assert f'{file}: left out, as it is not of the encoder: {left_out}\n' in capsys.readouterr().err
    for key, value in state.items():
        if key.startswith('blocks.'):
            torch.testing.assert_close(trained[key].to(value.dtype), value.half().to(value.dtype), rtol=1e-3, atol=1e-3)
    recipe = yaml.safe_load((tmp_path / 'run' / f'{ARCHITECTURE}.dae_ft_classes' / 'recipe.yaml').read_text())
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()[:16]
    assert recipe['from'] == {'name': file.name, 'sha256': {file.name: sha256}}


def test_timms_backbone_has_keys_of_its_own(state: State, data: Path, tmp_path: Path) -> None:
    backbone = timm.create_model(ARCHITECTURE, features_only=True).state_dict()
    trained = finetuned(data, saved(tmp_path / 'backbone.safetensors', backbone), tmp_path / 'run')
    torch.testing.assert_close(
        trained['blocks.3.conv.weight'].float(), backbone['blocks_3.conv.weight'], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(('change', 'model', 'fault'), [
    (lambda s: s, None, 'give --model with the architecture'),
    (lambda s: s, 'scae_allconv15', 'does not fit the architecture: blocks.10.bn.bias is missing in the file'),
    (lambda s: {'fc.weight': torch.ones(2)}, ARCHITECTURE, 'holds no encoder of this zoo: none of its 1 keys'),
    (lambda s: {f'{who}.{key}': s[key] for key in s for who in 'ab'}, ARCHITECTURE,
     "holds several encoders, below 'a.' and 'b.'"),
])
def test_what_does_not_fit_is_one_line(
        change, model: str | None, fault: str, state: State, data: Path, tmp_path: Path,
        capsys: pytest.CaptureFixture[str]) -> None:
    file = saved(tmp_path / 'x.safetensors', change(state))
    options = ['--model', model] if model else []
    assert run('finetune', data / 'classes', '--from', file, *options, *SMALL, '-o', tmp_path / 'run') == 2
    error = capsys.readouterr().err
    assert error.startswith('scae: error: ')
    assert str(file) in error
    assert fault in error
    assert error.count('\n') == 1
    assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize(('content', 'name', 'fault'), [
    (None, 'x.safetensors', 'there is no such file'), (b'half', 'x.safetensors', 'is not a whole safetensors file')])
def test_files_that_are_none(
        content: bytes | None, name: str, fault: str, data: Path, tmp_path: Path,
        capsys: pytest.CaptureFixture[str]) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert run('finetune', data / 'classes', '--from', tmp_path / name, '--model', ARCHITECTURE, *SMALL) == 2
    assert f'{tmp_path / name}: {fault}' in capsys.readouterr().err


def saved_by_timm(path: Path, state: State) -> None:
    """As its train.py does, with --channels-last."""
    model = timm.create_model(ARCHITECTURE, num_classes=7)
    model.load_state_dict(state)
    model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    args = argparse.Namespace(model=ARCHITECTURE, lr=0.1, mean=(0.5, 0.5), model_kwargs={}, device='cpu', resume=None)
    saver = CheckpointSaver(model, optimizer, args=args, checkpoint_dir=str(path.parent))
    saver.save_checkpoint(3, metric=81.5)
    (path.parent / 'last.pth.tar').rename(path)


@pytest.mark.parametrize('save', [
    saved_by_timm, lambda path, state: torch.save({'model': state, 'epoch': 3}, path),
    lambda path, state: torch.save(state, path)], ids=['timm', 'model', 'bare'])
@pytest.mark.parametrize('name', ['x.pth', """a "new" $HOME's `one`.pth.tar"""])
def test_a_pickle_is_refused_with_what_converts_it(
        save: Callable[[Path, State], None], name: str, state: State, data: Path, tmp_path: Path,
        capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path / name, state)
    assert run('finetune', data / 'classes', *SMALL, '--from', tmp_path / name) == 2
    error = capsys.readouterr().err
    assert f'{tmp_path / name}: is a pickle, which is never loaded' in error
    assert error.count('\n') == 1
    command = error.partition('give the new file: ')[2]
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ['PATH']])
    subprocess.run(command, shell=True, check=True, env={**os.environ, 'PATH': path})
    converted = load_file((tmp_path / name).with_suffix('.safetensors'))
    assert converted.keys() == state.keys()
    assert all(torch.equal(converted[key], state[key]) for key in state)


def test_the_converter_runs_no_code(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({'state_dict': {}, 'args': Runs(str(tmp_path / 'ran'))}, tmp_path / 'x.pth')
    assert run('finetune', data / 'classes', *SMALL, '--from', tmp_path / 'x.pth') == 2
    command = shlex.split(capsys.readouterr().err.partition('give the new file: ')[2])
    result = subprocess.run([sys.executable, *command[1:]], capture_output=True, text=True)
    assert 'Weights only load failed' in result.stderr
    assert not (tmp_path / 'ran').exists()
    assert not (tmp_path / 'x.safetensors').exists()


def test_a_segmenter_starts_from_no_such_file(
        state: State, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = saved(tmp_path / 'x.safetensors', state)
    assert run('segment', data / 'masks', '--init', 'encoder', '--from', file, *SMALL) == 2
    assert f'--from {file}: is neither a folder nor a model' in capsys.readouterr().err
