"""Give a process the CPUs of its hardware profile, as far as this machine has them."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class GrantedCpus:
    """What a process was really given.

    Attributes:
        asked: CPUs of the hardware profile.
        cores: the cores that its threads may run on; empty where the system cannot pin.
        threads: threads that torch computes with.
    """

    asked: int
    cores: tuple[int, ...]
    threads: int


def take_cpus(asked: int, after: int = 0) -> GrantedCpus:
    """Pin this process to `asked` cores, or to all there are; set torch's threads.

    Args:
        asked: CPUs of the hardware profile.
        after: how many cores to leave to the processes before this one, where there are enough.
    """
    import torch

    available = sorted(_available())
    start = after if after + asked <= len(available) else 0
    cores = tuple(available[start : start + asked])
    if hasattr(os, "sched_setaffinity"):
        # The call pins one thread; Ray has started others before this runs.
        for thread in Path("/proc/self/task").iterdir():
            with contextlib.suppress(ProcessLookupError):  # it has ended since it was listed
                os.sched_setaffinity(int(thread.name), cores)
    threads = min(asked, len(available))
    torch.set_num_threads(threads)
    return GrantedCpus(asked, cores if hasattr(os, "sched_setaffinity") else (), threads)


def wait_asleep() -> None:
    """Let OpenMP's threads sleep while they wait for each other; to be called before torch loads.

    By default they spin. Where something else wants the same cores (a server's event loop, its
    clients, Ray), the thread that is waited for is not running, and whoever spins keeps it so. What
    the environment says already stays.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def usable_cpus() -> int:
    """Return the number of cores that this process may run on."""
    return len(_available())


def _available() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(os.getpid())
    return set(range(os.cpu_count() or 1))
