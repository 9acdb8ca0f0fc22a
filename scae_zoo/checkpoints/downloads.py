"""Checkpoints' files from the Hugging Face Hub."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub.errors import EntryNotFoundError

from ..errors import CheckpointError
from ..places import expand
from .folder import DECODER, ENCODER, ENVIRONMENT

ABOUT = ('config.json', 'manifest.json', 'metrics.json', 'recipe.yaml')


def download(
        repo: str, file: str, revision: str | None, cache_dir: str | None, again: str = '', **options: Any) -> Path:
    """Where a repository's file is in the Hub's cache, downloaded if need be.

    Args:
        repo: ``USER/REPOSITORY``.
        file: The file's name.
        revision: A branch, tag or commit.
        cache_dir: The Hub's cache, where it is not the usual one.
        again: A way out besides, for the message.
        options: ``token``, ``force_download`` and ``local_files_only``, as ``hf_hub_download`` takes them.

    Raises:
        CheckpointError: It cannot be had.
    """
    with _faults_named(repo, file, again):
        return Path(hf_hub_download(repo, file, revision=revision, cache_dir=_expanded(cache_dir), **options))


def download_checkpoint(place: str, cache_dir: str | None, with_decoder: bool = True, **options: Any) -> Path:
    """The folder in the Hub's cache of a checkpoint, as far as the repository has its files.

    Args:
        place: ``USER/REPOSITORY`` or ``USER/REPOSITORY@REVISION``.
        cache_dir: The Hub's cache, where it is not the usual one.
        with_decoder: Whether the decoder is needed, where there is one.
        options: As ``download`` takes them.

    Raises:
        CheckpointError: The encoder cannot be had, or the connection broke.
    """
    repo, _, revision = place.partition('@')
    folder = download(repo, ENCODER, revision or None, cache_dir, **options).parent
    commit = folder.name
    if not options.get('local_files_only') and _is_reachable(repo, commit, options.get('token')):
        for file in ABOUT:  # of which timm writes config.json alone
            with _faults_named(repo, file), suppress(EntryNotFoundError):
                hf_hub_download(repo, file, revision=commit, cache_dir=_expanded(cache_dir), **options)
    if with_decoder and _has_decoder(folder):
        download(repo, DECODER, commit, cache_dir, **options)
    return folder


def _expanded(cache_dir: str | None) -> str | None:
    return cache_dir and expand(cache_dir)


def _is_reachable(repo: str, commit: str, token: str | bool | None) -> bool:
    """Asked once: without a network, hf_hub_download tries for half a minute to get each file that is not cached."""
    try:
        get_hf_file_metadata(hf_hub_url(repo, ENCODER, revision=commit), token=token)
    except Exception:  # its HTTP library's, or that it was told to stay offline
        return False
    return True


def _has_decoder(folder: Path) -> bool:
    try:
        return bool(json.loads((folder / 'config.json').read_text()).get('decoder'))
    except (OSError, ValueError, AttributeError):  # which is said when the folder is opened
        return False


@contextmanager
def _faults_named(repo: str, file: str, again: str = '') -> Iterator[None]:
    try:
        yield
    except Exception as error:  # the Hub's client raises those of its HTTP library, of the system and of its own
        fault = ' '.join([line for line in str(error).splitlines() if line][:2])
        if isinstance(error, (PermissionError, RuntimeError)):  # of the folder, or where there is no home for it
            again = f'; give another folder for what is downloaded in $HF_HOME{again}'
        raise CheckpointError(
            f'{repo}: {file} could not be downloaded ({type(error).__name__}: {fault}). Ways out: '
            'try again with the network on, and logged in if it is private; check the name; '
            f'give a local folder, or one below ${ENVIRONMENT}{again}') from error
