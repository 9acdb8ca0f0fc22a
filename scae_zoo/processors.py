"""How many processors there are to work with."""

import os


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def cores_each() -> int:
    """As many for each of the processes that ``torchrun`` started on this machine, at least one."""
    processes = os.environ.get('LOCAL_WORLD_SIZE', '')
    return max(1, cores() // max(1, int(processes) if processes.isdecimal() else 1))
