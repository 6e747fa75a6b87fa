"""The columns that all rows of a cell share: what was requested, what was observed, its price."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from medsweep.hardware.observe import ObservedHardware, matches
from medsweep.hardware.profile import HardwareProfile
from medsweep.metrics.cost import cost_columns
from medsweep.models.precision import SEQUENCE_TOKENS, dtype_reason
from medsweep.results.conditions import COST
from medsweep.results.provenance import provenance
from medsweep.serving.engines.compatibility import GpuUse, gpu_use
from medsweep.sweep.cell import AnyCell, Cell, ServerCell
from medsweep.sweep.resolve import Resolved
from medsweep.sweep.spec import SweepSpec

Row = dict[str, Any]

_COST = {column.name for column in COST}

SEEN_S = 10.0
"""Length of a window in which NVML sees a GPU that computes. It gives whole percents of the last
second or less, so that a short or light load can be 0 in every sample."""


def cell_columns(resolved: Resolved, cell: AnyCell) -> Row:
    """Return the columns of a cell that are known before anything runs, without its price."""
    spec, profile = resolved.spec, cell.profile
    columns: Row = {
        "sweep": spec.name,
        "cell": cell.name,
        "key": cell.key,
        "dataset_sha256": resolved.split.sha256,
        "max_tokens": spec.load.max_tokens,
        "instruction": spec.load.instruction,
        **provenance(),
    }
    if profile is not None:
        columns |= {
            "cpus": profile.cpus,
            "gpus": profile.gpus,
            "accelerator": profile.accelerator.name if profile.accelerator else None,
        }
    if isinstance(cell, ServerCell):
        return columns | {
            "model": cell.server.model,
            "profile": cell.server.name,
            "hardware": cell.server.hardware,
            "engine": cell.server.engine,
            "server_url": cell.server.url,
        }
    return columns | {
        "model": cell.model.name,
        "stands_in_for": cell.model.stands_in_for,
        "revision": resolved.weights[cell.model.name].revision,
        "profile": cell.profile.name,
        "engine": cell.serving.engine,
        "engine_reason": cell.serving.engine_reason,
        "adapters": cell.serving.adapters,
        "adapters_reason": cell.serving.adapters_reason,
        "gpu_use": cell_gpu_use(spec, cell).words,
        "dtype": cell.dtype,
        "dtype_reason": dtype_reason(cell.model, cell.profile.accelerator, spec.serve.dtype),
        "quantization": spec.serve.quantization,
    }


def cell_gpu_use(spec: SweepSpec, cell: Cell, longest: int = SEQUENCE_TOKENS) -> GpuUse:
    """Return how a cell's engine uses the GPUs of its profile.

    Args:
        spec: the sweep.
        cell: the cell.
        longest: tokens of the longest request that the engine must have room for.
    """
    return gpu_use(
        cell.serving.engine,
        cell.model,
        cell.profile,
        dtype=cell.dtype,
        quantization=spec.serve.quantization,
        tokens=longest,
    )


def observed_columns(profile: HardwareProfile, replica: Mapping[str, Any]) -> Row:
    """Return the columns that the engine's own process reported.

    Args:
        profile: the requested hardware.
        replica: result of `EngineReplica.observed`.
    """
    hardware = ObservedHardware(
        **{name: replica[name] for name in ObservedHardware.__dataclass_fields__}
    )
    return {
        **basis_columns(profile, hardware),
        "dtype_given": replica["dtype"],
        # It depends on the longest prompt, and a stand-in for the hardware has no GPU.
        "gpu_use": replica["gpu_use"],
        # With a quota it may run on more cores than it has CPUs.
        "cpus_given": min(len(replica["cores"]), replica["threads"]) or None,
        "threads": replica["threads"],
        "hostname": hardware.hostname,
        "cpu_model": hardware.cpu_model,
        "cpu_quota": hardware.cpu_quota,
        "governor": hardware.governor,
        "numa_nodes": hardware.numa_nodes,
        "device": ", ".join(hardware.gpus) or hardware.cpu_model,
        "driver": hardware.driver,
        "cuda": hardware.cuda,
        "engine_settings": _as_json(replica["engine_settings"]),
        "versions": replica["versions"],
    }


def _as_json(settings: Mapping[str, Any]) -> str | None:
    return json.dumps(settings, sort_keys=True) if settings else None


def basis_columns(profile: HardwareProfile, hardware: ObservedHardware) -> Row:
    """Return the columns that say whether the hardware is the profile's, and if not, why.

    Args:
        profile: the requested hardware.
        hardware: the hardware of the node.
    """
    mismatch = matches(profile, hardware)
    return {
        "basis": "observed" if mismatch is None else "emulated",
        "basis_reason": mismatch,
    }


def requested_fault(row: Mapping[str, Any], *, emulation: bool) -> str | None:
    """Return how the hardware differs from what was requested, in a sentence; None if it does not.

    Rows on other hardware are marked as emulated, so they are no fault where emulation is allowed.
    It is not allowed on nodes that were chosen for their hardware: there the wrong node was chosen.

    Args:
        row: of `benchmark.parquet`, with the columns that are known; null ones were not observed.
        emulation: whether other hardware may stand in.
    """
    if row["basis"] == "emulated":
        return None if emulation else f"the node has other hardware: {row['basis_reason']}"
    for requested, given, what in (
        ("dtype", "dtype_given", "compute dtype"),
        ("cpus", "cpus_given", "CPUs for the engine"),
    ):
        if row.get(given) is not None and row[given] != row[requested]:
            return f"{what}: {row[requested]} requested, {row[given]} given"
    idle = row.get("gpu_utilisation") == 0 and (row.get("window_s") or 0.0) >= SEEN_S
    if row.get("gpus") and idle and row.get("engine_step_launch_s") is None:
        return "the GPU was never busy: the engine computed without it"
    return None


def unmeasured_row(
    resolved: Resolved,
    cell: AnyCell,
    status: str,
    reason: str,
    observed: Mapping[str, Any] | None = None,
) -> Row:
    """Return the only row of a cell without measurements.

    Args:
        resolved: the sweep.
        cell: the cell.
        status: `refused` or `failed`.
        reason: why.
        observed: columns of the node that it ran on; None if nothing ran.
    """
    basis = observed or {"basis": "predicted"}
    return {**cell_columns(resolved, cell), **basis, "status": status, "reason": reason}


def priced(row: Mapping[str, Any], profile: HardwareProfile | None) -> Row:
    """Return a row with a profile's price of today and the cost that follows from it.

    Args:
        row: of a cell; price and cost that it already has are replaced.
        profile: the cell's hardware; None has no price.
    """
    unpriced = {name: value for name, value in row.items() if name not in _COST}
    if profile is not None:
        unpriced |= {
            "usd_per_hour": profile.usd_per_hour,
            "price_source": profile.price_source,
            "price_date": profile.price_date,
        }
    return unpriced | cost_columns(unpriced)
