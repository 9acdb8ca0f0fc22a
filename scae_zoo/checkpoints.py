"""Where a checkpoint's files are found, verified and read; ``checkpoint_writing`` writes them.

A checkpoint is a folder in the Hugging Face Hub's layout, named ``<architecture>.<tag>``:

    model.safetensors     the encoder, exactly the timm model's keys
    decoder.safetensors   the decoder, where there is one
    config.json           timm's format; ``decoder`` beside it says how the decoder is built
    recipe.yaml           hyper-parameters, seed, versions and the code's revision
    metrics.json          measured figures
    README.md             the model card
    manifest.json         sha256 and size of each of the files above

``weights/manifest.json`` lists the zoo's own checkpoints. They are looked for in ``$SCAE_ZOO_CHECKPOINTS`` (a folder of
such folders), in the package, and on the Hub, in this order.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from timm.models import PretrainedCfg
from timm.models._builder import resolve_pretrained_cfg
from timm.models._hub import load_model_config_from_path

WEIGHTS = Path(__file__).parent / 'weights'
HUB_ORG = 'scae-zoo'
HUB_REVISION = 'main'
ENVIRONMENT = 'SCAE_ZOO_CHECKPOINTS'

ENCODER = 'model.safetensors'
DECODER = 'decoder.safetensors'


class CheckpointError(RuntimeError):
    """A checkpoint is missing, damaged, or not what was asked for; one line says which file, why, and what to do."""


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
            f'give another folder (weights=PATH, or ${ENVIRONMENT}); or make it again with {again}')

    def read(self, file: str) -> bytes:
        """The file's bytes, checked against the manifest."""
        path = self.folder / file
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            pickles = [p.name for p in self.folder.glob('*') if p.suffix in {'.bin', '.pth', '.pt', '.pkl', '.ckpt'}]
            if pickles:
                raise self.error(file, f'not found, only {pickles[0]}; pickles are never loaded') from None
            raise self.error(file, 'not found') from None
        except OSError as error:
            raise self.error(file, f'cannot be read ({error.strerror})') from error
        if self.files and file not in self.files:
            raise self.error(file, f'not part of {self.name}')
        if self.files:
            want = self.files[file]
            if len(data) != want['bytes']:
                raise self.error(file, f'has {len(data)} bytes instead of {want["bytes"]}, as a broken-off copy has')
            if hashlib.sha256(data).hexdigest() != want['sha256']:
                raise self.error(file, 'its sha256 is not the recorded one; the content has changed')
        return data

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
        return self._parse('config.json')

    @cached_property
    def metrics(self) -> dict[str, Any]:
        return self._parse('metrics.json')

    @property
    def architecture(self) -> str:
        return self.config.get('architecture', '')

    @property
    def kind(self) -> str:
        """'autoencoder', 'classifier' or 'segmenter'."""
        decoder = self.config.get('decoder')
        if decoder is None:
            return 'classifier'
        return 'autoencoder' if decoder.get('num_classes') is None else 'segmenter'

    @property
    def pretrained_cfg(self) -> PretrainedCfg:
        """timm's configuration, its weights to be read from this folder."""
        self.config  # noqa: B018  (checked first: timm reads the file without)
        cfg, _, _ = load_model_config_from_path(self.folder)
        return PretrainedCfg(**{**cfg, 'file': str(self.folder / ENCODER), 'source': None})

    def require(self, kind: str | None) -> None:
        """Refuse a checkpoint that is not of the kind that is needed."""
        if kind and self.kind != kind:
            raise CheckpointError(
                f'{self.folder}: holds {_article(self.kind)}, not {_article(kind)}; '
                f'{_available(self.architecture, kind)}')

    def wrong_architecture(self, wanted: str) -> CheckpointError:
        return self.error('config.json', f'is for {self.architecture or "no architecture"}, not {wanted}')

    def verify(self, architecture: str) -> None:
        """Check the encoder's file and that the folder belongs to ``architecture``."""
        if self.architecture != architecture:
            raise self.wrong_architecture(architecture)
        self.tensors(ENCODER)


def _manifest() -> dict[str, dict[str, Any]]:
    path = WEIGHTS / 'manifest.json'
    return json.loads(path.read_text()) if path.is_file() else {}


