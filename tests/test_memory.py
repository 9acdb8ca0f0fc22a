"""The C library keeps what a step frees, in the processes that train and answer, unless the environment says else."""

import os
import platform
import subprocess
import sys

import pytest

from scae_zoo.memory import THRESHOLDS

STEPS = """
import resource
import torch
from scae_zoo.training.distributed import world

with world('cpu'):
    for step in range(20):
        torch.zeros(2 ** 22)  # 16 MB
        if step == 4:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(**environment: str) -> int:
    """How many pages the kernel had to clear for fifteen steps of 4,096 pages."""
    env = {key: value for key, value in os.environ.items() if key not in THRESHOLDS}
    done = subprocess.run([sys.executable, '-c', STEPS], env=env | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='other C libraries have no such thresholds')
def test_freed_memory_is_kept() -> None:
    assert faults() < 4096


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='other C libraries have no such thresholds')
def test_the_environment_has_the_last_word() -> None:
    assert faults(MALLOC_MMAP_THRESHOLD_='1048576') > 10 * 4096
