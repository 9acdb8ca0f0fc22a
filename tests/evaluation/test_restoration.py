"""What auto-encoders are measured with, and how well they fill in masked blocks, against figures worked out by hand."""

import json
import math
from pathlib import Path

import pytest
import torch

from scae_zoo.checkpoints.folder import open_folder
from scae_zoo.corruption import BlockMask
from scae_zoo.evaluation.denoising import denoising_quality
from scae_zoo.evaluation.restoration import filling_quality, measure, measured_by

from ..support.networks import DEFAULT, SHIPPED
from ..support.training_commands import SMALL, run
from .test_denoising_quality import Identity
from .test_evaluation import HALF

BLOCKS = BlockMask(0.25, 4)


def test_filling_quality() -> None:
    """A network that changes nothing leaves the blocks grey; one that paints all in one colour is off by that much."""
    images = torch.full((3, 3, 16, 16), 100, dtype=torch.uint8)
    left = filling_quality(Identity(), images, BLOCKS, HALF, HALF)
    assert left.images == 3
    assert left.masked_inside == left.filled_inside == pytest.approx(20 * math.log10(255 / 27.5), abs=1e-3)
    assert left.filled == left.masked > left.masked_inside + 3  # only a part of the image is masked

    class Painted(Identity):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.full_like(x, (110 - 127.5) / 127.5)

    painted = filling_quality(Painted(), images, BLOCKS, HALF, HALF)
    assert painted.filled_inside == pytest.approx(20 * math.log10(255 / 10), abs=1e-3)
    assert painted.filled == pytest.approx(painted.filled_inside, abs=1e-3)
    assert (painted.masked_inside, painted.masked) == (left.masked_inside, left.masked)


def test_blocks_are_those_of_the_seed() -> None:
    """By the seed 0 if none is given, and no others in batches; what is measured are the pixels that are masked."""
    seen: list[torch.Tensor] = []

    class Watched(Identity):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(x)
            return x

    images = torch.arange(256).byte().view(1, 1, 16, 16).repeat(4, 3, 1, 1)
    result = filling_quality(Watched(), images, BLOCKS, HALF, HALF)
    masked = (seen[0] == 0).all(1)  # no pixel of HALF's normalisation is 0
    assert masked.any((1, 2)).all()
    by_hand = [((127.5 - image[0].float()[mask]) ** 2).mean() for image, mask in zip(images, masked, strict=True)]
    expected = (10 * torch.log10(255 ** 2 / torch.stack(by_hand))).mean().item()
    assert result.masked_inside == pytest.approx(expected, abs=1e-3)
    assert filling_quality(Watched(), images, BLOCKS, HALF, HALF, seed=0, batch_size=3) == pytest.approx(result)
    assert filling_quality(Watched(), images, BLOCKS, HALF, HALF, seed=1) != result


def test_an_image_without_a_block_says_nothing_of_them() -> None:
    """Which has some, where they are few, depends on the seed."""
    images = torch.full((40, 3, 17, 17), 100, dtype=torch.uint8)
    with pytest.raises(ValueError, match='masks no pixel of images of 17x17'):  # 0.02 of four is less than half of one
        filling_quality(Identity(), images, BlockMask(0.02, 17), HALF, HALF)
    one = filling_quality(Identity(), images, BlockMask(0.25, 17), HALF, HALF)  # one of four, which may lie beside it
    assert one.masked_inside == pytest.approx(20 * math.log10(255 / 27.5), abs=1e-3)
    assert one.masked < math.inf
    assert 0 < one.images < 40


@pytest.mark.parametrize(('trained', 'measured'), [
    ('gaussian:5-50', 'gaussian:25.5'), ('gaussian:30', 'gaussian:25.5'), ('block:0.25:4', 'block:0.25:4'),
    ('block:0.5', 'block:0.5')])
def test_what_an_auto_encoder_is_measured_with(trained: str, measured: str) -> None:
    assert measured_by(trained) == measured


def test_gaussian_noise_is_measured_as_ever() -> None:
    """The entry of metrics.json, key by key, and the line of the card."""
    images = torch.arange(256).byte().view(1, 1, 16, 16).repeat(2, 3, 1, 1)
    model = Identity()
    cfg = {'mean': HALF, 'std': HALF}
    model.encoder = torch.nn.Identity()
    model.encoder.pretrained_cfg = cfg
    result = measure(model, images, 'gaussian:25.5')
    by_itself = denoising_quality(model, images, 25.5, HALF, HALF)
    assert list(result.entry.items()) == [
        ('sigma', 25.5), ('clipped', True), ('seed', 0), *by_itself._asdict().items()]
    assert result.card == [{'type': 'psnr', 'name': 'PSNR at sigma 25.5, mean over 2 test images (dB)',
                            'value': round(by_itself.denoised, 2)}]


