"""The telemetry columns of one window, from its samples."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from medsweep.telemetry.host import THREAD
from medsweep.telemetry.recording import Recording, Sample

MEANS = (
    "gpu_utilisation",
    "gpu_memory_utilisation",
    "gpu_power_w",
    "gpu_sm_clock_hz",
    "gpu_sm_clock_max_hz",
    "cpu_clock_hz",
)

SERVER_GAUGES = ("server_queue", "server_running", "server_kv_use")
"""What a server that MedSweep did not deploy says of itself; the columns are mean and maximum."""

TOTALS = ("gpu_energy_j", "cpu_energy_j", "network_received_bytes", "network_sent_bytes")


def telemetry_columns(recording: Recording | None, start_s: float, stop_s: float) -> dict[str, Any]:
    """Return the columns of a measurement's window.

    Args:
        recording: samples around the window, from this machine or another; None has no columns.
        start_s: start of the window, by `time.perf_counter` on this machine.
        stop_s: end of the window, by the same clock.
    """
    if recording is None:
        return {}
    since_1970_s = time.time() - time.perf_counter()
    return {
        **window_columns(recording.samples, start_s + since_1970_s, stop_s + since_1970_s),
        "telemetry_samples": len(recording.samples),
        "telemetry_cpu_share": recording.cpu_share,
    }


def window_columns(samples: Sequence[Sample], start_s: float, stop_s: float) -> dict[str, Any]:
    """Return the columns of a window; those without a sensor are absent.

    Counters are differences between the last sample before the window and the first one after it.
    Gauges are means over the samples inside the window, or over those two if there is none inside.

    Args:
        samples: in order of time.
        start_s: start of the window, in seconds since 1970.
        stop_s: its end.
    """
    if not samples:
        return {}
    before = [sample for sample in samples if sample.at_s <= start_s]
    after = [sample for sample in samples if sample.at_s >= stop_s]
    first, last = (before or samples)[-1 if before else 0], (after or samples)[0 if after else -1]
    inside = [sample for sample in samples if start_s <= sample.at_s <= stop_s] or [first, last]
    grown = {
        name: last.counters[name] - value
        for name, value in first.counters.items()
        if name in last.counters
    }
    columns: dict[str, Any] = {
        "telemetry_missing": json.dumps(last.missing, sort_keys=True) if last.missing else None,
        **_gauges(inside),
        **_server(samples[0], inside, grown),
    }
    seconds = last.at_s - first.at_s
    if seconds > 0:
        # The two samples are a little further apart than the window is long.
        columns |= _rates(grown, last.counters, seconds, (stop_s - start_s) / seconds)
    return {name: value for name, value in columns.items() if value is not None}


def _gauges(inside: Sequence[Sample]) -> dict[str, Any]:
    mean: Callable[[str], float | None] = lambda name: _mean(  # noqa: E731
        [sample.gauges[name] for sample in inside if name in sample.gauges]
    )
    memory = [sample.gauges.get("gpu_memory_used_bytes") for sample in inside]
    used = [value for value in memory if value is not None]
    reasons = Counter(reason for sample in inside for reason in sample.reasons)
    throttled = mean("gpu_throttled")
    return {
        **{name: mean(name) for name in MEANS},
        "gpu_memory_used_bytes": int(max(used)) if used else None,
        "gpu_throttled_share": throttled,
        "gpu_throttle_reasons": None if throttled is None else dict(reasons),
    }


def _server(
    before: Sample, inside: Sequence[Sample], grown: dict[str, float]
) -> dict[str, float | None]:
    """Return what the server's own metrics show; None where it has no such metric."""
    columns: dict[str, float | None] = {}
    for name in SERVER_GAUGES:
        values = [sample.gauges[name] for sample in inside if name in sample.gauges]
        columns |= {f"{name}_mean": _mean(values), f"{name}_max": max(values, default=None)}
    busy = [before.gauges[name] for name in SERVER_GAUGES[:2] if name in before.gauges]
    preemptions = grown.get("server_preemptions")
    return {
        **columns,
        "server_requests_before": sum(busy) if busy else None,
        # A counter that decreased was reset in between.
        "server_preemptions": preemptions if preemptions is None or preemptions >= 0 else None,
    }


def _rates(
    grown: dict[str, float], now: dict[str, float], seconds: float, share: float
) -> dict[str, Any]:
    ticks = grown.get("cpu_ticks", 0.0)
    periods = grown.get("cpu_periods", 0.0)
    # A thread that started in between counts from 0.
    threads = {name: grown.get(name, value) for name, value in now.items() if _is_engine(name)}
    per_s = {
        "engine_cpu_cores": grown.get("engine_cpu_s"),
        "group_cpu_cores": grown.get("group_cpu_s"),
        "engine_thread_busy": max(threads.values(), default=None),
    }
    # A counter that decreased was reset in between.
    totals = {name: grown[name] * share for name in TOTALS if grown.get(name, -1.0) >= 0}
    return {
        **{name: None if value is None else value / seconds for name, value in per_s.items()},
        **_step_times(grown),
        **totals,
        "cpu_busy": 1 - grown["cpu_idle_ticks"] / ticks if ticks else None,
        "cpu_steal": grown["cpu_steal_ticks"] / ticks if ticks else None,
        "cpu_throttled_share": grown["cpu_throttled_periods"] / periods if periods else None,
        "cpu_throttled_s": grown.get("cpu_throttled_s"),
    }


def _step_times(grown: dict[str, float]) -> dict[str, Any]:
    """Return the times of decoding steps on a GPU, where the engine gives them."""
    steps = grown.get("engine_steps", 0.0)
    if steps <= 0:
        return {}
    launch_s = grown["engine_launch_s"]
    return {
        "engine_step_launch_s": launch_s / steps,
        "engine_launch_share": launch_s / (launch_s + grown["engine_wait_s"]),
    }


def _is_engine(name: str) -> bool:
    return name.startswith(f"{THREAD}engine/")


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
