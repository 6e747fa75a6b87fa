"""Limits that Linux control groups (version 2) put on this process: CPU time and memory.

Every function takes the root of the file system, so that a test can lay out its own. Where there is
no cgroup v2 (another system, or version 1) the answer is None: not known, not unlimited.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/")


def cpu_quota(root: Path = ROOT) -> float | None:
    """Return the CPU time limit in cores (the tightest of this group and those above), or None."""
    quotas = []
    for text in _texts(root, "cpu.max"):
        limit, _, period = text.partition(" ")
        if limit.isdigit():
            quotas.append(int(limit) / int(period))
    return min(quotas, default=None)


def memory_limit(root: Path = ROOT) -> int | None:
    """Return the memory limit in bytes (the tightest of this group and those above), or None."""
    limits = [int(text) for text in _texts(root, "memory.max") if text.isdigit()]
    return min(limits, default=None)


def cpu_throttled_periods(root: Path = ROOT) -> int | None:
    """Return how many scheduling periods were cut short by a CPU quota since the group was made.

    Only a difference of two readings means anything. Groups above count too, since their
    quota holds this process back just as well.
    """
    counts = []
    for text in _texts(root, "cpu.stat"):
        fields = dict(line.split(" ", 1) for line in text.splitlines() if " " in line)
        if "nr_throttled" in fields:
            counts.append(int(fields["nr_throttled"]))
    return sum(counts) if counts else None


def _texts(root: Path, file: str) -> Iterator[str]:
    """Yield the content of `file` in this process's group and in each group above it."""
    for group in _groups(root):
        try:
            yield (group / file).read_text().strip()
        except OSError:
            continue


def _groups(root: Path) -> Iterator[Path]:
    mount = root / "sys/fs/cgroup"
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    # Version 2 is the line "0::<path>"; version 1 has one line for each controller beside it.
    for line in lines:
        if line.startswith("0::"):
            group = mount / line.removeprefix("0::").lstrip("/")
            yield group
            while group != mount:
                group = group.parent
                yield group
