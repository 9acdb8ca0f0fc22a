"""Checkpoints' folders to the Hugging Face Hub."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from huggingface_hub import HfApi
from huggingface_hub.errors import HFValidationError, LocalTokenNotFoundError, OfflineModeIsEnabled
from huggingface_hub.utils import validate_repo_id

from ..errors import CheckpointError
from .folder import Checkpoint
from .writing import FILES

LOG_IN = 'log in with `hf auth login`, or give a token that may write in $HF_TOKEN'
# from the root, a home folder or a drive, where a word begins; to its end, or to that of the quotes around it
LOCAL_PATH = re.compile(
    r"""(?<=')(?:/|~)[^'\n]+(?=')|(?<![^\s'"`=:(\[{])(?:~\w*/|/(?=\w)|[A-Za-z]:\\)[^\s'"`,;)\]}]+""")
FAULTS = {  # by the status of the Hub's answer: what it means, and the way out
    401: ('there is no token, or the Hub does not know it', LOG_IN),
    403: ('the token may not write there', f'{LOG_IN}; or give a repository of your own'),
    404: ('there is no such user or repository, or the token may not see it', f'check the name; {LOG_IN}'),
    409: ('somebody else is changing it', 'try again in a minute'),
    429: ('the Hub was asked too often', 'try again in some minutes'),
}


class Sent(NamedTuple):
    """One of a checkpoint's files, and its size in bytes."""

    name: str
    size: int


def checked_name(repo: str) -> str:
    """The name of a repository, where it may be one.

    Raises:
        CheckpointError: It may not.
    """
    name = repo.removeprefix('hf-hub:')
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise CheckpointError(f'{repo}: is no name of a repository ({error}); give USER/REPOSITORY') from None
    return name


def sent_files(checkpoint: Checkpoint) -> list[Sent]:
    """What is uploaded of a checkpoint: its own files, each as its manifest records it, and that.

    Raises:
        CheckpointError: One of them is missing or damaged, or there are no weights.
    """
    names = [*checkpoint.files, 'manifest.json'] if checkpoint.files else [
        name for name in FILES if (checkpoint.folder / name).is_file()]
    checkpoint.verify(checkpoint.architecture)
    for name in checkpoint.files:
        checkpoint.read(name)
    return [Sent(name, (checkpoint.folder / name).stat().st_size) for name in sorted(names)]


def local_paths(checkpoint: Checkpoint, files: Iterable[Sent]) -> dict[str, set[str]]:
    """The paths of this machine that stand in a checkpoint's texts, such as in the command that made it, by file: who
    sees the repository sees them."""
    found = {file.name: {*LOCAL_PATH.findall((checkpoint.folder / file.name).read_text('utf-8', 'replace'))}
             for file in files if not file.name.endswith('.safetensors')}
    return {name: paths for name, paths in found.items() if paths}


def others_in(repo: str, sent: Iterable[Sent]) -> list[str]:
    """The files in a repository beside those that were sent, the Hub's own aside.

    Raises:
        CheckpointError: The Hub does not answer.
    """
    with _faults_named(repo, 'is published, but what else it holds could not be listed'):
        there = HfApi().list_repo_files(repo)
    return sorted({*there} - {file.name for file in sent} - {'.gitattributes'})


def upload(
        checkpoint: Checkpoint,
        repo: str,
        *,
        private: bool | None = None,
        token: str | bool | None = None,
        commit_message: str = '',
        **options: Any,
) -> str:
    """Upload a checkpoint to a repository, which is made if need be; what is there already is not sent again. Files of
    an earlier checkpoint that this one has not, such as a decoder, are removed; no others, and nothing where patterns
    say what is uploaded or removed.

    Args:
        checkpoint: The checkpoint.
        repo: ``USER/REPOSITORY``.
        private: Whether only its owner sees it.
        token: Of the Hub; by default that of ``hf auth login``.
        commit_message: The first line of the commit.
        options: ``revision``, ``create_pr`` and the patterns, as ``huggingface_hub.upload_folder`` takes them.

    Returns:
        The address of the commit.

    Raises:
        CheckpointError: It could not be uploaded.
    """
    files = [file.name for file in sent_files(checkpoint)]
    stale = [name for name in FILES if name not in (*files, 'README.md')]  # a card may be written on the Hub
    if all(options.get(f'{which}_patterns') is None for which in ('allow', 'ignore', 'delete')):
        options = {**options, 'allow_patterns': files, 'delete_patterns': stale}
    with _faults_named(repo, 'could not be published'):
        api = HfApi(token=token)
        repo = api.create_repo(repo, private=private, exist_ok=True).repo_id
        if private and not api.repo_info(repo).private:
            raise CheckpointError(f'{repo}: is public already; make it private on the Hub, or give another repository')
        return api.upload_folder(
            repo_id=repo, folder_path=checkpoint.folder, commit_message=commit_message or f'Upload {checkpoint.name}',
            **options)


@contextmanager
def _faults_named(repo: str, what: str) -> Iterator[None]:
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:  # the Hub's client raises those of its HTTP library, of the system and of its own
        fault, way_out = _meaning(error)
        raise CheckpointError(f'{repo}: {what}: {fault}. Ways out: {way_out}; then do the same again: what has '
                              'arrived is not sent twice') from error


def _meaning(error: Exception) -> tuple[str, str]:
    """What is wrong, and the way out."""
    status = 401 if isinstance(error, LocalTokenNotFoundError) else getattr(
        getattr(error, 'response', None), 'status_code', 0)
    said = ' '.join([line.strip() for line in str(error).splitlines() if line.strip()][:2])
    if status in FAULTS:
        fault, way_out = FAULTS[status]
        return f'{fault} ({status})', way_out
    if status >= 500:
        return f'the Hub has a fault of its own ({status})', 'try again later'
    if isinstance(error, OfflineModeIsEnabled):
        return 'the Hub must not be asked, as $HF_HUB_OFFLINE says', 'unset that'
    if status or isinstance(error, ValueError):
        return f'the Hub refuses it ({said})', 'mend that'
    return f'the connection broke, or there is none ({type(error).__name__}: {said})', 'try again with the network on'
