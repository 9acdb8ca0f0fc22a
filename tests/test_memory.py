"""The C library keeps what a step frees, in the processes that train and answer, unless the environment says else."""

import os
import platform
import subprocess
import sys

import pytest

STEPS = """
import resource
import torch
from scae_zoo.training.distributed import world

with world('cpu'):
    for step in range(20):
        torch.zeros(2 ** 24)  # 64 MB, more than glibc keeps by itself
        if step == 4:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(**environment: str) -> int:
    """How many pages the kernel had to clear for fifteen steps."""
    env = {key: value for key, value in os.environ.items()
           if not key.startswith(('MALLOC_', 'GLIBC_TUNABLES', 'THP_MEM_ALLOC'))}
    done = subprocess.run([sys.executable, '-c', STEPS], env=env | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='other C libraries have no such thresholds')
@pytest.mark.parametrize('environment', [
    {'GLIBC_TUNABLES': 'glibc.malloc.tcache_count=7'}, {'MALLOC_MMAP_THRESHOLD_': '1048576'}])
def test_freed_memory_is_kept_unless_the_environment_says_else(environment: dict[str, str]) -> None:
    assert 10 * faults(GLIBC_TUNABLES='glibc.pthread.rseq=1') < faults(**environment)
