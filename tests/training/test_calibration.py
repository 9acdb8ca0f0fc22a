"""Batch norms' statistics after training are those of images as the network meets them."""

from pathlib import Path

import pytest
import torch

from scae_zoo.data.image_set import ImageSet
from scae_zoo.factory import create_encoder
from scae_zoo.methods.finetuning import FineTuning, finetune
from scae_zoo.methods.runs import RunOptions
from scae_zoo.models.scae import ScaeEncoder
from scae_zoo.training import calibration
from scae_zoo.training.augmentation import RandomCrop
from scae_zoo.training.batches import Batches
from scae_zoo.training.calibration import calibrate_batch_norm, require_several_values
from scae_zoo.training.distributed import World
from scae_zoo.training.settings import Optimization

WORLD = World(0, 1, torch.device('cpu'))


def noise(number: int) -> torch.Tensor:
    return torch.randint(256, (number, 3, 17, 17), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def plain(x: torch.Tensor, y: torch.Tensor, _: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    return x.float() / 255, y


def batches_of(images: torch.Tensor, batch_size: int) -> Batches:
    return Batches(ImageSet(images), Optimization(batch_size=batch_size), RandomCrop(17, flip=False), plain, WORLD)


@torch.no_grad()
def assert_statistics(model: ScaeEncoder, x: torch.Tensor, tolerance: float) -> None:
    """The norms count what these images give: means within a share of the deviation, variances within twice that."""
    for block in model.eval().blocks:
        y = block.conv(x)
        mean, var = y.mean((0, 2, 3)), y.var((0, 2, 3))
        assert ((block.bn.running_mean - mean) / var.sqrt()).abs().max() < tolerance
        assert (block.bn.running_var / var - 1).abs().max() < 2 * tolerance
        x = block.bn(y)


@pytest.mark.usefixtures('_float32')
@pytest.mark.parametrize('batch_size', [5, 20, 64])
def test_statistics_without_dropout(batch_size: int) -> None:
    images = noise(20)
    torch.manual_seed(0)
    model = create_encoder('scae_springenberg9', None, num_classes=2, in_drop_rate=0.5, down_drop_rate=0.5).train()
    weights = {name: value.clone() for name, value in model.named_parameters()}
    momenta = [block.bn.momentum for block in model.blocks]
    calibrate_batch_norm(model, batches_of(images, batch_size), epoch=3)
    assert not any(module.training for module in model.modules())
    # a layer sees the batch's variance in training and an unbiased one in use; parts of a batch have others
    assert_statistics(model, images.float() / 255, tolerance=0.1 if batch_size == 5 else 0.01)
    assert [block.bn.momentum for block in model.blocks] == momenta
    assert all(torch.equal(value, weights[name]) for name, value in model.named_parameters())


@pytest.mark.parametrize(('limit', 'steps'), [(100, 4), (10, 2), (14, 2), (3, 1)])
def test_as_many_images_as_it_takes(monkeypatch: pytest.MonkeyPatch, limit: int, steps: int) -> None:
    monkeypatch.setattr(calibration, 'IMAGES', limit)
    seen = []
    model = torch.nn.Sequential(torch.nn.BatchNorm2d(3))
    model.register_forward_hook(lambda _model, inputs, _output: seen.append(len(inputs[0])))
    calibrate_batch_norm(model, batches_of(noise(20), 5), epoch=0)
    assert seen == [5] * steps


@pytest.mark.usefixtures('_float32')
def test_a_fine_tuned_classifier_is_calibrated(tmp_path: Path) -> None:
    """By images that are neither changed nor dropped out, as those of one step of training were."""
    images = ImageSet(noise(8), torch.arange(8) % 2, ('a', 'b'), 'noise')
    settings = FineTuning(epochs=1, batch_size=8, lr=1e-30, crop=17, flip=False, strength=1., in_drop_rate=0.5)
    checkpoint = finetune('scae_springenberg9.test', None, images, settings, RunOptions(tmp_path, WORLD))
    model = create_encoder(checkpoint.architecture, checkpoint)
    cfg = model.pretrained_cfg
    mean, std = (torch.tensor(cfg[key]).view(3, 1, 1) for key in ('mean', 'std'))
    assert_statistics(model, (images.images / 255 - mean) / std, tolerance=0.03)  # the weights are stored as fp16


@pytest.mark.parametrize(('batch_size', 'accumulate', 'crop', 'frozen', 'refused'), [
    (1, 1, 17, False, True), (1, 1, 32, False, True), (1, 1, 33, False, False),  # that is 2 x 2 in the end
    (2, 1, 17, False, False), (2, 2, 17, False, True), (4, 2, 17, False, False), (4, 9, 17, False, True),
    (5, 4, 17, False, True), (6, 4, 17, False, False),  # parts of 2, 2 and 1; and of 2, 2 and 2
    (1, 1, 17, True, False)])
def test_a_single_value_a_channel_is_refused(
        batch_size: int, accumulate: int, crop: int, frozen: bool, refused: bool) -> None:
    """As PyTorch refuses it, but before the first step and with the options named."""
    images = torch.zeros(20, 3, 40, 40, dtype=torch.uint8)
    settings = Optimization(batch_size=batch_size, accumulate=accumulate)
    batches = Batches(ImageSet(images), settings, RandomCrop(crop), plain, World(0, 1, torch.device('cpu')))
    model = create_encoder('scae_vgg16', None, num_classes=2, device='meta')
    if frozen:
        model.blocks.requires_grad_(False)
    before = torch.get_rng_state()
    if refused:
        with pytest.raises(ValueError, match='has one image of .*larger --batch-size.*larger --crop') as caught:
            require_several_values(model, batches, settings)
        assert '\n' not in str(caught.value)
        assert ('--accumulate' in str(caught.value)) == (accumulate > 1)
    else:
        require_several_values(model, batches, settings)
    assert torch.equal(torch.get_rng_state(), before)
    parts = torch.zeros(batch_size, 3, crop, crop).chunk(accumulate)
    smallest = min(len(part) for part in parts)
    assert frozen or refused == (smallest == 1 and crop <= 32)
