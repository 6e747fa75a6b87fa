"""The columns of `benchmark.parquet` that a measured load point fills."""

from __future__ import annotations

import math
from typing import Any

from medsweep.loadgen.calibrate import Calibration
from medsweep.loadgen.failures import CLIENT
from medsweep.loadgen.figures import LoadFigures
from medsweep.loadgen.spec import LoadPoint
from medsweep.results.schema import STATISTICS

# A client that sends later than this on average, and than this share of the time to first text,
# did not make the load that it was told to make.
_LATE_S, _LATE_SHARE = 0.005, 0.05


def load_columns(
    point: LoadPoint,
    repeat: int,
    variant: str,
    figures: LoadFigures,
    calibration: Calibration | None = None,
) -> dict[str, Any]:
    """Return the columns of one measurement: its load, counts, latencies, rates and client error.

    Args:
        point: the load.
        repeat: counted from 1.
        variant: what answered.
        figures: what was measured.
        calibration: the client's own error at such a load; None where it is not known.
    """
    row: dict[str, Any] = {
        "load_point": point.name,
        "repeat": repeat,
        "variant": variant,
        "status": "ok",
        "concurrency": point.concurrency,
        "rate_rps": point.rate,
        "arrivals": arrivals_of(point),
        "arrival_shape": point.arrival_shape,
        "sent": figures.sent,
        "ok": figures.ok,
        "failed": figures.failed,
        "failed_by_kind": figures.failed_by_kind,
        "window_s": figures.window_s,
        "requests_per_s": figures.requests_per_s,
        "output_tokens_per_s": figures.output_tokens_per_s,
        "goodput_rps": figures.goodput_rps,
        "e2e_growth": figures.growth,
        "prompt_tokens_mean": figures.prompt_tokens_mean,
        "output_tokens_mean": figures.output_tokens_mean,
        "itl_unit": figures.itl_unit,
        "client_limited": client_limited(figures, calibration),
        "load_notes": "; ".join(load_notes(point, figures, calibration)) or None,
    }
    for name, summary in figures.latencies.items():
        row |= {f"{name}_{statistic}_s": getattr(summary, statistic) for statistic in STATISTICS}
    if calibration is not None:
        row["client_ttft_bias_s"] = calibration.ttft_bias_s
        row["client_itl_bias_s"] = calibration.itl_bias_s
    return row


def arrivals_of(point: LoadPoint) -> str | None:
    """Return how an open loop spaces its requests; None for a closed loop."""
    if point.concurrency is not None:
        return None
    return "replay" if point.due_s is not None else point.arrivals


def client_limited(figures: LoadFigures, calibration: Calibration | None) -> bool | None:
    """Return whether the client, and not the server, may have set the figures.

    True where the client itself failed, sent late, or did not keep up with the calibration server.
    None where neither failure nor lateness was seen and there is no calibration.
    """
    delay_s = figures.latencies["dispatch_delay"].mean or 0.0
    ttft_s = figures.latencies["ttft"].mean or 0.0
    if CLIENT in figures.failed_by_kind or delay_s > max(_LATE_S, _LATE_SHARE * ttft_s):
        return True
    return None if calibration is None else calibration.client_limited


def load_notes(
    point: LoadPoint, figures: LoadFigures, calibration: Calibration | None
) -> list[str]:
    """Return what to know beside the figures, such as why one is null."""
    notes = []
    if figures.uncounted:
        notes.append(f"the server did not count the tokens of {figures.uncounted} answers")
    if figures.itl_unit == "chunk":
        notes.append(
            "ITL is the gap between chunks: the server does not say how many tokens a chunk holds"
        )
    if figures.empty:
        notes.append(f"{figures.empty} answers held no text")
    if figures.unmeasured_failed_by_kind:
        count = sum(figures.unmeasured_failed_by_kind.values())
        notes.append(f"{count} requests of warm-up and cool-down failed")
    if figures.rate_reason is not None and figures.window is not None:
        notes.append(figures.rate_reason)
    if figures.growth is not None:
        notes.append(
            f"the queue grows: answers took {figures.growth:.2g} s longer for each second of load. "
            "The server falls behind, or was not full yet when measuring began (longer warmup or "
            "duration)"
        )
    elif (warmup := _filling_warmup(point, figures)) is not None:
        notes.append(
            "measuring began before the first answers had ended: the server may not have been full "
            f"yet; use a warmup of {warmup} requests"
        )
    if client_limited(figures, calibration):
        notes.append("limited by the client, not the server")
    return notes


def _filling_warmup(point: LoadPoint, figures: LoadFigures) -> int | None:
    """Return how many requests of an open loop come before its first answers.

    An open loop is at its level only when as many answers end as requests come, which is not
    before the first have ended. None where the warm-up was long enough.
    """
    answer_s = figures.latencies["e2e"].mean
    if point.rate is None or answer_s is None:
        return None
    needed = math.ceil(point.rate * answer_s)
    return needed if needed > point.warmup_requests else None
