"""How many jobs may run at once: what the node pools hold, or what the user sets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from medsweep.errors import EnvironmentFault
from medsweep.hardware.profile import HardwareProfile
from medsweep.k8s.client import Object
from medsweep.k8s.conventions import GPU

GPU_RESOURCE = "nvidia.com/gpu"
WINDOW = 500
"""Jobs handed to a queue at once: it admits in its own order, and waiting jobs cost it work."""


class Capacity:
    """Counts the submitted jobs, and tells whether one more fits.

    Args:
        max_jobs: jobs at once over all pools.
        gpus: GPUs of each pool, by its label; None means that only `max_jobs` counts.
    """

    def __init__(self, max_jobs: int, gpus: Mapping[str, int] | None = None) -> None:
        self._max_jobs, self._gpus = max_jobs, gpus
        self._used: Counter[str] = Counter()
        self._jobs = 0

    def admits(self, profile: HardwareProfile) -> bool:
        """Whether one more job on this profile fits."""
        if self._jobs >= self._max_jobs:
            return False
        pool = profile.labels[GPU]
        return self._gpus is None or self._used[pool] + profile.gpus <= self._gpus.get(pool, 0)

    def acquire(self, profile: HardwareProfile) -> None:
        """Count a job on this profile."""
        self._jobs += 1
        self._used[profile.labels[GPU]] += profile.gpus

    def release(self, profile: HardwareProfile) -> None:
        """Stop counting a job on this profile."""
        self._jobs -= 1
        self._used[profile.labels[GPU]] -= profile.gpus

    def check(self, profiles: Iterable[HardwareProfile]) -> None:
        """Refuse profiles whose jobs can never fit.

        Raises:
            EnvironmentFault: a pool does not exist or is smaller than one job; it names all.
        """
        gpus = self._gpus
        if gpus is None:
            return
        small = {
            f"{pool} (has {gpus.get(pool, 0)} GPUs, {profile.name} needs {profile.gpus})"
            for profile in profiles
            if gpus.get(pool := profile.labels[GPU], 0) < profile.gpus
        }
        if small:
            raise EnvironmentFault(
                f"no node pool for {GPU}={', '.join(sorted(small))}: label its nodes "
                f"(kubectl label node NODE {GPU}=...), or, if the pool scales from zero, "
                "give the number of jobs that it can hold with --max-at-once"
            )


def pool_gpus(nodes: Iterable[Object]) -> dict[str, int]:
    """Return the allocatable GPUs by the pool's label; a cordoned node counts none."""
    gpus: Counter[str] = Counter()
    for node in nodes:
        pool = pool_of(node)
        if pool is not None and is_open(node):
            gpus[pool] += int(node.get("status", {}).get("allocatable", {}).get(GPU_RESOURCE, "0"))
    return dict(gpus)


def pool_of(node: Object) -> str | None:
    """Return the label of a node's pool; None if it belongs to no pool."""
    label: str | None = node["metadata"].get("labels", {}).get(GPU)
    return label


def is_open(node: Object) -> bool:
    """Whether a node accepts new pods: it is not cordoned."""
    return not node.get("spec", {}).get("unschedulable")
