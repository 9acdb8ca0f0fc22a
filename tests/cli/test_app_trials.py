"""What the page of ``scae app`` asks: the same answers as the other commands', and faults in a line."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from scae_zoo import extras
from scae_zoo.checkpoints import finding
from scae_zoo.cli.app import trials as app
from scae_zoo.cli.app.examples import write_examples
from scae_zoo.cli.app.trials import Trials
from scae_zoo.errors import CheckpointError
from scae_zoo.images import ImageError, open_rgb

from ..support.networks import DEFAULT, SHIPPED
from ..support.photographs import CLASSES, write_classifier, write_photographs, write_segmenter
from ..support.pictures import save
from ..support.training_commands import run

CPU = torch.device('cpu')


@pytest.fixture(scope='module')
def trials() -> Trials:
    return Trials(CPU)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    return save(tmp_path / 'photo.png', 1, (40, 32))


def test_all_checkpoints_can_be_chosen_and_the_given_one_comes_first(trials: Trials, tmp_path: Path) -> None:
    names = [name for _, name in trials.choices()]
    assert names[0] == SHIPPED
    assert sorted(names) == finding.names()
    assert trials.choices()[0] == (f'{SHIPPED} (auto-encoder)', SHIPPED)
    folder = write_classifier(tmp_path, multi_label=False)
    mine = Trials(CPU, str(folder))
    assert mine.choices()[0] == (f'{folder.name} (classifier)', str(folder))
    assert {name for _, name in mine.choices()} == {*names, str(folder)}
    assert mine.checkpoint(str(folder)).folder == folder
    with pytest.raises(ValueError, match='none of the checkpoints'):
        trials.checkpoint(str(folder))
    with pytest.raises(CheckpointError, match=r'^--model nowhere: '):
        Trials(CPU, 'nowhere')


@pytest.mark.parametrize('noise', ['gaussian:25', 'block:0.25:8'])
def test_the_reconstruction_is_that_of_the_command(
        trials: Trials, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], noise: str) -> None:
    found = trials.reconstruct(SHIPPED, photo, noise)
    assert run('reconstruct', photo, '--model', SHIPPED, '--corruption', noise, '-o', tmp_path / 'out') == 0
    printed = re.findall(r'[\d.]+(?= dB)', capsys.readouterr().out)
    assert [f'{found.before:.2f}', f'{found.after:.2f}'] == printed
    assert (found.clean == open_rgb(photo)).all()
    assert found.corrupted.shape == found.reconstruction.shape == (32, 40, 3)
    assert found.seconds > 0


def test_what_is_noisy_already_has_no_psnr(trials: Trials, photo: Path, tmp_path: Path) -> None:
    found = trials.reconstruct(SHIPPED, photo, 'none')
    assert (found.before, found.after) == (None, None)
    assert (found.corrupted == found.clean).all()
    assert run('reconstruct', photo, '--model', SHIPPED, '--corruption', 'none', '-o', tmp_path / 'out') == 0
    assert (found.reconstruction == open_rgb(tmp_path / 'out' / 'photo_reconstruction.png')).all()


def test_painted_holes_alone_are_masked(trials: Trials, photo: Path) -> None:
    holes = np.zeros((16, 20), dtype=bool)  # as on a smaller preview
    holes[4:8, 5:15] = True
    found = trials.reconstruct(SHIPPED, photo, 'none', holes=holes)
    masked = np.zeros((32, 40), dtype=bool)
    masked[8:16, 10:30] = True
    assert (found.corrupted[~masked] == found.clean[~masked]).all()
    assert len(np.unique(found.corrupted[masked], axis=0)) == 1
    assert found.before is not None
    assert found.before < 40
    with pytest.raises(ValueError, match='Nothing is painted'):
        trials.reconstruct(SHIPPED, photo, 'none', holes=np.zeros((4, 4), dtype=bool))


def test_photographs_are_scaled_down_never_up(trials: Trials, photo: Path) -> None:
    assert trials.reconstruct(SHIPPED, photo, 'none', size=20).clean.shape == (20, 25, 3)
    assert trials.reconstruct(SHIPPED, photo, 'none', size=512).clean.shape == (32, 40, 3)


def test_classes_are_those_of_the_command(
        trials: Trials, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = trials.classify(DEFAULT, photo, 3)
    assert run('predict', photo, '--model', DEFAULT, '--top', '3') == 0
    row = capsys.readouterr().out.splitlines()[1].split(',')
    assert [each for name, value in found.classes.items() for each in (name, f'{value:.4f}')] == row[1:]
    assert found.square.shape == (29, 29, 3)

    many = Trials(CPU, str(write_classifier(tmp_path, multi_label=True)))
    classes = many.classify(str(many.model), photo, 2).classes
    assert len(classes) == 2
    assert list(classes.values()) == sorted(classes.values(), reverse=True)
    assert set(classes) < set(CLASSES)


def test_the_overlay_is_that_of_the_command(photo: Path, tmp_path: Path) -> None:
    segmenter = write_segmenter(tmp_path)
    picture, _ = Trials(CPU, str(segmenter)).segment(str(segmenter), photo)
    assert run('predict', photo, '--model', segmenter, '-o', tmp_path / 'out', '--overlay') == 0
    assert (np.asarray(picture) == open_rgb(tmp_path / 'out' / 'photo_overlay.png')).all()


def test_the_maps_are_those_of_the_command(trials: Trials, photo: Path, tmp_path: Path) -> None:
    words, _ = trials.maps(SHIPPED, photo, 5, 3, tmp_path / 'maps.png')
    assert words == 'layer 5 of 8, 192 maps at 1/2 of the size'
    assert run('features', photo, '--model', SHIPPED, '--layer', '5', '--maps', '3', '-o', tmp_path / 'other.png') == 0
    assert (open_rgb(tmp_path / 'maps.png') == open_rgb(tmp_path / 'other.png')).all()


def test_the_nearest_photographs_are_those_of_the_command(
        trials: Trials, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photographs = write_photographs(tmp_path / 'photographs')
    features = tmp_path / 'features.safetensors'
    assert run('embed', photographs, '--model', SHIPPED, '-o', features) == 1
    (photographs / 'a' / '0.png').unlink()
    capsys.readouterr()
    assert run('embed', features, '--like', photo, '--nearest', '6') == 0
    found, _ = Trials(CPU, features=features).nearest(photo, 6)
    assert [f'{each.cosine:.4f}  {each.path}' for each in found] == capsys.readouterr().out.splitlines()
    assert [each.path.name for each in found if each.picture is None] == ['0.png']
    with pytest.raises(ValueError, match='--features'):
        trials.nearest(photo, 3)


def test_wrong_files_are_refused_by_their_name_alone(trials: Trials, photo: Path, tmp_path: Path) -> None:
    (tmp_path / 'text.png').write_text('no image')
    (tmp_path / 'half.png').write_bytes(photo.read_bytes()[:photo.stat().st_size // 2])
    Image.new('1', (10_000, 9_000)).save(tmp_path / 'huge.png')
    asked = (lambda path: trials.reconstruct(SHIPPED, path, 'none'), lambda path: trials.classify(DEFAULT, path, 1))
    for name, words in (('text.png', 'is no image'), ('half.png', 'cannot be read|is a damaged image'),
                        ('huge.png', 'has 90 megapixels'), ('gone.png', 'is not kept for longer than an hour')):
        for ask in asked:
            with pytest.raises(ImageError, match=rf'^{name}: ({words})') as refused:
                ask(tmp_path / name)
            assert str(tmp_path) not in str(refused.value)


def test_a_network_of_another_kind_is_refused(trials: Trials, photo: Path) -> None:
    with pytest.raises(CheckpointError, match='classifier'):
        trials.reconstruct(DEFAULT, photo, 'none')


def test_few_networks_are_kept(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, 'KEPT', 1)
    trials = Trials(CPU)
    for name in (SHIPPED, 'scae_springenberg9.dae_noskip_cifar10'):
        trials.reconstruct(name, photo, 'none')
    assert list(trials._networks) == [('scae_springenberg9.dae_noskip_cifar10', 'autoencoder')]


def test_each_kind_is_tried_as_it_was_trained(trials: Trials) -> None:
    assert trials.noise(SHIPPED) == trials.noise(DEFAULT) == 'gaussian:25'
    assert trials.noise('scae_vgg16.dae_imagenette').startswith('block:')
    assert trials.layers(SHIPPED) == (8, 8)
    assert trials.layers('scae_vgg16.dae_seg_voc2012sub') == (13, 9)


def test_examples_are_photographs_of_some_size(tmp_path: Path) -> None:
    examples = write_examples(tmp_path)
    assert len({path for path, _ in examples}) == len(examples) >= 3
    assert all(min(open_rgb(path).shape[:2]) >= 256 for path, _ in examples)


def test_without_gradio_it_says_what_to_install(
        monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(extras, 'find_spec', lambda name: None)
    assert run('app') == 2
    assert capsys.readouterr().err == "scae: error: this needs gradio: pip install 'scae-zoo[app]'\n"
