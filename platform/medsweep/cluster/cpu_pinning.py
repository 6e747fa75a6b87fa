"""Hold a process to the number of CPUs of its hardware profile, or to all that there are."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from medsweep.hardware.cgroup import cpu_quota
from medsweep.hardware.nvidia import cpus_near_gpus


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
    """Pin this process to `cpus` cores; set the number of torch's threads.

    An engine with a process of its own moves it to the same cores.

    Cores near the GPUs that this process may use are taken first. Where there are fewer cores, it
    gets all. Where a quota already holds it to that much (a pod's limit), nothing is pinned: the
    pods of a node, which do not know of each other, would all take the same cores.

    Args:
        cpus: CPUs of the hardware profile.
        after: number of cores to leave to the processes before this one, if there are enough.
    """
    import torch

    available = _available()
    threads = min(cpus, len(available))
    torch.set_num_threads(threads)
    quota = cpu_quota()
    if not hasattr(os, "sched_setaffinity"):
        return GrantedCpus(cpus, (), threads)
    if quota is not None and quota <= cpus < len(available):
        return GrantedCpus(cpus, tuple(sorted(available)), threads)
    near = available & cpus_near_gpus()
    places = sorted(near if len(near) >= cpus else available)
    start = after if after + cpus <= len(places) else 0
    cores = tuple(places[start : start + cpus])
    # The call pins one thread, and Ray has started others before.
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(ProcessLookupError):  # it ended after it was listed
            os.sched_setaffinity(int(thread.name), cores)
    return GrantedCpus(cpus, cores, threads)


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
