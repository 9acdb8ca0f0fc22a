"""``scae embed``: the features of many photographs in a file, and the photographs nearest to one."""

import csv
import json
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from scae_zoo.cli import main
from scae_zoo.factory import create_encoder, find_checkpoint
from scae_zoo.images import open_rgb
from scae_zoo.inference import photographs as reading
from scae_zoo.inference.features import Features, load_features, nearest
from scae_zoo.pixels import normalize

from ..support.networks import DEFAULT, SHIPPED
from ..support.photographs import write_photographs
from ..support.pictures import save
from ..support.processes import Process
from ..support.training_commands import run


@pytest.fixture(scope='module')
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photographs(tmp_path_factory.mktemp('photographs'))


def test_the_three_formats_hold_the_same(photographs: Path, tmp_path: Path) -> None:
    for suffix in ('safetensors', 'npz', 'csv'):
        assert run('embed', photographs, '--model', SHIPPED, '-o', tmp_path / f'f.{suffix}') == 1
    features = load_features(tmp_path / 'f.safetensors')
    with safe_open(tmp_path / 'f.safetensors', 'pt') as file:
        assert json.loads(file.metadata()['photographs'])['files'] == features.files
    assert features.values.shape == (6, 192)
    assert [Path(name).name for name in features.files] == ['0.png', '2.png', '4.png', '1.png', '3.png', '5.png']
    assert features.made_by['checkpoint']['name'] == SHIPPED
    other = load_features(tmp_path / 'f.npz')
    assert other.files == features.files
    assert other.made_by == features.made_by
    assert torch.equal(other.values, features.values)
    with (tmp_path / 'f.csv').open(newline='') as text:
        header, *rows = list(csv.reader(text))
    assert header[:2] == ['file', 'f0']
    assert [row[0] for row in rows] == features.files
    np.testing.assert_allclose(np.array([row[1:] for row in rows], float), features.values, rtol=1e-4, atol=1e-6)
    assert len(list(tmp_path.iterdir())) == 3  # and nothing hidden


