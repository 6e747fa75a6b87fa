"""How many jobs may be at work at once: what the node pools hold, or what a person says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from medsweep.errors import EnvironmentFault
from medsweep.hardware.profile import HardwareProfile
from medsweep.k8s.client import Object
from medsweep.k8s.conventions import GPU

GPU_RESOURCE = "nvidia.com/gpu"
WINDOW = 500
"""Jobs that a queue is given at once: it admits in its own order, and each waiting one costs it."""


class Room:
    """Counts the jobs at work, and says whether there is place for one more.

    Args:
        most: jobs at once over all pools.
        gpus: GPUs that each pool has, by its label; None leaves the pools to `most`.
    """

    def __init__(self, most: int, gpus: Mapping[str, int] | None = None) -> None:
        self._most, self._gpus = most, gpus
        self._taken: Counter[str] = Counter()
        self._jobs = 0

    def admits(self, profile: HardwareProfile) -> bool:
        """Whether one more job on this profile has a place."""
        if self._jobs >= self._most:
            return False
        pool = profile.labels[GPU]
        return self._gpus is None or self._taken[pool] + profile.gpus <= self._gpus.get(pool, 0)

    def take(self, profile: HardwareProfile) -> None:
        """A job on this profile has its place."""
        self._jobs += 1
        self._taken[profile.labels[GPU]] += profile.gpus

    def free(self, profile: HardwareProfile) -> None:
        """A job on this profile is over."""
        self._jobs -= 1
        self._taken[profile.labels[GPU]] -= profile.gpus

    def check(self, profiles: Iterable[HardwareProfile]) -> None:
        """Refuse profiles that no job will ever have a place for.

        Raises:
            EnvironmentFault: a pool is not there, or is smaller than one job; all are named.
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
                f"(kubectl label node NODE {GPU}=...), or, where the pool grows from nothing, "
                "say with --max-at-once how many jobs it can hold"
            )


def pool_gpus(nodes: Iterable[Object]) -> dict[str, int]:
    """Return the GPUs that may be asked for, by the pool's label; a cordoned node has none."""
    gpus: Counter[str] = Counter()
    for node in nodes:
        pool = pool_of(node)
        if pool is not None and is_open(node):
            gpus[pool] += int(node.get("status", {}).get("allocatable", {}).get(GPU_RESOURCE, "0"))
    return dict(gpus)


def pool_of(node: Object) -> str | None:
    """Return the label of a node's pool; None for a node of none."""
    label: str | None = node["metadata"].get("labels", {}).get(GPU)
    return label


def is_open(node: Object) -> bool:
    """Whether new pods may come to a node: it is not cordoned."""
    return not node.get("spec", {}).get("unschedulable")
