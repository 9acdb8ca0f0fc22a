"""Checkpoints' files from the Hugging Face Hub."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import hf_hub_download, snapshot_download

from .checkpoint_folder import DECODER, ENVIRONMENT, FILES, Checkpoint, CheckpointError, open_folder


def download(repo: str, file: str, revision: str | None, cache_dir: str | None, again: str = '') -> Path:
    """Where a repository's file is in the Hub's cache, downloaded if need be.

    Args:
        repo: ``USER/REPOSITORY``.
        file: The file's name.
        revision: A branch, tag or commit.
        cache_dir: The Hub's cache, where it is not the usual one.
        again: A way out besides, for the message.

    Raises:
        CheckpointError: It cannot be had.
    """
    with _faults_named(repo, f'no {file}', again):
        return Path(hf_hub_download(repo, file, revision=revision, cache_dir=cache_dir))


def open_repository(place: str, cache_dir: str | None, with_decoder: bool = True) -> Checkpoint:
    """The checkpoint in a repository, ``USER/REPOSITORY`` or ``USER/REPOSITORY@REVISION``.

    Raises:
        CheckpointError: It cannot be had.
    """
    repo, _, revision = place.partition('@')
    files = [file for file in (*FILES, 'manifest.json') if with_decoder or file != DECODER]
    with _faults_named(repo, 'it'):
        folder = snapshot_download(repo, revision=revision or None, cache_dir=cache_dir, allow_patterns=files)
    checkpoint = open_folder(folder)
    # the folder's own name is the revision's digits
    return checkpoint if checkpoint.files else dataclasses.replace(checkpoint, name=repo.rpartition('/')[2])


@contextmanager
def _faults_named(repo: str, what: str, again: str = '') -> Iterator[None]:
    try:
        yield
    except Exception as error:  # the Hub's client raises those of its HTTP library, of the system and of its own
        fault = ' '.join([line for line in str(error).splitlines() if line][:2])
        raise CheckpointError(
            f'{repo}: {what} could not be downloaded ({type(error).__name__}: {fault}). Ways out: '
            'try again with the network on, and logged in if it is private; check the name; '
            f'give a local folder (weights=PATH, or ${ENVIRONMENT}){again}') from error
