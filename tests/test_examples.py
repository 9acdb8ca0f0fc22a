"""Every script in ``examples/`` runs without a network, where the package that it shows is installed."""

import runpy
import sys
from pathlib import Path

import pytest
import torch
from PIL import ImageFile
from safetensors.torch import load_file

from scae_zoo.checkpoints.finding import WEIGHTS
from scae_zoo.checkpoints.folder import open_folder

from .support.networks import DEFAULT, SHIPPED
from .support.photographs import write_photographs
from .support.pictures import save
from .support.processes import ROOT, Process, script
from .support.training_commands import SMALL, run

CLIENTS = {
    'faiss_search': 'faiss', 'fastai_finetuning': 'fastai', 'grad_cam': 'pytorch_grad_cam',
    'lightly_pretraining': 'lightly_train', 'lightning_finetuning': 'lightning', 'onnx_runtime': 'onnxruntime',
    'segmentation_models': 'segmentation_models_pytorch', 'transformers_pipeline': 'transformers'}


def example(name: str, monkeypatch: pytest.MonkeyPatch, *args: str) -> None:
    pytest.importorskip(CLIENTS[name], reason=f'{CLIENTS[name]} is not installed')
    path = ROOT / 'examples' / f'{name}.py'
    monkeypatch.setattr(sys, 'argv', [str(path), *args])
    runpy.run_path(str(path), run_name='__main__')


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # lightly-train has Pillow take images that are cut off, for the whole process
    monkeypatch.setattr(ImageFile, 'LOAD_TRUNCATED_IMAGES', ImageFile.LOAD_TRUNCATED_IMAGES)


def test_every_example_is_run_and_begins_with_what_it_shows() -> None:
    scripts = sorted((ROOT / 'examples').glob('*.py'))
    assert [path.stem for path in scripts] == sorted(CLIENTS)
    for path in scripts:
        first, *rest = path.read_text().splitlines()
        assert first.startswith('"""')
        assert first.endswith('."""')
        assert len(rest) < 35


def test_segmentation_models(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    example('segmentation_models', monkeypatch)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(':')[0] for line in lines] == ['Unet', 'DeepLabV3Plus']
    for line in lines:
        first, last = (float(word) for word in line.split() if word[0].isdigit())
        assert last < first


def test_lightning(data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    example('lightning_finetuning', monkeypatch)
    assert run('finetune', data / 'classes', '--from', 'encoder.safetensors', '--model', 'scae_springenberg9',
               '--epochs', '1', '--device', 'cpu', '-o', 'run') == 0
    assert 'left out, as it is not of the encoder: backbone.head.fc.bias' in capsys.readouterr().err


def test_fastai(data: Path, tmp_path: Path) -> None:
    pytest.importorskip('fastai', reason='fastai is not installed')
    done = Process(  # it changes PyTorch's tensors and seeds for all of a process
        tmp_path / 'log', script, ROOT / 'examples' / 'fastai_finetuning.py', str(data / 'classes' / 'train')).wait(300)
    assert done.returncode == 0, done.stderr
    assert 'of the images that were held back' in done.stdout
    assert run('finetune', data / 'classes', '--from', 'encoder.safetensors', '--model', 'scae_springenberg9',
               *SMALL, '-o', 'run') == 0


def without_network(path: Path, *args: str) -> None:
    def say(event: str, _: object) -> None:
        if event in ('socket.connect', 'socket.getaddrinfo'):
            print(event, file=sys.stderr)

    sys.addaudithook(say)
    script(path, *args)


def test_lightly_train(data: Path, tmp_path: Path) -> None:
    pytest.importorskip('lightly_train', reason='lightly_train is not installed')
    example = Process(  # it would leave its handlers in the log of torch
        tmp_path / 'log', without_network, ROOT / 'examples' / 'lightly_pretraining.py', str(data / 'classes'),
        LIGHTLY_TRAIN_CACHE_DIR=str(tmp_path / 'cache')).wait(300)
    assert example.returncode == 0, example.stderr
    assert 'socket.' not in example.stderr
    before = open_folder(WEIGHTS / SHIPPED).tensors('model.safetensors')
    after = load_file('encoder.safetensors')
    assert run('finetune', data / 'classes', '--from', 'encoder.safetensors', '--model', 'scae_springenberg9',
               '--freeze', *SMALL, '-o', 'run') == 0
    started = open_folder(tmp_path / 'run' / 'scae_springenberg9.dae_ft_classes').tensors('model.safetensors')
    for key in ('blocks.0.conv.weight', 'blocks.7.conv.weight'):
        assert (after[key] - before[key].float()).abs().max() > 1e-3
        torch.testing.assert_close(started[key].float(), after[key], rtol=1e-3, atol=1e-4)


def test_grad_cam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    example('grad_cam', monkeypatch)
    assert (tmp_path / 'grad_cam.png').is_file()
    assert int(capsys.readouterr().out.split()[1].rstrip('%,')) > 50


def test_faiss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    photographs = write_photographs(tmp_path / 'photographs')
    assert run('embed', photographs / 'a', photographs / 'b', '--model', DEFAULT, '-o', 'features.npz') == 0
    capsys.readouterr()
    example('faiss_search', monkeypatch)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    _, like, nearest = lines[0].split('  ')
    assert run('embed', 'features.npz', '--like', like, '--nearest', '1') == 0
    assert capsys.readouterr().out.split('  ')[1] == f'{nearest}\n'


def test_onnx_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip('onnxscript', reason='onnxscript is not installed')
    photograph = save(tmp_path / 'photo.png', 3, (40, 40))
    assert run('export', DEFAULT, '--normalize', '-o', 'model.onnx') == 0
    capsys.readouterr()
    example('onnx_runtime', monkeypatch, 'model.onnx', str(photograph))
    assert capsys.readouterr().out.endswith(f': {photograph}\n')


def test_transformers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    example('transformers_pipeline', monkeypatch, str(save(tmp_path / 'photo.png', 3, (40, 40))))
    found = [line.split('%  ') for line in capsys.readouterr().out.splitlines()]
    shares = [float(share) for share, _ in found]
    assert len(shares) == 3
    assert shares == sorted(shares, reverse=True)
