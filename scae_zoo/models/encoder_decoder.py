"""What the networks of two halves have in common: how they are put together, saved, published and loaded again."""

import os
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import torch
import torch.nn as nn

from ..checkpoints.card import model_card
from ..checkpoints.finding import find, means_a_folder, open_repository, split_name
from ..checkpoints.folder import Checkpoint, open_folder
from ..checkpoints.uploads import checked_name, upload
from ..checkpoints.writing import require_replaceable, write
from ..errors import CheckpointError
from ..places import expand
from .architectures import ARCHITECTURES
from .decoder import ScaeDecoder
from .loading import halves, layer_arguments, require_classes, require_known
from .scae import ScaeEncoder

N = TypeVar('N', bound='EncoderDecoder')


class EncoderDecoder(nn.Module):
    """What the networks of two halves have in common.

    Args:
        encoder: A headless encoder (``num_classes=0``).
        decoder: Its mirror.
    """

    __jit_unused_properties__ = ['pretrained_cfg']
    kind = ''  # 'autoencoder' or 'segmenter'

    def __init__(self, encoder: ScaeEncoder, decoder: ScaeDecoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        # the norms behind the raw outputs that the decoder adds must not be folded into the convolutions
        for source, target in zip(encoder.blocks[:-1], reversed(decoder.blocks), strict=True):
            source.is_shortcut_source = target.is_shortcut_target

    @torch.jit.ignore
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Of both halves. As in timm, norms then count each batch's statistics twice."""
        self.encoder.set_grad_checkpointing(enable)
        self.decoder.grad_checkpointing = enable

    @property
    def pretrained_cfg(self) -> dict[str, Any]:
        """The encoder's, for ``timm.data.resolve_model_data_config``."""
        return self.encoder.pretrained_cfg

    @pretrained_cfg.setter
    def pretrained_cfg(self, cfg: dict[str, Any]) -> None:
        self.encoder.pretrained_cfg = cfg

    # as huggingface_hub's ModelHubMixin has them. That itself would remove the old config.json before it writes the new
    # one, ask the Hub for what our names mean, and keep a configuration beside the network's own
    def save_pretrained(
            self,
            save_directory: str | os.PathLike[str],
            *,
            config: dict[str, Any] | None = None,
            repo_id: str | None = None,
            push_to_hub: bool = False,
            model_card_kwargs: dict[str, Any] | None = None,
            **push_to_hub_kwargs: Any,
    ) -> str | None:
        """Write a checkpoint's folder, as a run ends with: whole, or not at all.

        Args:
            save_directory: The folder. A checkpoint that is there is replaced.
            config: Other entries of ``config.json``, such as ``{'label_names': ['cat', 'dog']}``, a name for each of a
                segmenter's classes.
            repo_id: Where to push it; by default a repository of your own with the folder's name.
            push_to_hub: Whether to push it, too.
            model_card_kwargs: What the card in ``README.md`` says: ``summary``, ``dataset``, ``test_dataset``,
                ``figures`` and ``command`` of ``scae_zoo.checkpoints.card.model_card``.
            push_to_hub_kwargs: As ``push_to_hub`` takes them.

        Returns:
            The address of the commit, where it was pushed.

        Raises:
            CheckpointError: The folder cannot be written, or holds something else.
            ValueError: ``config`` has an entry that is the network's own, or other names than one a class.
        """
        folder = Path(os.path.abspath(expand(save_directory)))
        require_replaceable(folder)
        if any(isinstance(each, nn.Conv2d) and each.bias is not None for each in self.encoder.blocks.modules()):
            raise CheckpointError(f'{folder}: nothing was written, as the norms are folded into the convolutions, and '
                                  'no checkpoint is so; save the network before it is reparameterized')
        card = model_card(
            folder.name, self.pretrained_cfg['architecture'], self.kind, **(model_card_kwargs or {}))
        write(folder, self.encoder, self.decoder, card=card, config=config)
        if not push_to_hub:
            return None
        return self.push_to_hub(
            repo_id or folder.name, config=config, model_card_kwargs=model_card_kwargs, **push_to_hub_kwargs)

    def push_to_hub(
            self,
            repo_id: str,
            *,
            config: dict[str, Any] | None = None,
            commit_message: str = 'Push model using huggingface_hub.',
            private: bool | None = None,
            token: str | None = None,
            branch: str | None = None,
            create_pr: bool | None = None,
            allow_patterns: list[str] | str | None = None,
            ignore_patterns: list[str] | str | None = None,
            delete_patterns: list[str] | str | None = None,
            model_card_kwargs: dict[str, Any] | None = None,
    ) -> str:
        """Upload what ``save_pretrained`` writes to a repository of the Hugging Face Hub, which is made if need be; all
        arguments are those of ``huggingface_hub.ModelHubMixin.push_to_hub``. Without patterns, recipe and figures of an
        earlier checkpoint are removed there, as they are of other weights.

        Returns:
            The address of the commit.

        Raises:
            CheckpointError: It could not be uploaded.
        """
        name = checked_name(repo_id)
        with TemporaryDirectory() as scratch:
            folder = Path(scratch) / name.rpartition('/')[2]
            self.save_pretrained(folder, config=config, model_card_kwargs=model_card_kwargs)
            return upload(
                open_folder(folder), name, private=private, token=token, commit_message=commit_message, revision=branch,
                create_pr=create_pr, allow_patterns=allow_patterns, ignore_patterns=ignore_patterns,
                delete_patterns=delete_patterns)

    @classmethod
    def from_pretrained(
            cls: type[N],
            pretrained_model_name_or_path: str | os.PathLike[str],
            *,
            force_download: bool = False,
            token: str | bool | None = None,
            cache_dir: str | os.PathLike[str] | None = None,
            local_files_only: bool = False,
            revision: str | None = None,
            **model_kwargs: Any,
    ) -> N:
        """The network of a checkpoint, in evaluation mode.

        Args:
            pretrained_model_name_or_path: The folder of a checkpoint or a run, a name of ``scae list``, or a
                repository, ``USER/REPOSITORY``.
            force_download: Download what is in the Hub's cache already; this and the following are of a repository.
            token: Of the Hub; by default that of ``hf auth login``.
            cache_dir: The Hub's cache, where it is not the usual one.
            local_files_only: Take what is in the cache.
            revision: A branch, tag or commit.
            model_kwargs: ``shortcuts``, ``in_chans``, ``act_layer``, ``norm_layer``, ``device``, ``dtype``, and of a
                segmenter ``num_classes``, as ``create_autoencoder`` and ``create_segmenter`` take them; by default as
                the network was.

        Raises:
            CheckpointError: It is missing, damaged, or another kind of network.
            TypeError: There is no such argument.
            ValueError: ``shortcuts`` contradicts the checkpoint, ``num_classes`` is not positive, or there is no home
                folder that ``~`` stands for.
        """
        ours = {'shortcuts', 'in_chans', *(['num_classes'] if cls.kind == 'segmenter' else [])}
        layers = layer_arguments({key: value for key, value in model_kwargs.items() if key not in ours})
        require_classes(model_kwargs.get('num_classes'))
        checkpoint = _found(
            pretrained_model_name_or_path, cls.kind, revision, None if cache_dir is None else os.fspath(cache_dir),
            force_download=force_download, token=token, local_files_only=local_files_only)
        require_known(checkpoint)
        checkpoint.require_architecture(checkpoint.architecture)  # for what else its configuration says
        checkpoint.require(cls.kind)
        return cls(*halves(
            checkpoint.architecture, checkpoint, layers=layers,
            **{key: value for key, value in model_kwargs.items() if key in ours})).eval()


def _found(
        place: str | os.PathLike[str], kind: str, revision: str | None, cache_dir: str | None, **options: Any,
) -> Checkpoint:
    text = expand(place)
    if split_name(text)[0] in ARCHITECTURES and not means_a_folder(text):
        return find(text, kind=kind, cache_dir=cache_dir)
    # no repository begins with a dot or a slash, or has two slashes in its name; its revision may have some
    is_path = text.startswith(('.', os.sep)) or text.partition('@')[0].count(os.sep) > 1
    if is_path or isinstance(place, os.PathLike) or os.path.isdir(text):
        return open_folder(text)
    if not re.fullmatch(r'(hf-hub:)?\w[\w.-]*/[\w.-]+(@.+)?', text):
        raise CheckpointError(f'{text}: is neither a folder nor a name of `scae list`, and a repository of the Hub is '
                              'USER/REPOSITORY')
    return open_repository(f'{text}@{revision}' if revision else text, cache_dir, **options)
