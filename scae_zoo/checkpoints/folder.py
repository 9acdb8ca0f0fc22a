"""One checkpoint's folder, read and verified; it has the Hugging Face Hub's layout.

    model.safetensors     the encoder, exactly the timm model's keys
    decoder.safetensors   the decoder, where there is one
    config.json           timm's format; ``decoder`` beside it says how the decoder is built
    recipe.yaml           hyper-parameters, seed, versions and the code's revision, where they are known
    metrics.json          measured figures, where there are some
    README.md             the model card
    manifest.json         the name, and sha256 and size of each of the files above
"""

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors

from ..errors import CheckpointError

if TYPE_CHECKING:  # timm is imported where it is needed: `scae list` does without, in half the time
    from timm.models import PretrainedCfg

ENVIRONMENT = 'SCAE_ZOO_CHECKPOINTS'
ENCODER = 'model.safetensors'
DECODER = 'decoder.safetensors'
PICKLES = '.pt', '.pth', '.bin', '.ckpt', '.pkl', '.tar'
HEADLINES = {  # of the entries in metrics.json
    'denoising_psnr': '{denoised:.2f} dB at sigma {sigma:g}',
    'filling_psnr': '{filled_inside:.2f} dB inside {corruption}',
    'accuracy': '{value:.2f} % accuracy', 'mean_average_precision': '{value:.2f} % mAP',
    'mean_iou': '{value:.2f} % mean IoU',
}
MULTI_LABEL = 'multi_label_classification'  # transformers' word for what several labels an image are
RUN = 'run.json'  # marks the folder of a training run, which holds the checkpoint's


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint's folder. ``files`` maps each file's name to its sha256 and size; empty where none is recorded."""

    name: str
    folder: Path
    files: Mapping[str, Mapping[str, Any]]
    recipe: str = ''

    def error(self, file: str, fault: str) -> CheckpointError:
        again = self.recipe or 'the recipe that made it'
        return CheckpointError(
            f'{self.folder / file}: {fault}. Ways out: download {self.name} again; '
            f'give another folder, or one below ${ENVIRONMENT}; or make it again with {again}')

    def read(self, file: str) -> bytes:
        """The file's bytes, checked against the manifest."""
        path = self.folder / file
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            pickles = [p.name for p in self.folder.glob('*') if p.suffix in PICKLES]
            if pickles:
                raise self.error(file, f'not found, only {pickles[0]}; pickles are never loaded') from None
            raise self.error(file, 'not found') from None
        except OSError as error:
            raise self.error(file, f'cannot be read ({error.strerror})') from error
        if self.files:
            want = self._recorded(file)
            if len(data) != want['bytes']:
                raise self.error(file, f'has {len(data)} bytes instead of {want["bytes"]}, as a broken-off copy has')
            if hashlib.sha256(data).hexdigest() != want['sha256']:
                raise self.error(file, 'its sha256 is not the recorded one; the content has changed')
        return data

    def _recorded(self, file: str) -> Mapping[str, Any]:
        if file not in self.files:
            raise self.error(file, f'not part of {self.name}')
        return self.files[file]

    def sha256(self, file: str) -> str:
        """The file's recorded sha256; of a folder without a manifest, that of its content."""
        return self._recorded(file)['sha256'] if self.files else hashlib.sha256(self.read(file)).hexdigest()

    @property
    def identity(self) -> dict[str, Any]:
        """The name and weights of a checkpoint, wherever it lies."""
        files = [file for file in (DECODER, ENCODER) if (self.folder / file).is_file()]
        return {'name': self.name, 'sha256': {file: self.sha256(file)[:16] for file in files}}

    def tensors(self, file: str) -> dict[str, torch.Tensor]:
        """The tensors of a safetensors file, on the CPU, as they are stored."""
        data = self.read(file)
        try:
            return load_safetensors(data)
        except SafetensorError as error:
            if data[:2] in (b'PK', b'\x80\x02', b'\x80\x03', b'\x80\x04', b'\x80\x05'):
                raise self.error(file, 'is a pickle under another name; pickles are never loaded') from error
            raise self.error(file, f'is not a whole safetensors file ({error})') from error

    def _parse(self, file: str) -> dict[str, Any]:
        try:
            parsed = json.loads(self.read(file))
        except ValueError as error:
            raise self.error(file, f'is not JSON ({error})') from error
        if not isinstance(parsed, dict):
            raise self.error(file, 'is not a JSON object')
        return parsed

    @cached_property
    def config(self) -> dict[str, Any]:
        """config.json, of which at least the architecture and the decoder are as this package writes them."""
        config = self._parse('config.json')
        if not isinstance(config.get('architecture'), str):
            raise self.error('config.json', 'does not name an architecture')
        decoder = config.get('decoder')
        if decoder is not None and not _describes_decoder(decoder):
            raise self.error(
                'config.json', 'decoder must have shortcuts, true or false, and num_classes, null or a whole number')
        return config

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """Measured figures; none where none was measured, or others wrote the folder."""
        recorded = 'metrics.json' in self.files if self.files else (self.folder / 'metrics.json').exists()
        return self._parse('metrics.json') if recorded else {}

    @property
    def headline(self) -> str:
        """The figure that matters most in a few words; empty where none was measured."""
        for key, text in HEADLINES.items():
            if key in self.metrics:
                try:
                    return text.format(**self.metrics[key])
                except (KeyError, TypeError, ValueError):
                    raise self.error('metrics.json', f'{key} has not the figures that it should have') from None
        return ''

    @property
    def architecture(self) -> str:
        return self.config['architecture']

    @property
    def kind(self) -> str:
        """'autoencoder', 'classifier' or 'segmenter'."""
        decoder = self.config.get('decoder')
        if decoder is None:
            return 'classifier'
        return 'autoencoder' if decoder['num_classes'] is None else 'segmenter'

    @property
    def multi_label(self) -> bool:
        """Whether a classifier may find several classes in an image: as its configuration says, or, of an older one, as
        it was measured."""
        return self.config.get('problem_type') == MULTI_LABEL or 'mean_average_precision' in self.metrics

    @cached_property
    def pretrained_cfg(self) -> 'PretrainedCfg':
        """timm's configuration, its weights to be read from this folder."""
        from timm.models import PretrainedCfg
        from timm.models._hub import load_model_config_from_path

        self.config  # noqa: B018  (checked first: timm reads the file without)
        try:
            cfg, _, _ = load_model_config_from_path(self.folder)
            cfg = {key: tuple(value) if isinstance(value, list) else value for key, value in cfg.items()}
            found = PretrainedCfg(**{**cfg, 'file': str(self.folder / ENCODER), 'source': None})
            channels, height, width = found.input_size
            usable = (all(type(n) is int for n in (channels, height, width, found.num_classes))
                      and min(channels, height, width) > 0 and found.num_classes >= 0 and found.crop_pct > 0
                      and len(found.mean) == len(found.std) and sum(found.mean) >= 0 and min(found.std) > 0)
        except (AttributeError, TypeError, ValueError) as error:
            raise self.error('config.json', f'pretrained_cfg is not as timm writes it ({error})') from error
        if not usable:
            raise self.error('config.json', 'pretrained_cfg has a size, a crop, mean and std, or num_classes that no '
                                            'network can have')
        return found

    @cached_property
    def model_args(self) -> dict[str, Any]:
        """Activation, norm and pooling that the network was made with, where timm has recorded other than the usual."""
        from timm.layers import SelectAdaptivePool2d, get_act_layer, get_norm_act_layer

        try:
            args = dict(self.config.get('model_args') or {})
            args = {key: args[key] for key in ('act_layer', 'norm_layer', 'global_pool') if args.get(key)}
            get_norm_act_layer(args.get('norm_layer', 'batchnorm2d'), get_act_layer(args.get('act_layer', 'relu')))
            SelectAdaptivePool2d(pool_type=args.get('global_pool', 'avg'))
        except Exception as error:  # timm asserts, or fails to find them
            raise self.error('config.json', f'model_args are none of timm ({error!r})') from error
        return args

    @property
    def in_chans(self) -> int:
        """Channels of the images that the network was made for."""
        return self.pretrained_cfg.input_size[0]

    def require(self, kind: str | None) -> None:
        """Refuse a checkpoint that is not of the kind that is needed."""
        if kind and self.kind != kind:
            raise CheckpointError(f'{self.folder}: holds {_article(self.kind)}, not {_article(kind)}; give the folder '
                                  f'or the name of {_article(kind)}')

    def require_architecture(self, architecture: str) -> None:
        """Refuse a checkpoint that is of another architecture, or whose configuration cannot be used."""
        if self.architecture != architecture:
            raise CheckpointError(f'{self.folder}: is for {self.architecture}, not {architecture}; '
                                  'give another folder, or that architecture')
        self.pretrained_cfg  # noqa: B018  (checked by being read)

    def verify(self, architecture: str) -> None:
        """Check the configuration, that it is of ``architecture``, and the encoder's file."""
        self.require_architecture(architecture)
        self.tensors(ENCODER)


