"""Batch norms' statistics after training are those of images as the network meets them."""

import pytest
import torch

from scae_zoo.autoencoder import create_encoder
from scae_zoo.training.augmentation import RandomCrop
from scae_zoo.training.calibration import calibrate_batch_norm, require_several_values
from scae_zoo.training.data import Batches, ImageSet
from scae_zoo.training.distributed import World
from scae_zoo.training.settings import Optimization


def plain(x: torch.Tensor, y: torch.Tensor, _: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    return x.float() / 255, y


@pytest.mark.parametrize('batch_size', [5, 20, 64])
def test_statistics_without_dropout(batch_size: int) -> None:
    images = torch.randint(256, (20, 3, 17, 17), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    world = World(0, 1, torch.device('cpu'))
    settings = Optimization(batch_size=batch_size)
    batches = Batches(ImageSet(images), settings, RandomCrop(17, flip=False), plain, world)
    torch.manual_seed(0)
    model = create_encoder('scae_springenberg9', None, num_classes=2, in_drop_rate=0.5, down_drop_rate=0.5).train()
    weights = {name: value.clone() for name, value in model.named_parameters()}
    momenta = [block.bn.momentum for block in model.blocks]
    calibrate_batch_norm(model, batches, epoch=3)
    with torch.no_grad():
        x = images.float() / 255
        for block in model.blocks:
            y = block.conv(x)
            mean, var = y.mean((0, 2, 3)), y.var((0, 2, 3))
            # bfloat16 is good for a few hundredths; parts of a batch have variances a little smaller
            assert ((block.bn.running_mean - mean) / var.sqrt()).abs().max() < 0.1
            assert 0.8 < (block.bn.running_var / var).min() <= (block.bn.running_var / var).max() < 1.2
            x = block.bn(y)
    assert not any(module.training for module in model.modules())
    assert [block.bn.momentum for block in model.blocks] == momenta
    assert all(torch.equal(value, weights[name]) for name, value in model.named_parameters())


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
