"""What a run records of the code that trained."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from filelock import FileLock

from scae_zoo.checkpoints import finding
from scae_zoo.methods import pretraining, runs
from scae_zoo.training import provenance
from scae_zoo.training.provenance import git_revision

from ..support.processes import Process, code
from ..support.training_commands import SMALL, run


def test_revision_is_the_one_that_trained(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though another commit is checked out by the time that the run ends."""
    git_revision.cache_clear()
    out, git = tmp_path / 'run', tmp_path / 'bin' / 'git'
    git.parent.mkdir()
    git.write_text(f'#!/bin/sh\nif [ -e {out}/log.jsonl ]; then echo later; else echo earlier; fi\n')
    git.chmod(0o755)
    monkeypatch.setenv('PATH', str(git.parent), prepend=os.pathsep)
    assert run('pretrain', data / 'classes' / 'train', *SMALL, '-o', out) == 0
    git_revision.cache_clear()
    assert 'git_revision: earlier\n' in (out / 'scae_springenberg9.dae_train' / 'recipe.yaml').read_text()


@pytest.mark.skipif(shutil.which('git') is None, reason='makes a repository, with git')
def test_revision_of_somebody_elses_checkout_is_none_of_ours(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package may be installed within one."""
    package = Path(shutil.copytree(finding.WEIGHTS.parent, tmp_path / '.venv' / 'scae_zoo'))
    (tmp_path / '.gitignore').write_text('.venv\n')
    for name in [name for name in os.environ if name.startswith('GIT_')]:
        monkeypatch.delenv(name)
    for command in (['init', '-q'], ['add', '.'], ['-c', 'user.name=x', '-c', 'user.email=x', 'commit', '-qm', 'x']):
        subprocess.run(['git', *command], cwd=tmp_path, check=True,
                       env={**os.environ, 'GIT_CONFIG_GLOBAL': os.devnull, 'GIT_CONFIG_NOSYSTEM': '1'})
    text = (f'import sys; sys.path.insert(0, {str(package.parent)!r})\n'
            'from scae_zoo.training.provenance import git_revision; print(git_revision())')
    result = Process(tmp_path / 'log', code, text).wait()
    assert result.stdout == 'unknown\n', result.stderr


def test_revision_is_known_before_waiting(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recipe may wait for hours where another process trains; the code that it has loaded stays what it is."""
    asked = []

    def git_revision() -> None:
        with FileLock(tmp_path / '.lock', timeout=0):  # it is free
            asked.append(True)

    monkeypatch.setattr(runs, 'git_revision', git_revision)
    assert run('pretrain', data / 'classes' / 'train', *SMALL, '-o', tmp_path) == 0
    assert asked


def test_each_revision_that_trained_is_named(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    command = ['pretrain', data / 'classes' / 'train', *SMALL, '-o', tmp_path]
    with monkeypatch.context() as patch:
        patch.setattr(provenance, 'git_revision', lambda: 'earlier')
        patch.setattr(pretraining, 'finish', stopped)
        assert run(*command) == 130
    monkeypatch.setattr(provenance, 'git_revision', lambda: 'later')
    assert run(*command) == 0
    recipe = yaml.safe_load((tmp_path / 'scae_springenberg9.dae_train' / 'recipe.yaml').read_text())
    assert recipe['git_revision'] == 'later'
    assert [each['git_revision'] for each in recipe['earlier_environments']] == ['earlier']
