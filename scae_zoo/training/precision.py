"""bfloat16 where the hardware computes with it, float32 where a CPU would only emulate it."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager

import timm.optim.muon
import torch


def precision(device: torch.device) -> torch.dtype:
    """bfloat16, or float32 on a CPU without it, which is up to a hundred times slower at emulating it."""
    has = device.type != 'cpu' or torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if has else torch.float32


def autocast(device: torch.device) -> torch.autocast:
    """bfloat16 for the forward pass where the device has it."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision(device) is torch.bfloat16)


@contextmanager
def optimizer_precision(device: torch.device) -> Iterator[None]:
    """Muon's orthogonalisation in the device's precision; timm has bfloat16 fixed, as a default of the function that
    does it, and no option for it. Around a step of any optimiser."""
    module = timm.optim.muon
    original = module.zeropower_via_newtonschulz
    module.zeropower_via_newtonschulz = functools.partial(original, dtype=precision(device))
    try:
        yield
    finally:
        module.zeropower_via_newtonschulz = original