def _describes_decoder(decoder: Any) -> bool:
    if not isinstance(decoder, dict) or not {'shortcuts', 'num_classes'} <= decoder.keys():
        return False
    classes = decoder['num_classes']
    return isinstance(decoder['shortcuts'], bool) and (classes is None or (type(classes) is int and classes > 0))


def _article(kind: str) -> str:
    return f'{"an" if kind[0] in "aeiou" else "a"} {kind}'


def as_json(value: Any) -> Any:
    """Figures as JSON can have them: null for what is not finite."""
    if isinstance(value, Mapping):
        return {key: as_json(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def open_folder(folder: str | os.PathLike[str]) -> Checkpoint:
    """The checkpoint in a folder of the user's own, to be checked against its ``manifest.json`` where there is one.

    A folder that has the name of another checkpoint than its manifest was renamed, and is refused; one that is not
    named ``scae_<architecture>.<tag>`` may hold any. The folder of a training run means the checkpoint that it made.
    """
    folder = Path(os.path.expanduser(folder))
    if folder.name == ENCODER:
        folder = folder.parent
    if (folder / RUN).is_file():
        folder = _made_by(folder)
    own_name = Path(os.path.abspath(folder)).name
    bare = Checkpoint(own_name, folder, {})
    if not folder.is_dir():
        what = 'a file' if folder.exists() else 'not found'
        raise CheckpointError(
            f"{folder}: is not a checkpoint's folder ({what}); give one, or the name of a checkpoint")
    if not (folder / 'manifest.json').is_file():
        return bare
    manifest = bare._parse('manifest.json')
    name, files = manifest.get('name'), manifest.get('files')
    if not (isinstance(name, str) and _is_file_name(name) and lists_files(files)):
        raise bare.error('manifest.json', f'does not say the name, and sha256 and bytes of each file, {ENCODER} too')
    if own_name.startswith('scae_') and '.' in own_name and own_name != name:
        raise bare.error('', f'holds {name}, as its manifest.json says; name the folder so')
    return Checkpoint(name, folder, files, str(manifest.get('recipe', '')))


def _is_file_name(name: str) -> bool:
    return name not in ('', '.', '..') and not set(name) & {os.sep, '\0'}


def _made_by(run: Path) -> Path:
    """The checkpoint's folder in the folder of a training run."""
    found = [path.parent for path in sorted(run.glob('scae_*.*/config.json'))]
    if not found:
        raise CheckpointError(f'{run}: is a run that has made no checkpoint yet; run its command again to go on')
    if len(found) > 1:
        raise CheckpointError(f'{run}: holds several checkpoints; name one of {", ".join(map(str, found))}')
    return found[0]


def lists_files(files: Any) -> TypeGuard[Mapping[str, Mapping[str, Any]]]:
    """Whether a manifest's ``files`` are sha256 and bytes of a checkpoint's files."""
    return isinstance(files, dict) and ENCODER in files and all(
        isinstance(entry, dict) and {'sha256', 'bytes'} <= entry.keys() for entry in files.values())


def shapes(state: Mapping[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in state.items()}


def misfit(have: Mapping[str, tuple[int, ...]], want: Mapping[str, tuple[int, ...]]) -> str:
    """What does not fit between the shapes in a file and those of a model; empty where all does."""
    wrong = sorted(key for key in want.keys() | have.keys() if want.get(key) != have.get(key))
    return (f'does not fit the architecture: {wrong[0]} is {have.get(wrong[0], "missing")} in the file and '
            f'{want.get(wrong[0], "unknown")} in the model ({len(wrong)} entries differ)') if wrong else ''
