"""What a checkpoint says of its making: versions, code revision, hardware."""

import functools
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import safetensors
import timm
import torch
import torchvision

from ..version import __version__
from .precision import precision


def describe_environment(device: torch.device) -> dict[str, Any]:
    """Versions of what the figures depend on, the code's git revision, and the hardware, for ``recipe.yaml``."""
    return {
        'versions': {
            'scae_zoo': __version__,
            'python': platform.python_version(),
            **{module.__name__: str(module.__version__) for module in (torch, torchvision, timm, safetensors)},
        },
        'git_revision': git_revision(),
        'hardware': _hardware(device),
    }


@functools.cache
def git_revision() -> str:
    """The commit of the checkout when it was first asked for, with '-dirty' where tracked files were changed;
    'unknown' outside a checkout, also where the package is installed within somebody else's."""
    here = Path(__file__)
    try:
        subprocess.run(
            ['git', 'ls-files', '--error-unmatch', here.name], cwd=here.parent, capture_output=True, check=True)
        return subprocess.run(
            ['git', 'describe', '--always', '--dirty', '--abbrev=40', '--exclude=*'],
            cwd=here.parent, capture_output=True, text=True, check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return 'unknown'


def _hardware(device: torch.device) -> str:
    if device.type == 'cuda':
        return torch.cuda.get_device_name(device)
    has = {', AMX bf16': torch.cpu._is_amx_tile_supported(), ', AVX-512 bf16': torch.cpu._is_avx512_bf16_supported()}
    bf16 = next((name for name, there in has.items() if there and precision(device) is torch.bfloat16), '')
    return f'{torch.get_num_threads()} of {os.cpu_count()} {platform.machine()} CPU cores{bf16}'
