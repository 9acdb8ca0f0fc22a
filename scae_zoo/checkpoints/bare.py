"""An encoder's bare state-dict, a safetensors file as other trainers leave it, to start from."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..errors import CheckpointError
from .folder import PICKLES, Checkpoint, misfit, shapes

if TYPE_CHECKING:
    from timm.models import PretrainedCfg

FIRST = 'blocks.0.conv.weight'  # of the encoder's keys: what stands before it in a file stands before them all
# without a single quote, to be read in a shell; timm's train.py keeps its options, a Namespace, beside the weights
CONVERT = (
    'import argparse, sys, torch, safetensors.torch as st; '
    'torch.serialization.add_safe_globals([argparse.Namespace]); '
    's = torch.load(sys.argv[1], "cpu", weights_only=True); '
    's = s.get("state_dict") or s.get("model") or s; '
    's = {k: v.clone(memory_format=torch.contiguous_format) for k, v in s.items() if torch.is_tensor(v)}; '
    'st.save_file(s, sys.argv[2])')


@dataclass(frozen=True, kw_only=True)
class BareEncoder(Checkpoint):
    """A checkpoint that is a file of an encoder's weights alone.

    Args:
        weights: With the keys of timm's model; without a classifier, whose classes nobody knows.
        cfg: timm's configuration of the architecture without classes.
    """

    weights: Mapping[str, torch.Tensor]
    cfg: 'PretrainedCfg'

    def tensors(self, file: str) -> dict[str, torch.Tensor]:
        return dict(self.weights)

    @cached_property
    def config(self) -> dict[str, Any]:
        return {'architecture': self.cfg.architecture}

    @cached_property
    def pretrained_cfg(self) -> 'PretrainedCfg':
        return self.cfg

    @property
    def identity(self) -> dict[str, Any]:
        return {'name': self.name, 'sha256': {self.name: self.sha256(self.name)[:16]}}


def means_a_file(source: str) -> bool:
    """Whether what training is to start from is a file of weights, not a checkpoint."""
    return Path(source).suffix in ('.safetensors', *PICKLES) and not Path(source).is_dir()


def refuse_pickle(path: Path) -> None:
    """Say how a pickle is converted.

    Raises:
        CheckpointError: It is one, by its name.
    """
    if path.suffix in PICKLES:
        command = shlex.join(['python', '-c', CONVERT, str(path), str(path.with_suffix('.safetensors'))])
        raise CheckpointError(f'{path}: is a pickle, which is never loaded, as it may run any code; convert it, and '
                              f'give the new file: {command}')


def open_bare(
        path: Path,
        want: Mapping[str, tuple[int, ...]],
        cfg: Mapping[str, Any],
) -> tuple[BareEncoder, list[str]]:
    """The encoder in a file, whatever its keys begin with (``backbone.``, ``module.``, ``_orig_mod.``, ...), and the
    keys of what is not its own, such as a classifier or a decoder.

    Args:
        path: The safetensors file.
        want: Shapes of the architecture's state, without a classifier.
        cfg: timm's configuration of the architecture without weights.

    Raises:
        CheckpointError: It is missing or damaged, or holds another network.
    """
    from timm.models import PretrainedCfg

    if not path.is_file():
        raise CheckpointError(f'{path}: there is no such file')
    file = Checkpoint(path.name, path.parent, {})
    # timm's features_only=True writes an underscore
    tensors = {re.sub(r'\bblocks_(\d+)\.', r'blocks.\1.', key): value for key, value in file.tensors(path.name).items()}
    prefixes = sorted(key.removesuffix(FIRST) for key in tensors if re.fullmatch(rf'(.*\.)?{re.escape(FIRST)}', key))
    if len(prefixes) != 1:
        found = f'several encoders, below {" and ".join(map(repr, prefixes))}' if prefixes else (
            f'no encoder of this zoo: none of its {len(tensors)} keys ends in {FIRST}')
        raise CheckpointError(f'{path}: holds {found}; give a file with one')
    own = f'{prefixes[0]}blocks.'
    weights = {key.removeprefix(prefixes[0]): value for key, value in tensors.items() if key.startswith(own)}
    if fault := misfit(shapes(weights), want):
        raise CheckpointError(f'{path}: {fault}. Ways out: give the --model that it was made with; or another file')
    return BareEncoder(path.name, path.parent, {}, weights=weights, cfg=PretrainedCfg(**{
        **cfg, 'file': str(path), 'num_classes': 0})), sorted(key for key in tensors if not key.startswith(own))
