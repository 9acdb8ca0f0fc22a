"""How many processors there are to work with."""

import os


def cores() -> int:
    """Those of this process; under ``torchrun`` its part of them."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    return max(1, found // int(os.environ.get('LOCAL_WORLD_SIZE', 1)))
