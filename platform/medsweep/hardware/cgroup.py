"""Limits that Linux control groups put on this process, and what they have taken from it.

Version 2 has one tree. Version 1 has one tree per controller; it is read where version 2 lacks a
file. Every function takes the root of the file system, so that tests can use a tree of their own.
Where there is neither version, the result is None: not known, which is not the same as unlimited.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/")

# Version 1 writes "no limit" as the largest multiple of the page size below 2^63.
_NO_LIMIT_BYTES = 2**60


@dataclass(frozen=True)
class CpuUse:
    """CPU time that this process's groups have used and been refused since they were created.

    Only the difference between two readings is meaningful.

    Attributes:
        used_s: CPU time of this process's group, in seconds.
        periods: scheduling periods of this group and the groups above it.
        throttled_periods: periods that a quota cut short; the quota of a group above throttles
            this process too.
        throttled_s: time for which the groups were throttled, in seconds.
    """

    used_s: float | None
    periods: int | None
    throttled_periods: int | None
    throttled_s: float | None


def cpu_quota(root: Path = ROOT) -> float | None:
    """Return the CPU time limit in cores (the tightest of this group and those above), or None."""
    quotas = []
    for text in _texts(root, "cpu.max"):
        limit, _, period = text.partition(" ")
        if limit.isdigit():
            quotas.append(int(limit) / int(period))
    for limit, period in zip(
        _texts(root, "cpu.cfs_quota_us", "cpu"),
        _texts(root, "cpu.cfs_period_us", "cpu"),
        strict=False,
    ):
        if limit.isdigit():  # -1 is none
            quotas.append(int(limit) / int(period))
    return min(quotas, default=None)


def memory_limit(root: Path = ROOT) -> int | None:
    """Return the memory limit in bytes (the tightest of this group and those above), or None."""
    texts = [*_texts(root, "memory.max"), *_texts(root, "memory.limit_in_bytes", "memory")]
    limits = [int(text) for text in texts if text.isdigit()]
    return min((limit for limit in limits if limit < _NO_LIMIT_BYTES), default=None)


def available_memory(root: Path = ROOT) -> int | None:
    """Return the memory that is left in bytes, in the machine and in the groups, or None.

    What the kernel caches of files counts as left.
    """
    left = []
    try:
        fields = _fields((root / "proc/meminfo").read_text().replace(":", "").replace(" kB", ""))
        left.append(fields["MemAvailable"] * 1024)
    except (OSError, KeyError):
        pass
    for files, controller in (
        (("memory.max", "memory.current", "file"), ""),
        (("memory.limit_in_bytes", "memory.usage_in_bytes", "total_cache"), "memory"),
    ):
        limit_file, used_file, cached = files
        for limit, used, stat in zip(
            _texts(root, limit_file, controller),
            _texts(root, used_file, controller),
            _texts(root, "memory.stat", controller),
            strict=False,
        ):
            if limit.isdigit() and int(limit) < _NO_LIMIT_BYTES:
                left.append(int(limit) - int(used) + _fields(stat).get(cached, 0))
    return max(0, min(left)) if left else None


def cpu_use(root: Path = ROOT) -> CpuUse:
    """Return the CPU time used and refused so far."""
    stats = [_fields(text) for text in _texts(root, "cpu.stat")]
    used_us = [stat["usage_usec"] for stat in stats if "usage_usec" in stat]
    used_ns = [int(text) for text in _texts(root, "cpuacct.usage", "cpuacct")]
    stats += [_fields(text) for text in _texts(root, "cpu.stat", "cpu")]
    limited = [stat for stat in stats if "nr_throttled" in stat]
    return CpuUse(
        used_s=used_us[0] / 1e6 if used_us else used_ns[0] / 1e9 if used_ns else None,
        periods=_sum(limited, "nr_periods"),
        throttled_periods=_sum(limited, "nr_throttled"),
        throttled_s=(
            sum(stat.get("throttled_usec", 0) / 1e6 for stat in limited)
            + sum(stat.get("throttled_time", 0) / 1e9 for stat in limited)
            if limited
            else None
        ),
    )


def cpu_throttled_periods(root: Path = ROOT) -> int | None:
    """Return how many scheduling periods a CPU quota cut short since the group was created."""
    return cpu_use(root).throttled_periods


def _sum(stats: list[dict[str, int]], name: str) -> int | None:
    return sum(stat.get(name, 0) for stat in stats) if stats else None


def _fields(text: str) -> dict[str, int]:
    pairs = [line.split() for line in text.splitlines()]
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def _texts(root: Path, file: str, controller: str = "") -> Iterator[str]:
    """Yield the content of `file` in this process's group and in each group above it.

    Args:
        root: of the file system.
        file: its name.
        controller: of version 1; empty for version 2.
    """
    for group in _groups(root, controller):
        try:
            yield (group / file).read_text().strip()
        except OSError:
            continue


def _groups(root: Path, controller: str) -> Iterator[Path]:
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        # Version 2 is "0::<path>", version 1 "<number>:<controllers>:<path>".
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if controller not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup" / controllers
        group = mount / path.lstrip("/")
        yield group
        while group != mount:
            group = group.parent
            yield group