def split_name(name: str) -> tuple[str, str]:
    """``'scae_vgg16.dae_photos'`` to ``('scae_vgg16', 'dae_photos')``; the tag is empty where there is none."""
    architecture, _, tag = name.partition('.')
    return architecture, tag


def weights(name: str) -> dict[str, str]:
    """Where timm's ``default_cfgs`` find a checkpoint of the zoo: nothing, where it is neither here nor on the Hub."""
    if (WEIGHTS / name / ENCODER).is_file():
        return {'file': str(WEIGHTS / name / ENCODER)}
    if _manifest().get(name, {}).get('hub'):
        return {'hf_hub_id': f'{HUB_ORG}/{name}'}
    return {}


def names() -> list[str]:
    """Every checkpoint that can be loaded: the zoo's own and those in ``$SCAE_ZOO_CHECKPOINTS``."""
    folder = _own_folder()
    # a name that starts with a dot is a folder that was being written when its process was killed
    own = {p.parent.name for p in folder.glob(f'*.*/{ENCODER}') if p.parent.name[0] != '.'} if folder else set()
    return sorted(own | {name for name in _manifest() if weights(name)})


def _own_folder() -> Path | None:
    value = os.environ.get(ENVIRONMENT)
    return Path(value).expanduser() if value else None


def open_folder(folder: str | Path) -> Checkpoint:
    """The checkpoint in a folder of the user's own, to be checked against its ``manifest.json`` where there is one."""
    folder = Path(folder).expanduser()
    if folder.suffix == '.safetensors' and folder.name == ENCODER:
        folder = folder.parent
    bare = Checkpoint(folder.name, folder, {})
    if not folder.is_dir():
        raise bare.error('', f'is not a checkpoint\'s folder ({"a file" if folder.exists() else "not found"})')
    if not (folder / 'manifest.json').is_file():
        return bare
    manifest = bare._parse('manifest.json')
    name, files = manifest.get('name'), manifest.get('files')
    if not isinstance(name, str) or not isinstance(files, dict) or not all(
            isinstance(entry, dict) and {'sha256', 'bytes'} <= entry.keys() for entry in files.values()):
        raise bare.error('manifest.json', 'does not say the name, and the sha256 and bytes of each file')
    return Checkpoint(name, folder, files, str(manifest.get('recipe', '')))


def find(
        name: str,
        weights_or_tag: str | None = None,
        kind: str | None = None,
        cache_dir: str | None = None,
) -> Checkpoint:
    """The checkpoint that a name, a tag or a path means.

    Args:
        name: ``'scae_vgg16.dae_photos'``, or an architecture alone for its first checkpoint of that kind.
        weights_or_tag: A tag, or the path of a checkpoint's folder; goes before the name's own tag.
        kind: 'autoencoder', 'classifier' or 'segmenter', where it matters.
        cache_dir: The Hub's cache, where it is not the usual one.

    Raises:
        CheckpointError: There is no such checkpoint, or it is of another architecture or kind.
    """
    architecture, tag = split_name(name)
    if weights_or_tag and (os.sep in weights_or_tag or Path(weights_or_tag).expanduser().exists()):
        checkpoint = open_folder(weights_or_tag)
    else:
        checkpoint = _find_by_name(architecture, weights_or_tag or tag, kind, cache_dir)
    if checkpoint.architecture != architecture:
        raise checkpoint.wrong_architecture(architecture)
    checkpoint.require(kind)
    return checkpoint


def _find_by_name(architecture: str, tag: str, kind: str | None, cache_dir: str | None) -> Checkpoint:
    manifest = _manifest()
    if not tag:
        tags = [split_name(n)[1] for n in names() if split_name(n)[0] == architecture]
        of_kind = [t for t in tags if kind is None or _kind_of(f'{architecture}.{t}') == kind]
        if not of_kind:
            raise CheckpointError(f'{architecture}: no {kind or "checkpoint"} of it; {_available(architecture, kind)}')
        tag = of_kind[0]
    name = f'{architecture}.{tag}'
    own = _own_folder()
    if own and (own / name).is_dir():
        return open_folder(own / name)
    entry = manifest.get(name)
    if entry is None:
        raise CheckpointError(f'{name}: no such checkpoint; {_available(architecture, kind)}')
    folder = WEIGHTS / name
    if entry.get('hub') and not folder.is_dir():
        folder = _download(name, entry, cache_dir)
    return Checkpoint(name, folder, entry['files'], entry.get('recipe', ''))


