"""What a row says of its cell: what was asked for, what was observed, and on what basis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medsweep.finetune.adapter import Adapter
from medsweep.hardware.observe import ObservedHardware, matches
from medsweep.hardware.profile import HardwareProfile
from medsweep.metrics.cost import cost_columns
from medsweep.results.provenance import provenance
from medsweep.sweep.plan import Cell
from medsweep.sweep.resolve import Resolved


def cell_columns(resolved: Resolved, cell: Cell) -> dict[str, Any]:
    """Return the columns of a cell that are known before anything runs."""
    spec, weights = resolved.spec, resolved.weights[cell.model.name]
    profile = cell.profile
    return {
        "sweep": spec.name,
        "cell": cell.name,
        "key": cell.key,
        "model": cell.model.name,
        "stands_in_for": cell.model.stands_in_for,
        "revision": weights.revision,
        "profile": profile.name,
        "dataset_sha256": resolved.split.sha256,
        "cpus": profile.cpus,
        "gpus": profile.gpus,
        "accelerator": profile.accelerator.name if profile.accelerator else None,
        "engine": spec.serve.engine,
        "dtype": cell.dtype,
        "quantization": spec.serve.quantization,
        "max_tokens": spec.load.max_tokens,
        **price_columns(profile),
        **provenance(),
    }


def price_columns(profile: HardwareProfile) -> dict[str, Any]:
    """Return what an hour of a profile costs, and who says so."""
    return {
        "usd_per_hour": profile.usd_per_hour,
        "price_source": profile.price_source,
        "price_date": profile.price_date,
    }


def observed_columns(cell: Cell, replica: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns that the engine's own process reported.

    Args:
        cell: what was asked for.
        replica: what `EngineReplica.observed` returned.
    """
    hardware = ObservedHardware(
        **{name: replica[name] for name in ObservedHardware.__dataclass_fields__}
    )
    return {
        **basis_columns(cell.profile, hardware),
        "dtype_given": replica["dtype"],
        "cpus_given": len(replica["cores"]) or None,
        "threads": replica["threads"],
        "hostname": hardware.hostname,
        "cpu_model": hardware.cpu_model,
        "cpu_quota": hardware.cpu_quota,
        "governor": hardware.governor,
        "numa_nodes": hardware.numa_nodes,
        "device": ", ".join(hardware.gpus) or hardware.cpu_model,
        "driver": hardware.driver,
        "cuda": hardware.cuda,
        "versions": replica["versions"],
    }


def basis_columns(profile: HardwareProfile, hardware: ObservedHardware) -> dict[str, str | None]:
    """Return the columns that say whether the hardware is the profile's, and if not, why.

    Args:
        profile: what was asked for.
        hardware: what was found.
    """
    mismatch = matches(profile, hardware)
    return {
        "basis": "observed" if mismatch is None else "emulated",
        "basis_reason": mismatch,
    }


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


def finished_row(row: dict[str, Any], adapter: Adapter) -> dict[str, Any]:
    """Return a row with the columns that follow from the others: adapter and cost.

    Cost is null unless the hardware is the one that the price is for.

    Args:
        row: everything else of the row.
        adapter: what the cell served.
    """
    if row["variant"] == "adapter":
        row["adapter_sha256"] = adapter.sha256
    return row | cost_columns(row)
