"""Pin a process to the number of CPUs of its hardware profile, or to all that there are."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class GrantedCpus:
    """The CPUs that a process got.

    Attributes:
        asked: CPUs of the hardware profile; the field's name is in results on disk.
        cores: cores that its threads may run on; empty if the system cannot pin threads.
        threads: threads that torch computes with.
    """

    asked: int
    cores: tuple[int, ...]
    threads: int


def take_cpus(cpus: int, after: int = 0) -> GrantedCpus:
    """Pin this process to `cpus` cores, or to all that there are; set torch's threads.

    Args:
        cpus: CPUs of the hardware profile.
        after: number of cores to leave to the processes before this one, if there are enough.
    """
    import torch

    available = sorted(_available())
    start = after if after + cpus <= len(available) else 0
    cores = tuple(available[start : start + cpus])
    if hasattr(os, "sched_setaffinity"):
        # The call pins one thread, and Ray has started others before.
        for thread in Path("/proc/self/task").iterdir():
            with contextlib.suppress(ProcessLookupError):  # it ended after it was listed
                os.sched_setaffinity(int(thread.name), cores)
    threads = min(cpus, len(available))
    torch.set_num_threads(threads)
    return GrantedCpus(cpus, cores if hasattr(os, "sched_setaffinity") else (), threads)


def wait_asleep() -> None:
    """Let OpenMP's threads sleep while they wait for each other; call it before torch is imported.

    By default they spin. If other threads need the same cores (a server's event loop, its clients,
    Ray), a spinning thread keeps the thread that it waits for from running. A value that the
    environment already has is kept.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def usable_cpus() -> int:
    """Return the number of cores that this process may run on."""
    return len(_available())


def _available() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(os.getpid())
    return set(range(os.cpu_count() or 1))
