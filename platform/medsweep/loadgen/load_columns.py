"""The columns of `benchmark.parquet` that a measured load point fills."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from typing import Any

from medsweep.loadgen.calibration import CALIBRATED, Calibration, ClientError
from medsweep.loadgen.failures import CLIENT
from medsweep.loadgen.figures import LoadFigures
from medsweep.loadgen.fleet import Split
from medsweep.loadgen.spec import LoadPoint
from medsweep.results.schema import STATISTICS

# A client that sends later than this on average, and than this share of the time to first text,
# did not make the load that it was told to make.
_LATE_S, _LATE_SHARE = 0.005, 0.05

CLIENT_SHARE = 0.1
"""A figure of which more than this share is the client's own error is marked."""

CLIENT_LIMITED = "limited by the client, not the server"


def load_columns(
    point: LoadPoint,
    repeat: int,
    variant: str,
    figures: LoadFigures,
    calibrations: Iterable[Calibration] = (),
    split: Split | None = None,
) -> dict[str, Any]:
    """Return the columns of one measurement: its load, counts, latencies, rates and client error.

    Args:
        point: the load.
        repeat: counted from 1.
        variant: what answered.
        figures: what was measured.
        calibrations: the client's own error at such a load, before and after it.
        split: how several load generators shared the load; None if one sent it.
    """
    notes = load_notes(point, figures)
    late = _client_late(figures)
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
        "load_shards": 1 if split is None else split.processes,
        "shard_clock_error_s": None if split is None else split.clock_error_s,
        "shard_start_spread_s": None if split is None else split.start_spread_s,
        "client_limited": True if late else None,
        "load_notes": "; ".join([*notes, CLIENT_LIMITED] if late else notes) or None,
    }
    for name, summary in figures.latencies.items():
        row |= {f"{name}_{statistic}_s": getattr(summary, statistic) for statistic in STATISTICS}
    row["client_error_figures"] = _marked(row, {})
    for calibration in calibrations:
        add_calibration(row, calibration)
    return row


def add_calibration(row: dict[str, Any], calibration: Calibration) -> None:
    """Add the client's own error at such a load to a row; after another one, the larger counts.

    Args:
        row: of `load_columns`; changed in place.
        calibration: before or after the load.
    """
    for latency, error in calibration.errors.items():
        bias = f"client_{latency}_bias_s"
        row[bias] = max(row.get(bias) or 0.0, error.mean, key=abs)
    row["client_error_figures"] = _marked(row, calibration.errors)
    late_s = row.get("calibration_server_late_s") or 0.0
    row["calibration_server_late_s"] = max(late_s, calibration.server_late_s)
    before, limited = row.get("calibrations") or 0, calibration.client_limited
    row["calibrations"] = before + 1
    if row["client_limited"]:
        return
    # What one of two calibrations leaves open stays open.
    known = not before or row["client_limited"] is not None
    row["client_limited"] = limited if limited or known else None
    if limited:
        row["load_notes"] = "; ".join(filter(None, [row["load_notes"], CLIENT_LIMITED]))


def _marked(row: Mapping[str, Any], errors: Mapping[str, ClientError]) -> str | None:
    """Return the columns of a row of which more than a tenth is the client's error.

    Of a mean that is the mean error, of a percentile the same percentile of the errors. In an open
    loop latency runs from the due time, so that late sending is an error too.

    Args:
        row: of `load_columns`; what it has marked already stays marked.
        errors: by latency.
    """
    marked = (row.get("client_error_figures") or "").split(", ")
    names = []
    for latency, statistic in itertools.product(CALIBRATED, STATISTICS):
        figure = row[name := f"{latency}_{statistic}_s"]
        error_s = abs(getattr(errors[latency], statistic)) if latency in errors else 0.0
        if latency in ("ttft", "e2e"):
            error_s += row[f"dispatch_delay_{statistic}_s"] or 0.0
        if name in marked or (figure is not None and error_s > CLIENT_SHARE * figure):
            names.append(name)
    return ", ".join(names) or None


def arrivals_of(point: LoadPoint) -> str | None:
    """Return how an open loop spaces its requests; None for a closed loop."""
    if point.concurrency is not None:
        return None
    return "replay" if point.due_s is not None else point.arrivals


def _client_late(figures: LoadFigures) -> bool:
    """Return whether the client itself failed, or sent late."""
    delay_s = figures.latencies["dispatch_delay"].mean or 0.0
    ttft_s = figures.latencies["ttft"].mean or 0.0
    return CLIENT in figures.failed_by_kind or delay_s > max(_LATE_S, _LATE_SHARE * ttft_s)


def load_notes(point: LoadPoint, figures: LoadFigures) -> list[str]:
    """Return what to know beside the figures, such as why one is null."""
    notes = []
    if figures.uncounted:
        notes.append(f"the server did not count the tokens of {figures.uncounted} answers")
    if figures.at_once:
        notes.append(
            f"all tokens of {figures.at_once} answers came in one read, so they have no TPOT and "
            "no ITL: does the server, or a proxy before it, collect the answer before sending it?"
        )
    if figures.coarse:
        notes.append(
            f"over a fifth of the tokens of {figures.coarse} answers came with the first one, so "
            "they have no TPOT: chunks are too large to tell when the others were made"
        )
    if untimed := max(figures.untimed, default=0):
        notes.append(f"{untimed} answers have no time per token, so they meet no limit on it")
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
