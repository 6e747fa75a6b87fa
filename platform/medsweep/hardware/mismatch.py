"""Whether a cell ran on what it asked for; a figure of something else must not carry its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def requested_fault(row: Mapping[str, Any], *, emulation: bool) -> str | None:
    """Return what was given that was not asked for, in a sentence; None where all is as asked.

    Emulated rows say of themselves that they are, so where that is allowed nothing is wrong with
    them. On nodes that were chosen for their hardware it is not: there the wrong node was chosen.

    Args:
        row: of `benchmark.parquet`, as far as it is known; null columns were not observed.
        emulation: whether other hardware may stand in.
    """
    if row["basis"] == "emulated":
        return None if emulation else f"the node is not what was asked for: {row['basis_reason']}"
    for asked, given, what in (
        ("dtype", "dtype_given", "compute dtype"),
        ("cpus", "cpus_given", "CPUs for the engine"),
    ):
        if row.get(given) is not None and row[given] != row[asked]:
            return f"{what}: {row[asked]} asked for, {row[given]} given"
    if row.get("gpus") and row.get("gpu_utilisation") == 0:
        return "the GPU was never busy: the engine computed without it"
    return None
