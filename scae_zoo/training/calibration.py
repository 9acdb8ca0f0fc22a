"""The statistics of batch norms, estimated anew once a network is trained."""

from itertools import islice

import torch
import torch.nn as nn
from torch.nn.modules.batchnorm import _BatchNorm

from .data import BaseBatches
from .precision import autocast

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
    with autocast(batches.device):
        for step, (images, _) in enumerate(islice(batches.epoch(epoch), steps), start=1):
            for norm in norms:
                norm.momentum = 1 / step
            model(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
