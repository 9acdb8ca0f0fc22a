"""The statistics of batch norms: whether a batch gives any, and new ones once a network is trained."""

import copy
from itertools import islice

import torch
import torch.nn as nn
from torch.nn.modules.batchnorm import _BatchNorm

from .batches import BaseBatches
from .loop import train_mode
from .precision import fast_forward
from .settings import Optimization

IMAGES = 10_000


@torch.no_grad()
def calibrate_batch_norm(model: nn.Module, batches: BaseBatches, epoch: int) -> None:
    """Give batch norms the mean statistics of ``batches``, up to 10,000 images, met as in use: without dropout.

    Dropout ahead of a batch norm raises the variance that it counts in training above the one that it meets in use (Li
    et al. 2019), images that were mixed or changed strongly have statistics of their own, and a moving average of
    weights has those of other weights (Izmailov et al. 2018).

    Args:
        model: Is left in evaluation mode.
        batches: Images as the network will meet them.
        epoch: Which epoch's; one that training did not see.
    """
    model.eval()
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train()
    steps = max(1, IMAGES // batches.batch_size)
    with fast_forward(batches.device):
        for step, (images, _) in enumerate(islice(batches.epoch(epoch), steps), start=1):
            for norm in norms:
                norm.momentum = 1 / step
            model(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


def require_several_values(model: nn.Module, batches: BaseBatches, settings: Optimization) -> None:
    """Refuse, before anything is trained, batches of which a batch norm gets a single value a channel: one image in a
    step or in a part of one, and either features without extent or crops that shrink to one pixel.

    Raises:
        ValueError: It would; the message names the options.
    """
    images = batches.batch_size // batches.world.size
    part = -(-images // settings.accumulate)
    if images - (images - 1) // part * part > 1 or batches.world.size > 1:  # the last part is the smallest
        return
    side = batches.crop.at(0).size  # that of the first epoch is the smallest
    shadow = copy.deepcopy(model).to('meta')
    train_mode(shadow)
    try:
        shadow(torch.empty(1, 3, side, side, device='meta'))
    except ValueError as error:
        if 'more than 1 value per channel' not in str(error):
            raise
        first = 'first-' * (side < batches.crop.size)
        fewer = f', fewer parts than --accumulate {settings.accumulate}' * (settings.accumulate > 1)
        raise ValueError(
            f'a batch norm has a single value a channel to learn from where a step, or a part of it, has one image of '
            f'{side} x {side} pixels (of {batches.total} images); give a larger --batch-size{fewer}, or, where the '
            f'layers shrink a crop to one pixel, a larger --{first}crop') from None
