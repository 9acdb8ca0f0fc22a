"""What a checkpoint says of its making: versions, code revision, hardware; and its model card."""

import functools
import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import safetensors
import timm
import torch
import torchvision
import yaml

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


# task, pipeline and tags in the Hub's terms, and the lines that use a checkpoint of this kind from its folder: these
# work for a user's own as for the zoo's, wherever the folder lies
_KINDS = {
    'autoencoder': (
        'image-to-image', 'image-feature-extraction', ['autoencoder', 'denoising', 'self-supervised-learning'], '''\
autoencoder = scae_zoo.create_autoencoder('{architecture}', weights='{name}').eval()  # encoder and decoder
encoder = timm.create_model('local-dir:{name}', pretrained=True).eval()  # the encoder, as a timm model'''),
    'classifier': (
        'image-classification', 'image-classification', [], '''\
classifier = timm.create_model('local-dir:{name}', pretrained=True).eval()
features = timm.create_model('local-dir:{name}', pretrained=True, num_classes=0).eval()  # pooled'''),
    'segmenter': (
        'image-segmentation', 'image-segmentation', [], '''\
segmenter = scae_zoo.create_segmenter(
    '{architecture}', pretrained=True, weights='{name}').eval()  # logits at the image's size'''),
}


def model_card(
        name: str,
        kind: str,
        dataset: str,
        test_dataset: str,
        summary: str,
        figures: Sequence[dict[str, Any]],
        command: str,
) -> str:
    """The README of a checkpoint's folder, with the metadata block that the Hugging Face Hub reads.

    Args:
        name: ``<architecture>.<tag>``.
        kind: 'autoencoder', 'classifier' or 'segmenter'.
        dataset: What it was trained on, in the Hub's terms, such as ``cifar10``.
        test_dataset: What the figures were measured on, likewise.
        summary: One or two sentences on how it was made.
        figures: The model-index metrics, each with ``type``, ``name`` and ``value``.
        command: The command that makes it again.
    """
    task, pipeline, tags, usage = _KINDS[kind]
    metadata = {
        'library_name': 'timm',
        'license': 'apache-2.0',
        'datasets': [dataset],
        'pipeline_tag': pipeline,
        'tags': ['timm', *tags],
        'model-index': [{
            'name': name,
            'results': [{
                'task': {'type': task},
                'dataset': {'type': test_dataset, 'name': test_dataset},
                'metrics': list(figures),
            }],
        }],
    }
    rows = ''.join(f'| {figure["name"]} | {figure["value"]} |\n' for figure in figures)
    table = f'| figure | value |\n| --- | --- |\n{rows}\n' * bool(figures)
    return f"""---
{yaml.safe_dump(metadata, sort_keys=False).strip()}
---
# {name}

{summary} Paper: [Dong et al., ICASSP 2018](https://arxiv.org/abs/1611.09119).

{table}From the folder above this one (for a checkpoint of the zoo, its name alone does instead of the folder):

```python
import timm, scae_zoo

{usage.format(name=name, architecture=name.partition('.')[0])}
```

Made by `{command}`; `recipe.yaml` has every hyper-parameter, `metrics.json` the measured figures.
"""
