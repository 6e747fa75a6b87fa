"""What a job is asked for by key, and the folders of the sweep that it needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

from medsweep.errors import UnknownName
from medsweep.sweep.plan import AdapterPlan, Cell
from medsweep.sweep.resolve import Resolved

T = TypeVar("T")


def cells_asked(resolved: Resolved, key: str | None) -> list[Cell]:
    """Return the cell of a key, or without one every cell that can run.

    Raises:
        UnknownName: this version plans no such cell.
    """
    return _asked("cell", {cell.key: cell for cell in resolved.plan.runnable}, key)


def adapters_asked(resolved: Resolved, key: str | None) -> list[AdapterPlan]:
    """Return the adapter of a key, or without one all of the sweep.

    Raises:
        UnknownName: this version plans no such adapter.
    """
    return _asked("adapter", resolved.plan.adapters, key)


def adapter_folders(adapters: Iterable[AdapterPlan]) -> list[str]:
    """Return where adapters lie below the sweep's folder."""
    return [f"adapters/{adapter.folder_name}" for adapter in adapters]


def cell_folders(resolved: Resolved, cells: Iterable[Cell]) -> list[str]:
    """Return what measuring some cells reads and writes below the sweep's folder."""
    cells = list(cells)
    adapters = adapter_folders(resolved.plan.adapters[cell.adapter] for cell in cells)
    return [*adapters, *(f"cells/{cell.key}" for cell in cells)]


def _asked(kind: str, known: Mapping[str, T], key: str | None) -> list[T]:
    if key is None:
        return list(known.values())
    if key not in known:
        # The client that made the job, or its image, is of another version.
        raise UnknownName(f"{kind} of this version's plan", key, known)
    return [known[key]]
