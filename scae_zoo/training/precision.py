"""bfloat16 where the hardware computes with it, float32 where it would only emulate it."""

import os
from contextlib import AbstractContextManager, nullcontext

import torch

from ..winograd import Winograd

# what ONEDNN_MAX_CPU_ISA can hold oneDNN down to, which computes the convolutions
WITHOUT_BFLOAT16 = frozenset({'sse41', 'avx', 'avx2', 'avx2_vnni', 'avx2_vnni_2', 'avx512_core', 'avx512_core_vnni'})


def precision(device: torch.device) -> torch.dtype:
    """bfloat16, or float32 on a GPU older than Ampere or a CPU without it, which is up to a hundred times slower at
    emulating it."""
    if device.type == 'cuda':
        has = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        has = device.type != 'cpu' or _cpu_has_bfloat16()
    return torch.bfloat16 if has else torch.float32


def _cpu_has_bfloat16() -> bool:
    """Whether the processor has it and oneDNN may use it: torch asks the processor alone."""
    allowed = os.environ.get('ONEDNN_MAX_CPU_ISA', '').lower() not in WITHOUT_BFLOAT16
    return allowed and (torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def fast_forward(device: torch.device) -> AbstractContextManager[object]:
    """The forward pass in the fastest way that the device has: in bfloat16, or on a CPU without it in float32 with
    fewer multiplications, which gives the same but for rounding."""
    if precision(device) is torch.bfloat16:
        return torch.autocast(device.type, torch.bfloat16)
    return Winograd() if device.type == 'cpu' else nullcontext()
