"""bfloat16 where the hardware computes with it, float32 where it would only emulate it."""

import torch


def precision(device: torch.device) -> torch.dtype:
    """bfloat16, or float32 on a GPU older than Ampere or a CPU without it, which is up to a hundred times slower at
    emulating it."""
    if device.type == 'cuda':
        has = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        has = device.type != 'cpu' or torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if has else torch.float32


def autocast(device: torch.device) -> torch.autocast:
    """bfloat16 for the forward pass where the device has it."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision(device) is torch.bfloat16)
