"""Batch norms' statistics after training are those of images as the network meets them."""

import pytest
import torch

from scae_zoo.autoencoder import create_encoder
from scae_zoo.training.augmentation import RandomCrop
from scae_zoo.training.calibration import calibrate_batch_norm
from scae_zoo.training.data import Batches, ImageSet
from scae_zoo.training.distributed import World
from scae_zoo.training.settings import Optimization


def plain(x: torch.Tensor, y: torch.Tensor, _: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    return x.float() / 255, y


@pytest.mark.usefixtures('_float32')
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
            # a layer sees the batch's variance in training and an unbiased one in use; parts of a batch have others
            tolerance = 0.1 if batch_size == 5 else 0.01
            assert ((block.bn.running_mean - mean) / var.sqrt()).abs().max() < tolerance
            assert (block.bn.running_var / var - 1).abs().max() < tolerance
            x = block.bn(y)
    assert not any(module.training for module in model.modules())
    assert [block.bn.momentum for block in model.blocks] == momenta
    assert all(torch.equal(value, weights[name]) for name, value in model.named_parameters())
