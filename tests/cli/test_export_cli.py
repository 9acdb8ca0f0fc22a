"""``scae export``: files that compute what the network does, without this package."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from scae_zoo import create_autoencoder, create_segmenter
from scae_zoo.checkpoints.finding import find
from scae_zoo.checkpoints.writing import write
from scae_zoo.corruption import per_channel
from scae_zoo.factory import create_encoder
from scae_zoo.inference import exporting

from ..support.checkpoint_folders import NOTES
from ..support.networks import DEFAULT, SHIPPED, randomize
from ..support.training_commands import run

SIZES = (1, 3, 17, 18), (3, 3, 40, 33)
Run = Callable[[torch.Tensor], torch.Tensor]


def opened(path: Path, output: str) -> Run:
    """The file, as another program runs it."""
    if path.suffix == '.pt2':
        return torch.export.load(path).module()
    session = pytest.importorskip('onnxruntime').InferenceSession(path, providers=['CPUExecutionProvider'])
    assert [each.name for each in session.get_inputs()] == ['image']
    assert [each.name for each in session.get_outputs()] == [output]
    return lambda x: torch.from_numpy(session.run([output], {'image': x.numpy()})[0])


def says(path: Path) -> dict[str, str]:
    """The file's metadata."""
    if path.suffix == '.pt2':
        extra = {'scae_zoo.json': ''}
        torch.export.load(path, extra_files=extra)
        return json.loads(extra['scae_zoo.json'])
    session = pytest.importorskip('onnxruntime').InferenceSession(path, providers=['CPUExecutionProvider'])
    return session.get_modelmeta().custom_metadata_map


def assert_computes(file: Run, model: Run, tolerance: float = 1e-4) -> None:
    for size in SIZES:
        x = torch.rand(size)
        with torch.no_grad():
            expected, found = model(x), file(x)
        assert found.dtype == torch.float32
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * expected.abs().max().item())


def encoder(**kwargs) -> torch.nn.Module:
    return create_encoder('scae_springenberg9', find(DEFAULT), **kwargs).eval()


@pytest.mark.parametrize('suffix', ['onnx', 'pt2'])
def test_a_classifier(suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if suffix == 'onnx':
        pytest.importorskip('onnxscript')
    out = tmp_path / 'new' / f'model.{suffix}'
    assert run('export', DEFAULT, '--normalize', '-o', out) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines['input'].startswith('image: float32, N x 3 x H x W, ')
    assert lines['output'] == 'logits: float32, N x 10'
    assert float(lines['difference'].split()[0]) < 1e-4
    assert ('opset' in lines) == (suffix == 'onnx')
    assert str(out) in lines['next:']
    model = encoder()
    mean, std = (per_channel(model.pretrained_cfg[key], torch.empty(0)) for key in ('mean', 'std'))
    assert_computes(opened(out, 'logits'), lambda x: model((x - mean) / std))
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    said = says(out)
    assert said['checkpoint'] == DEFAULT
    for key in ('mean', 'std'):
        assert json.loads(said[key]) == list(model.pretrained_cfg[key])
    assert json.loads(said['classes']) == list(model.pretrained_cfg['label_names'])


@pytest.mark.parametrize(('suffix', 'pixels'), [('onnx', True), ('pt2', False)])
def test_an_autoencoder(suffix: str, pixels: bool, tmp_path: Path) -> None:
    out = tmp_path / f'model.{suffix}'
    assert run('export', SHIPPED, *['--normalize'] * pixels, '-o', out) == 0
    model = create_autoencoder(SHIPPED, pretrained=True).eval()
    mean, std = (per_channel(model.pretrained_cfg[key], torch.empty(0)) for key in ('mean', 'std'))
    assert_computes(opened(out, 'reconstruction'), (
        lambda x: (model((x - mean) / std) * std + mean).clamp(0, 1)) if pixels else model)


@pytest.mark.parametrize('architecture', ['scae_springenberg9', 'scae_swwae'])  # this one enlarges its logits
def test_a_segmenter(architecture: str, tmp_path: Path) -> None:
    model = randomize(create_segmenter(architecture, 5, init='random'))
    write(tmp_path / f'{architecture}.seg', model.encoder, model.decoder, **NOTES)
    again = create_segmenter(architecture, pretrained=True, weights=tmp_path / f'{architecture}.seg').eval()
    assert run('export', tmp_path / f'{architecture}.seg', '-o', tmp_path / 'model.onnx') == 0
    assert_computes(opened(tmp_path / 'model.onnx', 'logits'), again)


@pytest.mark.parametrize('suffix', ['onnx', 'pt2'])
def test_half_and_features(suffix: str, tmp_path: Path) -> None:
    out, model = tmp_path / f'model.{suffix}', encoder(num_classes=0)
    assert run('export', DEFAULT, '--features', '--half', '-o', out) == 0
    assert_computes(opened(out, 'features'), model, tolerance=0.02)
    assert out.stat().st_size < 3 * sum(each.numel() for each in model.parameters())


def test_what_computes_something_else_is_not_kept(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / 'model.pt2').write_bytes(b'older')
    monkeypatch.setattr(exporting, 'TOLERANCE', -1.)
    assert run('export', DEFAULT, '-o', tmp_path / 'model.pt2') == 2
    assert 'nothing was written, as it would differ from PyTorch by' in capsys.readouterr().err
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b'older']


def test_refusals_are_one_line(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run('export', DEFAULT, '-o', tmp_path / 'model.pth') == 2
    assert capsys.readouterr().err == (
        f'scae: error: -o {tmp_path}/model.pth: give a file that ends in .onnx or .pt2\n')
    monkeypatch.setitem(sys.modules, 'onnxscript', None)
    assert run('export', DEFAULT, '-o', tmp_path / 'model.onnx') == 2
    assert capsys.readouterr().err == "scae: error: this needs onnxscript: pip install 'scae-zoo[export]'\n"
    assert not list(tmp_path.iterdir())


def test_networks_of_one_channel(tmp_path: Path) -> None:
    create_autoencoder('scae_springenberg9', in_chans=1).save_pretrained(tmp_path / 'grey')
    assert run('export', tmp_path / 'grey', '-o', tmp_path / 'grey.pt2') == 0
    assert torch.export.load(tmp_path / 'grey.pt2').module()(torch.randn(2, 1, 40, 33)).shape == (2, 1, 40, 33)


def test_what_is_no_number_is_not_kept(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    found = iter([1e-6, float('nan'), 1e-6])
    monkeypatch.setattr(exporting, '_difference', lambda *_: next(found))
    assert run('export', SHIPPED, '-o', tmp_path / 'model.pt2') == 2
    assert 'nothing was written, as it would differ from PyTorch by nan' in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
