"""Memory that the C library keeps for the next step."""

import ctypes
import os

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
THRESHOLDS = 'MALLOC_TRIM_THRESHOLD_', 'MALLOC_MMAP_THRESHOLD_', 'MALLOC_TOP_PAD_'
MOST, MOST_BEFORE_2_35 = 2 ** 31 - 1, 2 ** 25


def keep_freed_memory() -> None:
    """Have glibc keep large blocks that are freed, for this process: by default it gives each back to the kernel, which
    clears its pages when the next step asks for it again. Does nothing without glibc, and where the environment says
    how it is to be."""
    if any(name in os.environ for name in THRESHOLDS) or 'glibc.malloc' in os.environ.get('GLIBC_TUNABLES', ''):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # TypeError: Windows has no library without a name
        return
    # the second alone would make things worse: glibc then raises no threshold by itself any more
    if mallopt(M_MMAP_THRESHOLD, MOST) or mallopt(M_MMAP_THRESHOLD, MOST_BEFORE_2_35):
        mallopt(M_TRIM_THRESHOLD, MOST)
