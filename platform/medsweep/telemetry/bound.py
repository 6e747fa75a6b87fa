"""What bound a measurement: the one thing that must get faster for the measurement to get faster.

The questions are asked in the order in which a "yes" makes the later ones pointless. A client that
could not send says nothing about the server. A busy GPU is the limit of the hardware. A GPU that
waits while a thread is busy waits for that thread. Only if nothing is busy can the cause lie in how
the server is set up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from medsweep.digits import percent

Cause = Literal[
    "client",
    "gpu",
    "cpu quota",
    "cpu launch",
    "cpu",
    "cpu contention",
    "framework",
    "queue",
    "nothing at its limit",
]

MEANINGS: dict[Cause, str] = {
    "client": "the load generator, not the server",
    "gpu": "the GPU was busy",
    "cpu quota": "the control group's CPU limit cut scheduling periods short",
    "cpu launch": "the GPU waited for the one thread that gives it work",
    "cpu": "the CPUs that the engine was given were busy",
    "cpu contention": "the machine's CPUs were busy with other work than the engine's",
    "framework": "the server around the engine, which a null model has too",
    "queue": "requests waited for their turn while the machine was not busy",
    "nothing at its limit": "no sensor was near its limit",
}

# NVML's utilisation is the share of time in which any kernel ran. There is always a gap between two
# decode steps, so a GPU that never waits for work shows about 90 %, not 100 %.
GPU_BUSY = 0.85
# A thread that uses nine tenths of a core has no time left: the scheduler takes the rest.
THREAD_BUSY = 0.90
# A thread that hardly waits for the GPU gives it work too slowly.
LAUNCHING = 0.90
# Of the engine's cores: in a matrix product some threads wait for the slowest.
CPU_BUSY = 0.80
# With every CPU in use, a thread that wakes up must wait; only ends of time slices are left over.
MACHINE_BUSY = 0.95
# A tenth of the time given to other guests is about the least that is visible in a decode step.
STEAL = 0.10
# If one period of ten is cut short, one step of ten is delayed by up to a period (100 ms).
THROTTLED = 0.10
# Known from calibration; less than a tenth of the figure decides nothing.
CLIENT_ERROR = 0.10
# More than half of a figure decides it.
MOST = 0.50


@dataclass(frozen=True)
class Bound:
    """What bound a measurement.

    Attributes:
        cause: the verdict.
        evidence: the columns that decided with their values and the limits that they passed, and
            the columns that were ruled out before.
    """

    cause: Cause
    evidence: tuple[str, ...]


def find_bound(row: Mapping[str, Any], unloaded_ttft_s: float | None = None) -> Bound | None:
    """Return what bound a measurement.

    Args:
        row: of `benchmark.parquet`; missing and null columns are unknown, not 0.
        unloaded_ttft_s: mean TTFT of the same cell at its lightest load, in seconds.

    Returns:
        The verdict; None if neither the GPU's nor the engine's use was measured, since any verdict
        would then lack evidence.
    """
    seen: list[str] = []
    if row.get("client_limited"):
        return Bound("client", ("client_limited: the calibrated client cannot send at this rate",))
    if _over(seen, "client_ttft_bias_s / ttft_mean_s", _client_error(row), CLIENT_ERROR):
        return Bound("client", tuple(seen))
    gpu, thread = row.get("gpu_utilisation"), row.get("engine_thread_busy")
    if gpu is None and thread is None:
        return None
    if _over(seen, "gpu_utilisation", gpu, GPU_BUSY):
        return Bound("gpu", (*seen, *_held_back(row)))
    if _over(seen, "cpu_throttled_share", row.get("cpu_throttled_share"), THROTTLED):
        return Bound("cpu quota", tuple(seen))
    if gpu is not None:
        # Measured where the engine does so; a thread that is busy may do something else, too.
        if _over(seen, "engine_launch_share", row.get("engine_launch_share"), LAUNCHING):
            return Bound("cpu launch", (*seen, *_launches(row), *_cores(row)))
        if _over(seen, "engine_thread_busy", thread, THREAD_BUSY):
            return Bound("cpu launch", (*seen, *_cores(row)))
    elif _over(seen, "engine_cpu_cores / cpus_given", _cpu_share(row), CPU_BUSY):
        return Bound("cpu", tuple(seen))
    for name, limit in (("cpu_busy", MACHINE_BUSY), ("cpu_steal", STEAL)):
        if _over(seen, name, row.get(name), limit):
            return Bound("cpu contention", tuple(seen))
    for figure in ("ttft", "tpot"):
        name = f"overhead_{figure}_s / {figure}_mean_s"
        if _over(seen, name, _ratio(row, f"overhead_{figure}_s", f"{figure}_mean_s"), MOST):
            return Bound("framework", tuple(seen))
    if _over(
        seen, "share of ttft_mean_s beyond the unloaded TTFT", _wait(row, unloaded_ttft_s), MOST
    ):
        return Bound("queue", tuple(seen))
    return Bound("nothing at its limit", tuple(seen))


def add_bounds(rows: Sequence[dict[str, Any]]) -> None:
    """Add the verdict to each of a cell's rows, in place.

    Args:
        rows: of one cell, with all its load points. The lowest mean TTFT of any load point counts
            as the unloaded one; with a single load point no queue can be detected.
    """
    by_variant: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        if row.get("ttft_mean_s") is not None:
            points = by_variant.setdefault(row["variant"], {})
            points.setdefault(row["load_point"], []).append(row["ttft_mean_s"])
    for row in rows:
        means = [sum(each) / len(each) for each in by_variant.get(row["variant"], {}).values()]
        bound = find_bound(row, min(means, default=None))
        if bound is not None:
            row["bound"], row["bound_evidence"] = bound.cause, "; ".join(bound.evidence)


def _over(seen: list[str], name: str, value: float | None, limit: float) -> bool:
    """Note a value and its limit; return whether it reaches the limit (unknown: no)."""
    if value is None:
        return False
    reached = value >= limit
    seen.append(f"{name} = {value:.2f} ({'at least' if reached else 'under'} {limit:.2f})")
    return reached


def _ratio(row: Mapping[str, Any], part: str, total: str) -> float | None:
    if row.get(part) is None or not row.get(total):
        return None
    return float(row[part] / row[total])


def _client_error(row: Mapping[str, Any]) -> float | None:
    error = _ratio(row, "client_ttft_bias_s", "ttft_mean_s")
    return None if error is None else abs(error)


def _cpu_share(row: Mapping[str, Any]) -> float | None:
    return _ratio(row, "engine_cpu_cores", "cpus_given")


def _wait(row: Mapping[str, Any], unloaded_ttft_s: float | None) -> float | None:
    ttft_s = row.get("ttft_mean_s")
    if unloaded_ttft_s is None or not ttft_s:
        return None
    return float(1 - unloaded_ttft_s / ttft_s)


def _held_back(row: Mapping[str, Any]) -> list[str]:
    """Return evidence that the busy GPU ran below its full clock."""
    share = row.get("gpu_throttled_share")
    if not share:
        return []
    why = ", ".join(sorted(row.get("gpu_throttle_reasons") or {})) or "no reason given"
    return [f"clocks held back in {percent(share)} of samples: {why}"]


def _launches(row: Mapping[str, Any]) -> list[str]:
    launch_s = row.get("engine_step_launch_s")
    return [] if launch_s is None else [f"launching a step takes {launch_s * 1e3:.2f} ms"]


def _cores(row: Mapping[str, Any]) -> list[str]:
    used, given = row.get("engine_cpu_cores"), row.get("cpus")
    if used is None or given is None:
        return []
    return [f"the engine used {used:.2f} of {given} CPUs: more of them change nothing"]
