"""Select what a job works on by its key, and name the folders of the sweep that it needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

from medsweep.errors import UnknownName
from medsweep.sweep.cell import AdapterPlan, Cell
from medsweep.sweep.resolve import Resolved

T = TypeVar("T")


def select_cells(resolved: Resolved, key: str | None) -> list[Cell]:
    """Return the cell with a key, or every cell that can run if there is no key.

    Raises:
        UnknownName: this version's plan has no such cell.
    """
    return _select("cell", {cell.key: cell for cell in resolved.plan.runnable}, key)


def select_adapters(resolved: Resolved, key: str | None) -> list[AdapterPlan]:
    """Return the adapter with a key, or every adapter of the sweep if there is no key.

    Raises:
        UnknownName: this version's plan has no such adapter.
    """
    return _select("adapter", resolved.plan.adapters, key)


def adapter_folders(adapters: Iterable[AdapterPlan]) -> list[str]:
    """Return the adapters' folders, relative to the sweep's folder."""
    return [f"adapters/{adapter.folder_name}" for adapter in adapters]


def cell_folders(resolved: Resolved, cells: Iterable[Cell]) -> list[str]:
    """Return the folders that measuring these cells reads and writes, relative to the sweep's."""
    cells = list(cells)
    adapters = adapter_folders(resolved.plan.adapters[cell.adapter] for cell in cells)
    return [*adapters, *(f"cells/{cell.key}" for cell in cells)]


def _select(kind: str, planned: Mapping[str, T], key: str | None) -> list[T]:
    if key is None:
        return list(planned.values())
    if key not in planned:
        # The client that rendered the job and the image that runs it are of different versions.
        raise UnknownName(f"{kind} of this version's plan", key, planned)
    return [planned[key]]
