"""What a checkpoint says of its making: versions, code revision, hardware; and its model card."""

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import safetensors
import timm
import torch
import torchvision
import yaml

from ..version import __version__


def describe_environment(device: torch.device) -> dict[str, Any]:
    """Versions of what the figures depend on, the code's git revision, and the hardware, for ``recipe.yaml``."""
    return {
        'versions': {
            'scae_zoo': __version__,
            'python': platform.python_version(),
            **{module.__name__: str(module.__version__) for module in (torch, torchvision, timm, safetensors)},
        },
        'git_revision': _git_revision(),
        'hardware': _hardware(device),
    }


def _git_revision() -> str:
    """The commit of the checkout, with '-dirty' where tracked files were changed; 'unknown' outside a checkout."""
    try:
        return subprocess.run(
            ['git', 'describe', '--always', '--dirty', '--abbrev=40', '--exclude=*'],
            cwd=Path(__file__).parent, capture_output=True, text=True, check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return 'unknown'


def _hardware(device: torch.device) -> str:
    if device.type == 'cuda':
        return torch.cuda.get_device_name(device)
    amx = ', AMX bf16' if torch.cpu._is_amx_tile_supported() else ''
    return f'{os.cpu_count()} {platform.machine()} CPU cores{amx}'


def autoencoder_card(
        name: str,
        dataset: str,
        summary: str,
        figures: list[dict[str, Any]],
        command: str,
) -> str:
    """The README of an auto-encoder's folder, with the metadata block that the Hugging Face Hub reads.

    Args:
        name: ``<architecture>.<tag>``.
        dataset: What it was trained on, in the Hub's terms, such as ``cifar10``.
        summary: One sentence on how it was made.
        figures: The model-index metrics, each with ``type``, ``name`` and ``value``.
        command: The command that makes it again.
    """
    architecture = name.partition('.')[0]
    metadata = {
        'library_name': 'timm',
        'license': 'apache-2.0',
        'datasets': [dataset],
        'pipeline_tag': 'image-feature-extraction',
        'tags': ['timm', 'autoencoder', 'denoising', 'self-supervised-learning'],
        'model-index': [{
            'name': name,
            'results': [{
                'task': {'type': 'image-to-image', 'name': 'Image denoising'},
                'dataset': {'type': dataset, 'name': dataset, 'split': 'test'},
                'metrics': figures,
            }],
        }],
    }
    rows = '\n'.join(f'| {figure["name"]} | {figure["value"]} |' for figure in figures)
    return f"""---
{yaml.safe_dump(metadata, sort_keys=False).strip()}
---
# {name}

{summary} Paper: [Dong et al., ICASSP 2018](https://arxiv.org/abs/1611.09119).

| figure | value |
| --- | --- |
{rows}

```python
import timm, scae_zoo

autoencoder = scae_zoo.create_autoencoder('{name}', pretrained=True)  # encoder and decoder
encoder = timm.create_model('{name}', pretrained=True)  # the encoder, as a timm model
features = timm.create_model('{architecture}', pretrained=True, features_only=True)
```

Made by `{command}`; `recipe.yaml` has every hyper-parameter, `metrics.json` the measured figures.
"""
