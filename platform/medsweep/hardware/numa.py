"""Over how many parts of the machine's memory a process's CPUs lie."""

from __future__ import annotations

import os
from pathlib import Path


def numa_nodes(root: Path) -> int | None:
    """Return over how many NUMA nodes the CPUs of this process lie, or None where not known."""
    folders = list((root / "sys/devices/system/node").glob("node[0-9]*"))
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
