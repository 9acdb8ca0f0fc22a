"""What timm is told of checkpoints when this package is imported, and what it is given when it loads one."""

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from timm.models import PretrainedCfg, get_pretrained_cfg
from timm.models._builder import resolve_pretrained_cfg

from ..errors import CheckpointError
from .downloads import download, download_checkpoint
from .finding import TAKEN_BY, by_priority, find, left_out, listed, open_own, source_of, split_name, there_are
from .folder import ENCODER, Checkpoint, open_folder

OF_IMAGES_AND_CLASSES = (  # in timm's configuration
    'num_classes', 'label_names', 'label_descriptions', 'input_size', 'pool_size', 'min_input_size', 'crop_pct',
    'crop_mode', 'interpolation', 'mean', 'std')


def pretrained_cfgs(untrained: Mapping[str, Mapping[str, Any]]) -> dict[str, PretrainedCfg]:
    """timm's configuration of every classifier and auto-encoder, an architecture's default first.

    Args:
        untrained: That of each architecture, for checkpoints that are not at hand: on the Hub, or damaged.
    """
    cfgs = {}
    for name, kind in by_priority().items():
        if kind not in TAKEN_BY['timm']:
            continue
        own = None
        try:
            own = open_own(name)
            cfg = (own or listed(name)).pretrained_cfg
        except CheckpointError:  # loading it says what is wrong; importing this package must go on
            cfg = PretrainedCfg(**untrained[split_name(name)[0]])
        source = {'file': cfg.file} if own else source_of(name)
        cfgs[name] = dataclasses.replace(cfg, file=source.get('file'), hf_hub_id=source.get('hf_hub_id'))
    return cfgs


def verified_overlay(
        architecture: str,
        pretrained_cfg: Any,
        overlay: Mapping[str, Any] | None,
        cache_dir: str | None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """timm's ``pretrained_cfg_overlay`` with ``file`` set to the encoder's file, found and verified by the store; and
    the arguments that its network was made with (``Checkpoint.model_args``).

    timm itself would load a damaged file, fall back to a pickle, or raise without a message.
    """
    overlay = dict(overlay or {})
    if isinstance(pretrained_cfg, dict) and pretrained_cfg.get('source') == 'local-dir':
        open_folder(pretrained_cfg['file']).verify(architecture)
    try:
        cfg = resolve_pretrained_cfg(architecture, pretrained_cfg, overlay)
    except RuntimeError:  # timm was not told of the tag
        if missing := left_out(architecture):
            raise CheckpointError(
                f'{architecture}.{pretrained_cfg}: no such checkpoint{missing}; {there_are(architecture)}') from None
        raise
    if cfg.state_dict:
        return overlay, {}
    if cfg.url:
        raise CheckpointError(f'{cfg.url}: weights are not read from a URL; download them, safetensors, and give file=')
    name = f'{architecture}.{cfg.tag}' if cfg.tag else architecture
    registered = source_of(name)
    checkpoint = None
    hub_alone = bool(overlay.get('hf_hub_id')) and not overlay.get('file')  # what the caller asks for
    if cfg.file and cfg.file != registered.get('file') and not hub_alone:
        file, whose = Path(os.path.expanduser(cfg.file)), Path(cfg.file).stem
    elif cfg.hf_hub_id and (cfg.source == 'hf-hub' or cfg.hf_hub_id != registered.get('hf_hub_id')):
        whose, _, revision = cfg.hf_hub_id.partition('@')
        if cfg.hf_hub_filename in (None, ENCODER):
            file = download_checkpoint(cfg.hf_hub_id, cache_dir, with_decoder=False) / ENCODER
        else:
            file = download(whose, _only_safetensors(cfg.hf_hub_filename), revision or None, cache_dir)
    else:
        checkpoint = find(name, cache_dir=cache_dir, way_out=(
            "weights of your own: timm.create_model('local-dir:FOLDER', pretrained=True); for one still to be trained: "
            'pretrained=False'))
    if checkpoint is None and _stands_alone(file):
        _only_safetensors(str(file))
        Checkpoint(whose, file.parent, {}).tensors(file.name)
        return {**overlay, 'file': str(file), 'source': None}, {}
    checkpoint = checkpoint or open_folder(file)
    checkpoint.verify(architecture)
    overlay = {**_news(name, cfg, checkpoint), **overlay, 'file': str(checkpoint.folder / ENCODER), 'source': None}
    return overlay, checkpoint.model_args


def may_claim_names(
        names: Sequence[str],
        num_classes: int,
        known: Iterable[PretrainedCfg],
        pretrained: bool,
        pretrained_cfg: Any,
        overlay: Mapping[str, Any] | None,
) -> bool:
    """Whether a network may claim its configuration's names of classes.

    Args:
        names: The names.
        num_classes: How many classes it has; 0 of a segmenter's encoder, whose classes are those of its decoder.
        known: What timm was told of the architecture's checkpoints; random weights know none of their classes.
        pretrained: Whether it has weights.
        pretrained_cfg: What its caller gave timm, whose names are his own where they are in a folder or repository.
        overlay: Likewise.
    """
    own = 'label_names' in (overlay or {}) or (
        isinstance(pretrained_cfg, Mapping) and pretrained_cfg.get('source') in ('local-dir', 'hf-hub'))
    trained = pretrained or own or all(cfg.label_names != tuple(names) for cfg in known)
    return trained and num_classes in (0, len(names))


def _news(name: str, cfg: PretrainedCfg, checkpoint: Checkpoint) -> dict[str, Any]:
    """What a checkpoint says of its classes and images where that is not what timm was told when this package was
    imported, and where the caller has not asked for something else: another of the same name may be found now, or the
    caller named its folder."""
    try:
        known, now = get_pretrained_cfg(name, allow_unregistered=False), checkpoint.pretrained_cfg
    except RuntimeError:  # no tag of which timm was told: the caller gave a configuration of his own
        return {}
    return {
        key: getattr(now, key) for key in OF_IMAGES_AND_CLASSES
        if getattr(known, key) == getattr(cfg, key) != getattr(now, key)}


def _stands_alone(path: Path) -> bool:
    """Whether a path means a file of weights without a checkpoint's folder around it."""
    return path.is_file() and (path.name != ENCODER or not (path.parent / 'config.json').is_file())


def _only_safetensors(file: str) -> str:
    if not file.endswith('.safetensors'):
        raise CheckpointError(f'{file}: is not a safetensors file; pickles are never loaded. Ways out: give a '
                              "safetensors file, or a checkpoint's folder; or, of a state_dict that timm has saved, "
                              'checkpoint_path= and pretrained=False')
    return file
