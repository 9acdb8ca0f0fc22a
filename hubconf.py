"""Entry points for ``torch.hub.load(REPOSITORY, 'springenberg9_scae')``."""

import timm as _timm  # torch.hub lists what has no underscore
import torch as _torch
from packaging.version import Version as _Version

for _package, _least in ((_torch, '2.10'), (_timm, '1.0.31')):  # as pyproject.toml, which torch.hub does not read
    if _Version(_package.__version__).release < _Version(_least).release:  # what vendors build before it, too
        _name = _package.__name__
        raise ImportError(f"{_name} {_package.__version__} is too old: pip install '{_name}>={_least}'")

from scae_zoo.hub import entry_points as _entry_points  # noqa: E402

dependencies = ['torch', 'torchvision', 'timm', 'safetensors', 'huggingface_hub', 'yaml', 'packaging']

springenberg9_scae, springenberg9_scae_encoder, springenberg9_scae_segmenter = _entry_points('scae_springenberg9')
allconv15_scae, allconv15_scae_encoder, allconv15_scae_segmenter = _entry_points('scae_allconv15')
swwae_scae, swwae_scae_encoder, swwae_scae_segmenter = _entry_points('scae_swwae')
vgg16_scae, vgg16_scae_encoder, vgg16_scae_segmenter = _entry_points('scae_vgg16')
