"""Probes of each layer: what they learn, what they leave alone, and the pictures of their results."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from scae_zoo.checkpoints.finding import WEIGHTS
from scae_zoo.data.image_set import ImageSet
from scae_zoo.errors import TrainingError
from scae_zoo.experiments.plots import draw_feature_maps, report_probes
from scae_zoo.factory import create_encoder, find_checkpoint
from scae_zoo.methods import probing
from scae_zoo.methods.probing import LayerQuality, Probing, probe
from scae_zoo.methods.runs import RunOptions
from scae_zoo.training.distributed import World

from ..support.networks import SHIPPED

SETTINGS = Probing(epochs=6, batch_size=16, crop=17, grid=1, width=8, lr=0.01)


def two_colours(n: int, seed: int) -> ImageSet:
    """Smooth noise, red in one class and blue in the other."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.nn.functional.interpolate(torch.rand(n, 3, 5, 5, generator=generator) * 120, size=20)
    targets = torch.arange(n) % 2
    noise[torch.arange(n), targets * 2] += 120
    return ImageSet(noise.byte(), targets, ('red', 'blue'), f'colours {seed}')


def run(folder: Path, out: Path, settings: Probing = SETTINGS) -> list[LayerQuality]:
    options = RunOptions(out, World(0, 1, torch.device('cpu')))
    return probe(find_checkpoint(str(folder)), two_colours(128, 0), two_colours(32, 1), settings, options)


def test_separable_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every layer tells them apart; the encoder stays as it is, bit for bit; the same again, the same figures."""
    encoders = []

    def create(*args):
        encoders.append(create_encoder(*args))
        return encoders[-1]

    monkeypatch.setattr(probing, 'create_encoder', create)
    layers = run(WEIGHTS / SHIPPED, tmp_path / 'a')
    assert [q.layer for q in layers] == list(range(1, 9))
    assert [q.channels for q in layers] == [block.conv.out_channels for block in encoders[0].blocks]
    assert [q.reduction for q in layers] == sorted(q.reduction for q in layers)
    assert min(q.linear for q in layers) > 90
    assert min(q.pooled for q in layers) > 90
    assert min(q.knn for q in layers) > 90
    assert all(10 < q.psnr < 60 for q in layers)
    assert layers[0].psnr > layers[-1].psnr
    before = create_encoder('scae_springenberg9', find_checkpoint(SHIPPED)).state_dict()
    after = encoders[0].state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert run(WEIGHTS / SHIPPED, tmp_path / 'b') == layers
    assert run(WEIGHTS / SHIPPED, tmp_path / 'a') == layers  # goes on from its end


def test_run_belongs_to_the_weights(checkpoint_folder: Path, tmp_path: Path) -> None:
    settings = SETTINGS.replace(epochs=1)
    run(checkpoint_folder, tmp_path / 'run', settings)
    probed = json.loads((tmp_path / 'run' / 'run.json').read_text())['probed']
    assert probed['name'] == SHIPPED
    manifest = json.loads((WEIGHTS / 'manifest.json').read_text())
    assert probed['sha256'] in json.dumps(manifest)
    weights = load_file(checkpoint_folder / 'model.safetensors')
    weights['blocks.0.conv.weight'] += 0.01
    save_file(weights, checkpoint_folder / 'model.safetensors')
    (checkpoint_folder / 'manifest.json').unlink()
    with pytest.raises(TrainingError, match='belongs to another configuration'):
        run(checkpoint_folder, tmp_path / 'run', settings)


def test_unlabelled_images(tmp_path: Path) -> None:
    images = two_colours(8, 0)
    options = RunOptions(tmp_path / 'run', World(0, 1, torch.device('cpu')))
    checkpoint = find_checkpoint(SHIPPED)
    with pytest.raises(ValueError, match='probes need images with one label each: a sub-folder a class'):
        probe(checkpoint, images, ImageSet(images.images), SETTINGS, options)
    with pytest.raises(ValueError, match='probes need images of two classes or more'):
        probe(checkpoint, images.subset(torch.arange(0, 8, 2), 'red'), images, SETTINGS, options)
    assert not (tmp_path / 'run').exists()


def test_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layers = [LayerQuality(i + 1, 96, 2 ** i, 50. + i, 45. + i, 40. + i, 30. - i) for i in range(3)]
    report_probes({'with shortcuts': layers, 'without': layers[:2]}, tmp_path / 'out')
    table = (tmp_path / 'out' / 'probes.md').read_text()
    assert '| with shortcuts | 3 | 96 | 4 | 52.00 | 47.00 | 42.00 | 28.00 |' in table
    assert len(table.splitlines()) == 2 + 5
    assert table in capsys.readouterr().out
    written = json.loads((tmp_path / 'out' / 'probes.json').read_text())
    assert [LayerQuality(**row) for row in written['without']] == layers[:2]
    with Image.open(tmp_path / 'out' / 'probes.png') as picture:
        assert picture.format == 'PNG'
        assert picture.width > 2 * picture.height > 500
        assert len(picture.convert('RGB').getcolors(10 ** 6)) > 20


def test_report_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / 'file').touch()
    with pytest.raises(ValueError, match=r'file/out: cannot be written \(Not a directory\)'):
        report_probes({'a': []}, tmp_path / 'file' / 'out')


def test_feature_maps(tmp_path: Path) -> None:
    """A row an image; a column for it and for each map."""
    encoder = create_encoder('scae_springenberg9', find_checkpoint(SHIPPED))
    path = tmp_path / 'maps.png'
    draw_feature_maps({'a': encoder, 'b': encoder}, list(two_colours(3, 0).images), layer=2, maps=2, path=path)
    with Image.open(path) as picture:
        assert picture.format == 'PNG'
        assert picture.width == pytest.approx(5 * 192, abs=2)
        assert picture.height == pytest.approx(3 * 204, abs=2)
