"""More than one process under ``torchrun``: gloo on CPUs, NCCL on GPUs, batch norm over all of them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple, cast

import torch
import torch.distributed as dist
import torch.nn as nn
from timm.layers import BatchNormAct2d, convert_sync_batchnorm

from ..errors import TrainingError
from ..memory import keep_freed_memory


class World(NamedTuple):
    """This process's place: its rank, how many there are, and its device."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    @property
    def launcher(self) -> list[str]:
        """How as many processes are started on one machine; nothing, where there is one."""
        return ['torchrun', '--nproc-per-node', str(self.size)] if self.size > 1 else []

    def mean(self, value: torch.Tensor) -> torch.Tensor:
        """The mean over the processes."""
        return _mean(value) if self.size > 1 else value


@contextmanager
def world(device: str | None = None) -> Iterator[World]:
    """Join the other processes where ``torchrun`` started more than one; by default on a GPU if there is one.

    Raises:
        ValueError: There is no such device, or it is one GPU for several processes.
        TrainingError: Inside, a GPU's memory was not enough.
    """
    size, rank = int(os.environ.get('WORLD_SIZE', 1)), int(os.environ.get('RANK', 0))
    name = device or ('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        chosen = torch.device(name)
        if chosen.type == 'cuda' and chosen.index is not None and int(os.environ.get('LOCAL_WORLD_SIZE', 1)) > 1:
            raise ValueError(f'--device {name}: is one GPU, and there are several processes; leave it out, and each '
                             'takes its own')
        if chosen.type == 'cuda' and chosen.index is None:
            chosen = torch.device('cuda', int(os.environ.get('LOCAL_RANK', 0)))
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA fails an assertion
        raise ValueError(f'--device {name}: cannot be used ({str(error).splitlines()[0]})') from None
    if chosen.type == 'cuda':
        torch.cuda.set_device(chosen)
    else:
        keep_freed_memory()
    with _memory_faults():
        if size == 1:
            yield World(0, 1, chosen)
            return
        # the others wait while the main process measures, which may take longer than torch's own limit
        dist.init_process_group('nccl' if chosen.type == 'cuda' else 'gloo', timeout=timedelta(days=1))
        try:
            yield World(rank, size, chosen)
        finally:
            dist.destroy_process_group()


@contextmanager
def _memory_faults() -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        what = str(error).partition(' GPU ')[0]  # then follow all that PyTorch knows of its memory
        raise TrainingError(
            f'{what} Free some and run the same command, or train in another --out with --accumulate 2, a smaller '
            '--batch-size or --crop') from None


class _MeanOverProcesses(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: torch.Tensor) -> torch.Tensor:
        return _mean(value)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        return _mean(grad)


def _mean(value: torch.Tensor) -> torch.Tensor:
    value = value.clone()
    dist.all_reduce(value)
    return value / dist.get_world_size()


def _normalised(norm: nn.BatchNorm1d | nn.BatchNorm2d, x: torch.Tensor) -> torch.Tensor:
    """Batch norm with the statistics of all processes, each with as many images."""
    others = [dim for dim in range(x.ndim) if dim != 1]

    def along(channels: torch.Tensor) -> torch.Tensor:
        return channels.view(-1, *[1] * (x.ndim - 2))

    values = x.float()
    mean = cast(torch.Tensor, _MeanOverProcesses.apply(values.mean(others)))
    centred = values - along(mean)
    var = cast(torch.Tensor, _MeanOverProcesses.apply(centred.square().mean(others)))
    with torch.no_grad():
        statistics = dict(norm.named_buffers(recurse=False))
        statistics['num_batches_tracked'] += 1
        count = x.numel() // x.shape[1] * dist.get_world_size()
        momentum = cast(float, norm.momentum)
        statistics['running_mean'].lerp_(mean, momentum)
        statistics['running_var'].lerp_(var * (count / max(count - 1, 1)), momentum)
    normed = centred * along(torch.rsqrt(var + norm.eps))
    return (normed * along(norm.weight) + along(norm.bias) if norm.affine else normed).to(x.dtype)


class _CpuSyncBatchNormAct2d(BatchNormAct2d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.drop(_normalised(self, x))) if self.training else super().forward(x)


class _CpuSyncBatchNorm1d(nn.BatchNorm1d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _normalised(self, x) if self.training else super().forward(x)


class _CpuSyncBatchNorm2d(nn.BatchNorm2d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _normalised(self, x) if self.training else super().forward(x)


_CPU_SYNC: dict[type[nn.Module], type[nn.Module]] = {
    BatchNormAct2d: _CpuSyncBatchNormAct2d, nn.BatchNorm1d: _CpuSyncBatchNorm1d, nn.BatchNorm2d: _CpuSyncBatchNorm2d}


def synchronise_batch_norm(module: nn.Module, device: torch.device) -> nn.Module:
    """Make batch norms use the statistics of all processes; torch's own way works on GPUs alone."""
    if device.type == 'cuda':
        return convert_sync_batchnorm(module)
    for child in module.modules():
        if type(child) in _CPU_SYNC:
            child.__class__ = _CPU_SYNC[type(child)]
    return module
