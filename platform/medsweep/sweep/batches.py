"""What runs together: the cells of one deployment, and the adapters of one training run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from medsweep.sweep.cell import AdapterPlan, AnyCell, Cell


def training_runs(adapters: Iterable[AdapterPlan]) -> list[list[AdapterPlan]]:
    """Return the runs of Ray Train: one per adapter, or one per profile of stand-ins.

    Starting a run takes longer than training a stand-in.
    """
    runs: dict[str, list[AdapterPlan]] = {}
    for adapter in adapters:
        is_stand_in = adapter.model.source == "standin"
        runs.setdefault(adapter.profile.name if is_stand_in else adapter.key, []).append(adapter)
    return list(runs.values())


def batch_cells(cells: Sequence[AnyCell], size: int) -> list[list[AnyCell]]:
    """Return the cells in batches that are deployed together.

    A profile is one node, which holds one cell at a time: no two cells of a batch share a profile.
    A server holds no node.

    Args:
        cells: in order, but profiles with more cells come first: at the end, each of their cells
            would be a batch of its own. Each cell goes into the first batch that has room for it.
        size: largest number of cells in a batch.
    """
    batches: list[list[AnyCell]] = []
    per_node = Counter(map(_node, cells))
    for cell in sorted(cells, key=lambda cell: -per_node[_node(cell)]):
        for batch in batches:
            if len(batch) < size and _node(cell) not in map(_node, batch):
                batch.append(cell)
                break
        else:
            batches.append([cell])
    return batches


def _node(cell: AnyCell) -> str:
    """Return the node that a cell holds, by its profile's name; for a server, one of its own."""
    return cell.profile.name if isinstance(cell, Cell) else cell.key
