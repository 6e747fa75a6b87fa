"""Whether the cells of one sweep ran on different engines, as `engine: auto` can choose them."""

from __future__ import annotations

from collections.abc import Mapping

from medsweep.names import first_names


def engine_difference(engines: Mapping[str, str]) -> str | None:
    """Return a sentence that names the engines of a sweep's cells; None if they have one.

    Args:
        engines: engine by name of the cell, without external servers.
    """
    cells: dict[str, list[str]] = {}
    for cell, engine in engines.items():
        cells.setdefault(engine, []).append(cell)
    if len(cells) < 2:
        return None
    each = "; ".join(f"{engine}: {first_names(names)}" for engine, names in sorted(cells.items()))
    return (
        f"The cells have different engines ({each}), so a difference between two of them can come "
        "from the engine; name one with serve.engine to compare hardware or models alone."
    )