@pytest.mark.usefixtures('_float32')
@pytest.mark.parametrize('layer', [None, 1, 5, 8])
def test_features_are_the_encoders(photographs: Path, tmp_path: Path, layer: int | None) -> None:
    photograph = save(tmp_path / 'square.png', 40, (32, 32))
    options = [] if layer is None else ['--layer', str(layer)]
    assert run('embed', photograph, '--model', SHIPPED, *options, '-o', tmp_path / 'f.npz') == 0
    encoder = create_encoder('scae_springenberg9', find_checkpoint(SHIPPED)).eval()
    cfg = encoder.pretrained_cfg
    x = normalize(torch.from_numpy(open_rgb(photograph)).permute(2, 0, 1)[None, :, 1:30, 1:30], cfg['mean'], cfg['std'])
    with torch.inference_mode():
        expected = encoder(x) if layer is None else encoder.blocks[:layer](x).mean((2, 3))
    found = load_features(tmp_path / 'f.npz').values
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_the_nearest_are_found_in_a_file_and_in_a_folder(
        photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / 'f.safetensors'
    like = photographs / 'a' / '0.png'
    assert run('embed', photographs / 'a', photographs / 'b', '--model', SHIPPED, '-o', out) == 0
    capsys.readouterr()
    assert run('embed', out, '--like', like, '--nearest', '3') == 0
    first = capsys.readouterr().out
    found = [line.split('  ') for line in first.splitlines()]
    assert len(found) == 3
    assert str(like) not in [file for _, file in found]
    (tmp_path / 'link.png').symlink_to(like)
    assert run('embed', out, '--like', tmp_path / 'link.png', '--nearest', '3') == 0
    assert capsys.readouterr().out == first
    assert out.stat().st_mode & 0o777 == (photographs / 'a' / '0.png').stat().st_mode & 0o777
    assert [float(cosine) for cosine, _ in found] == sorted((float(cosine) for cosine, _ in found), reverse=True)
    assert run('embed', photographs / 'a', photographs / 'b', '--model', SHIPPED, '--like', like, '--nearest', '3') == 0
    assert capsys.readouterr().out == first


@pytest.mark.parametrize(('arguments', 'fault'), [
    (['FOLDER', '-o', 'f.csv'], '--model: give the network'),
    (['FOLDER', '--model', SHIPPED], 'give -o with a file'),
    (['FOLDER', '--model', SHIPPED, '-o', 'f.pt'], '-o f.pt: give a file that ends in .safetensors, .npz, .csv'),
    (['FOLDER', '--model', SHIPPED, '--layer', '9', '-o', 'f.csv'], '--layer 9: '),
    (['FEATURES'], '.npz: holds features; give --like'),
    (['FEATURES', '--like', 'PHOTO', '-o', 'g.npz'], '-o: nothing is written'),
    (['FEATURES', '--like', 'PHOTO', '--model', DEFAULT], 'has features of another network'),
    (['FEATURES', '--like', 'PHOTO', '--layer', '2'], 'has features of another network or layer'),
    (['FEATURES', '--like', 'none.png'], 'none.png: there is no such file'),
    (['FEATURES', '--like', 'FOLDER'], ': give one photograph'),
    (['BAD', '--like', 'PHOTO'], 'bad.npz: holds no features')])
def test_options_that_do_not_fit(photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                 arguments: list[str], fault: str) -> None:
    (tmp_path / 'bad.npz').write_bytes(b'nothing')
    places = {'FOLDER': photographs, 'FEATURES': tmp_path / 'f.npz', 'PHOTO': photographs / 'a' / '0.png',
              'BAD': tmp_path / 'bad.npz'}
    if 'FEATURES' in arguments:
        assert run('embed', photographs / 'a', '--model', SHIPPED, '-o', tmp_path / 'f.npz') == 0
        capsys.readouterr()
    assert run('embed', *(places.get(each, each) for each in arguments)) == 2
    errors = capsys.readouterr().err
    assert fault in errors
    assert errors.count('scae: error') == 1


def test_likeness_tells_photographs_apart_whose_features_hardly_differ(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Pooled activations are all positive, and so point nearly one way: what they have in common is taken away."""
    values = torch.tensor([[100., 100., 101.], [100., 101., 100.], [101., 100., 100.], [100., 100., 100.9]])
    found = nearest(Features(['a', 'b', 'c', 'd'], values, {}), values[0], 4)
    assert [name for name, _ in found[:2]] == ['a', 'd']
    assert found[1][1] > 0.9
    assert max(likeness for _, likeness in found[2:]) < 0


def test_a_killed_command_goes_on_and_ends_with_the_same_bytes(
        photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / 'many'
    for i in range(3 * reading.PART):
        save(folder / f'{i}.png', i % 120, (30 + i % 7, 40))
    def command(name: str) -> list[str]:
        return ['embed', str(folder), '--model', SHIPPED, '--device', 'cpu', '-o', str(tmp_path / name)]

    whole = Process(tmp_path / 'logs' / 'whole', main, command('whole.safetensors')).wait()
    assert whole.returncode == 0
    process = Process(tmp_path / 'logs' / 'killed', main, command('f.safetensors'))
    kept = tmp_path / '.f.safetensors.unfinished'
    until = time.monotonic() + 60
    while not list(kept.glob('*.part')) and time.monotonic() < until:
        time.sleep(0.005)
    assert process.kill() == -signal.SIGKILL
    assert not (tmp_path / 'f.safetensors').exists()
    again = Process(tmp_path / 'logs' / 'again', main, command('f.safetensors')).wait()
    assert again.returncode == 0
    assert 'going on where an earlier start was stopped' in again.stderr
    assert (tmp_path / 'f.safetensors').read_bytes() == (tmp_path / 'whole.safetensors').read_bytes()
    assert not kept.exists()


def test_other_options_or_photographs_begin_anew(
        photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    kept = tmp_path / '.f.npz.unfinished'
    kept.mkdir()
    (kept / '00000000.part').write_bytes(b'of something else')
    assert run('embed', photographs / 'a', '--model', SHIPPED, '-o', tmp_path / 'f.npz') == 0
    assert 'is of other photographs or options; begun anew' in capsys.readouterr().err
    assert len(load_features(str(tmp_path / "f.npz")).files) == 3
    assert [path.name for path in tmp_path.iterdir()] == ['f.npz']