def _kind_of(name: str) -> str:
    entry = _manifest().get(name)
    own = _own_folder()
    if own and (own / name).is_dir():
        return open_folder(own / name).kind
    return entry['kind'] if entry else ''


def _article(kind: str) -> str:
    return f'{"an" if kind[0] in "aeiou" else "a"} {kind}'


def _available(architecture: str, kind: str | None) -> str:
    fitting = [n for n in names() if kind is None or _kind_of(n) == kind]
    same = [n for n in fitting if split_name(n)[0] == architecture] or fitting
    return f'there are {", ".join(same)}' if same else 'there are none; train one with a recipe, or give weights=PATH'


def _download(name: str, entry: Mapping[str, Any], cache_dir: str | None) -> Path:
    repo = f'{HUB_ORG}/{name}'
    try:
        paths = [hf_hub_download(repo, f, revision=HUB_REVISION, cache_dir=cache_dir) for f in entry['files']]
    except Exception as error:  # the Hub's client raises those of its HTTP library, of the system and of its own
        raise CheckpointError(
            f'{repo}: cannot be downloaded ({type(error).__name__}: {str(error).splitlines()[0]}). Ways out: try again '
            f'with the network on; give a local folder (weights=PATH, or ${ENVIRONMENT}); or make it again with '
            f'{entry.get("recipe", "its recipe")}') from error
    return Path(paths[0]).parent


def verified_overlay(
        architecture: str,
        pretrained_cfg: Any,
        overlay: Mapping[str, Any] | None,
        cache_dir: str | None,
) -> dict[str, Any]:
    """timm's ``pretrained_cfg_overlay`` with ``file`` set to the encoder's file, found and verified by this module.

    timm itself would load a damaged file, fall back to a pickle, or raise without a message.
    """
    overlay = dict(overlay or {})
    cfg = resolve_pretrained_cfg(architecture, pretrained_cfg, overlay)
    if cfg.state_dict:
        return overlay
    name = f'{architecture}.{cfg.tag}' if cfg.tag else architecture
    if cfg.file and cfg.file != str(WEIGHTS / name / ENCODER):
        path = Path(cfg.file)
        if path.is_file() and (path.name != ENCODER or not (path.parent / 'config.json').is_file()):
            checkpoint = Checkpoint(path.stem, path.parent, {})
            if path.suffix != '.safetensors':
                raise checkpoint.error(path.name, 'is not a safetensors file; pickles are never loaded')
            checkpoint.tensors(path.name)
            return {**overlay, 'file': str(path), 'source': None}
        checkpoint = open_folder(path)
    elif cfg.source == 'hf-hub':
        repo, _, revision = str(cfg.hf_hub_id).partition('@')
        try:
            path = Path(hf_hub_download(repo, ENCODER, revision=revision or None, cache_dir=cache_dir))
        except Exception as error:  # as in _download
            raise CheckpointError(f'{repo}: no {ENCODER} could be downloaded ({type(error).__name__}: '
                                  f'{str(error).splitlines()[0]}); pickles are never loaded') from error
        Checkpoint(repo, path.parent, {}).tensors(path.name)
        return {**overlay, 'file': str(path), 'source': None}
    else:
        checkpoint = find(name, cache_dir=cache_dir)
    checkpoint.verify(architecture)
    return {**overlay, 'file': str(checkpoint.folder / ENCODER), 'source': None}


def load_strictly(
        module: torch.nn.Module,
        tensors: Mapping[str, torch.Tensor],
        checkpoint: Checkpoint,
        file: str,
) -> None:
    """Copy ``tensors`` into a module; refuses, before anything is copied, what does not fit it exactly."""
    want, have = ({k: tuple(v.shape) for k, v in state.items()} for state in (module.state_dict(), tensors))
    wrong = sorted(k for k in want.keys() | have.keys() if want.get(k) != have.get(k))
    if wrong:
        key = wrong[0]
        raise checkpoint.error(
            file, f'does not fit the architecture: {key} is {have.get(key, "missing")} in the file and '
            f'{want.get(key, "unknown")} in the model ({len(wrong)} entries differ)')
    module.load_state_dict(tensors)
