"""Batch norm over all processes, on CPUs: torch's own arithmetic."""

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from timm.layers import BatchNormAct2d
from torch import nn

from scae_zoo.training.distributed import synchronise_batch_norm


@pytest.fixture
def _one_process(tmp_path: Path) -> Iterator[None]:
    dist.init_process_group('gloo', init_method=f'file://{tmp_path / "meeting"}', rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures('_one_process')
@pytest.mark.parametrize(('norm', 'shape'), [
    (nn.BatchNorm1d(3), (4, 3)), (nn.BatchNorm1d(3), (2, 3, 5)), (nn.BatchNorm2d(3, momentum=0.3), (2, 3, 2, 1)),
    (nn.BatchNorm2d(3, affine=False, eps=0.1), (2, 3, 2, 2)), (BatchNormAct2d(3), (2, 3, 2, 2))])
def test_one_process_alone_computes_as_torch_does(norm: nn.Module, shape: tuple[int, ...]) -> None:
    """Output, gradients and statistics, whose variance is the unbiased one: of a few values, so that it shows."""
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    torchs, ours = norm, synchronise_batch_norm(copy.deepcopy(norm), torch.device('cpu'))
    assert type(ours) is not type(torchs)
    for training in (True, True, False):
        results = []
        for module in (torchs, ours):
            x = torch.randn(shape, generator=torch.Generator().manual_seed(1)).add(2).requires_grad_()
            y = module.train(training)(x)
            module.zero_grad()
            (y * torch.linspace(0, 1, y.numel()).view(shape)).sum().backward()
            results.append((y, x.grad, [p.grad for p in module.parameters()], dict(module.named_buffers())))
        torch.testing.assert_close(*results)
