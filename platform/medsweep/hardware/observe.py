"""Observe this machine, and compare it with what a hardware profile names."""

from __future__ import annotations

import math
import os
import platform
import socket
from dataclasses import dataclass
from pathlib import Path

from medsweep.hardware import cgroup
from medsweep.hardware.catalog import ACCELERATORS
from medsweep.hardware.cgroup import ROOT, cpu_throttled_periods
from medsweep.hardware.nvidia import observe_gpus
from medsweep.hardware.profile import GIB, Accelerator, HardwareProfile

__all__ = [
    "HOST",
    "ObservedHardware",
    "cpu_throttled_periods",
    "host_profile",
    "matches",
    "observe_host",
]

HOST = "host"

# The kernel keeps some memory for itself, so a machine sold with 32 GiB reports less.
_MEMORY_TOLERANCE = 0.10


@dataclass(frozen=True)
class ObservedHardware:
    """What this process observes of its machine. Missing is None.

    Attributes:
        hostname: the machine's own name.
        cpu_model: the processor's name.
        cpus: CPUs on which the process may be scheduled.
        cpu_quota: CPU time limit of the control group, in cores.
        memory_bytes: main memory, or the control group's limit where that is less, in bytes.
        governor: frequency governor of the first CPU.
        gpus: product name of each visible GPU.
        gpu_memory_bytes: memory of the first GPU, in bytes.
        compute_capability: of the first GPU.
        driver: GPU driver version.
        cuda: newest CUDA version that the driver supports.
        numa_nodes: number of NUMA nodes that the CPUs belong to.
    """

    hostname: str
    cpu_model: str | None
    cpus: int
    cpu_quota: float | None
    memory_bytes: int
    governor: str | None
    gpus: tuple[str, ...] = ()
    gpu_memory_bytes: int | None = None
    compute_capability: tuple[int, int] | None = None
    driver: str | None = None
    cuda: str | None = None
    numa_nodes: int | None = None

    @property
    def usable_cpus(self) -> float:
        """CPUs that the process can keep busy: those of the affinity mask, or the quota if less."""
        return min(self.cpus, self.cpu_quota) if self.cpu_quota is not None else self.cpus


def observe_host(root: Path = ROOT) -> ObservedHardware:
    """Return what this process observes of this machine.

    Args:
        root: root of the file system; tests use their own.
    """
    gpus = observe_gpus()
    first = gpus[0] if gpus else None
    installed = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = cgroup.memory_limit(root)
    return ObservedHardware(
        hostname=socket.gethostname(),
        cpu_model=_cpu_model(root),
        cpus=_cpus(),
        cpu_quota=cgroup.cpu_quota(root),
        memory_bytes=min(installed, limit) if limit is not None else installed,
        governor=_read(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        gpus=tuple(gpu.name for gpu in gpus),
        gpu_memory_bytes=first.memory_bytes if first else None,
        compute_capability=first.compute_capability if first else None,
        driver=first.driver if first else None,
        cuda=first.cuda if first else None,
        numa_nodes=numa_nodes(root),
    )


def host_profile(observed: ObservedHardware | None = None) -> HardwareProfile:
    """Return the hardware profile `host`: this machine, without a price.

    Args:
        observed: the machine; None observes this one now.
    """
    observed = observed or observe_host()
    return HardwareProfile(
        name=HOST,
        cpus=max(1, math.ceil(observed.usable_cpus)),
        gpus=len(observed.gpus),
        accelerator=_accelerator(observed),
        host_memory_bytes=observed.memory_bytes,
    )


def matches(profile: HardwareProfile, observed: ObservedHardware) -> str | None:
    """Return None if the observed hardware is the profile's, else a sentence on the difference.

    This decides whether a row's basis is observed or emulated. `host` matches any hardware.
    """
    if profile.name == HOST:
        return None
    needed = [profile.accelerator.product] * profile.gpus if profile.accelerator else []
    if [_bare(name) for name in observed.gpus] != [_bare(name) for name in needed]:
        return (
            f"{profile.name} has {_listed(needed)}, this machine has {_listed(list(observed.gpus))}"
        )
    if not math.isclose(observed.usable_cpus, profile.cpus, abs_tol=0.01):
        return (
            f"{profile.name} has {profile.cpus} CPUs, "
            f"this process may use {observed.usable_cpus:g} of this machine's"
        )
    if observed.memory_bytes < (1 - _MEMORY_TOLERANCE) * profile.host_memory_bytes:
        return (
            f"{profile.name} has {profile.host_memory_bytes / GIB:.0f} GiB of host memory, "
            f"this machine has {observed.memory_bytes / GIB:.1f} GiB"
        )
    return None


def _accelerator(observed: ObservedHardware) -> Accelerator | None:
    """Return the catalogue's accelerator of that name, or one with the driver's figures alone."""
    if not observed.gpus or observed.gpu_memory_bytes is None:
        return None
    name = observed.gpus[0]
    for known in ACCELERATORS.values():
        if _bare(known.product) == _bare(name):
            return known
    return Accelerator(
        name=_bare(name),
        product=name,
        memory_bytes=observed.gpu_memory_bytes,
        compute_capability=observed.compute_capability or (0, 0),
        memory_bandwidth_bytes_per_s=None,
        peak_flops={},
    )


def _bare(product: str) -> str:
    """Remove the brand, which older and newer drivers write differently."""
    return product.removeprefix("NVIDIA ").removeprefix("Tesla ")


def _listed(gpus: list[str]) -> str:
    counts = {name: gpus.count(name) for name in gpus}
    return " and ".join(f"{count} x {name}" for name, count in counts.items()) or "no GPU"


def _cpus() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS has no affinity mask
        return os.cpu_count() or 1


def _cpu_model(root: Path) -> str | None:
    for line in (_read(root / "proc/cpuinfo") or "").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.processor() or None


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def numa_nodes(root: Path) -> int | None:
    """Return how many NUMA nodes the CPUs of this process belong to, or None where not known."""
    folders = (root / "sys/devices/system/node").glob("node[0-9]*")
    own = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set[int]()
    try:
        lists = [(folder / "cpulist").read_text() for folder in folders]
    except OSError:
        return None
    return sum(bool(own & cpu_list(text)) for text in lists) or None


def cpu_list(text: str) -> set[int]:
    """Return the CPUs of a list as the kernel writes it ("0-3,8")."""
    cpus: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        cpus |= set(range(int(first), int(last or first) + 1))
    return cpus