def test_one_that_fills_blocks_is_measured_so(
        data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """By training, the card, `scae evaluate`, `scae list` and `scae info`; otherwise where asked to."""
    own = tmp_path / 'own'
    assert run('pretrain', data / 'classes', '--model', 'scae_springenberg9', '--tag', 'mine', '--corruption',
               'block:0.25:4', *SMALL, '-o', own) == 0
    checkpoint = open_folder(own)
    filling = checkpoint.metrics['filling_psnr']
    assert list(filling) == ['corruption', 'seed', 'images', 'masked_inside', 'masked', 'filled_inside', 'filled']
    assert (filling['corruption'], filling['images']) == ('block:0.25:4', 24)
    assert not [key for key in checkpoint.metrics if 'denoising' in key]
    assert checkpoint.metrics['filling_psnr_before_fp16_storage'] == pytest.approx(filling['filled_inside'], abs=0.1)
    card = checkpoint.read('README.md').decode()
    inside, whole = (f'{filling[key]:.2f}'.rstrip('0') for key in ('filled_inside', 'filled'))
    assert f'| PSNR inside the blocks of block:0.25:4, mean over 24 test images (dB) | {inside}' in card
    assert f'| PSNR of the whole image with such blocks, mean over 24 test images (dB) | {whole}' in card
    capsys.readouterr()

    assert run('evaluate', own, '--data', data / 'classes') == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == f'{checkpoint.name}: 24 images, block:0.25:4, masked pixels in the mean colour'
    assert printed[1] == f'  masked    {filling["masked_inside"]:.2f} dB inside the blocks, ' \
                         f'{filling["masked"]:.2f} dB of the whole image, mean over images'
    figures = f'{filling["filled_inside"]:.2f} dB inside the blocks, {filling["filled"]:.2f} dB of the whole image'
    assert printed[2] == f'  filled    {figures}, mean over images'
    assert printed[3] == f'  card      {figures}, 24 images'
    for other in (['--corruption', 'block:0.25:5'], ['--corruption', 'gaussian:5-50'], ['--sigma', '25.5'],
                  ['--crop', '29']):
        assert run('evaluate', own, '--data', data / 'classes', *other) == 0
        assert 'card' not in capsys.readouterr().out
    assert run('evaluate', SHIPPED, '--data', data / 'classes', '--corruption', 'gaussian:25.5') == 0
    assert '  card      29.04 dB mean over 10000 images' in capsys.readouterr().out

    monkeypatch.setenv('SCAE_ZOO_CHECKPOINTS', str(own))
    assert run('list') == 0
    assert f'{filling["filled_inside"]:.2f} dB inside block:0.25:4\n' in capsys.readouterr().out
    assert run('info', own) == 0
    assert 'filling_psnr: corruption block:0.25:4, seed 0, 24 images, masked_inside ' \
           f'{filling["masked_inside"]:.4g} dB' in capsys.readouterr().out


@pytest.mark.parametrize('recipe', ['', 'corruption: 3', 'corruption: fog:3', '- a list'])
def test_one_whose_recipe_does_not_say_is_measured_with_noise(
        recipe: str, data: Path, checkpoint_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (checkpoint_folder / 'manifest.json').unlink()
    (checkpoint_folder / 'recipe.yaml').write_text(recipe)
    (checkpoint_folder / 'metrics.json').write_text(json.dumps({'denoising_psnr': {'sigma': [3]}}))
    assert run('evaluate', checkpoint_folder, '--data', data / 'classes', '--limit', '2') == 0
    printed = capsys.readouterr().out
    assert 'Gaussian noise of sigma 25.5 (of 255), clipped' in printed
    assert 'card' not in printed


@pytest.mark.parametrize(('options', 'message'), [
    (['--corruption', 'fog:3'], "--corruption: corruption 'fog:3' is not known"),
    (['--corruption', 'block:0.25', '--sigma', '25'], '--sigma: --corruption block:0.25 is given')])
def test_evaluate_refuses(options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run('evaluate', SHIPPED, '--data', 'none', *options) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize('options', [['--corruption', 'block:0.25'], ['--sigma', '0']])
def test_other_networks_undo_no_corruption(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run('evaluate', DEFAULT, '--data', 'none', *options) == 2
    assert f'{options[0]}: for auto-encoders; {DEFAULT} is a classifier' in capsys.readouterr().err


def test_training_refuses_blocks_that_mask_nothing(
        data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run('pretrain', data / 'classes', '--corruption', 'block:0.02:16', *SMALL, '-o', tmp_path / 'run') == 2
    assert 'masks no pixel of crops of 29x29' in capsys.readouterr().err
    assert not (tmp_path / 'run').exists()
