"""bfloat16 where the hardware computes with it, float32 where a CPU would only emulate it."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager

import timm.optim.muon
import torch


def bfloat16_pays(device: torch.device) -> bool:
    """Whether bfloat16 is faster than float32: a CPU that emulates it is up to a hundred times slower."""
    return device.type != 'cpu' or torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()


def autocast(device: torch.device) -> torch.autocast:
    """bfloat16 for the forward pass where that pays."""
    return torch.autocast(device.type, torch.bfloat16, enabled=bfloat16_pays(device))


@contextmanager
def optimizer_precision(device: torch.device) -> Iterator[None]:
    """float32 for Muon's orthogonalisation where bfloat16 does not pay; timm has bfloat16 fixed, as a default of the
    function that does it, and no option for it. Around a step of any optimiser."""
    if bfloat16_pays(device):
        yield
        return
    module = timm.optim.muon
    original = module.zeropower_via_newtonschulz
    module.zeropower_via_newtonschulz = functools.partial(original, dtype=torch.float32)
    try:
        yield
    finally:
        module.zeropower_via_newtonschulz = original
