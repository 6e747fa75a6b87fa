"""From the records of a load point to its latency and throughput figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from medsweep.metrics.request_record import RequestRecord
from medsweep.metrics.statistics import percentile


@dataclass(frozen=True)
class Summary:
    """A sample in seven numbers, in the unit of its values; what cannot be had is None.

    Attributes:
        samples: how many values there were.
        mean: their mean.
        p50: median; wants 11 samples.
        p90: wants 64 samples.
        p95: wants 130 samples.
        p99: wants 662 samples.
        max: the largest.
    """

    samples: int
    mean: float | None
    p50: float | None
    p90: float | None
    p95: float | None
    p99: float | None
    max: float | None


def summarise(values: Iterable[float | None]) -> Summary:
    """Return the summary of the values that are there; None is not a sample.

    Args:
        values: one figure per request or token, in any one unit.

    Returns:
        The summary, in the same unit; percentiles with too few samples behind them are None
        (see `statistics.percentile_floor`).
    """
    known = [value for value in values if value is not None]
    return Summary(
        samples=len(known),
        mean=sum(known) / len(known) if known else None,
        p50=percentile(known, 0.50),
        p90=percentile(known, 0.90),
        p95=percentile(known, 0.95),
        p99=percentile(known, 0.99),
        max=max(known, default=None),
    )


def count_by_kind(records: Iterable[RequestRecord]) -> dict[str, int]:
    """Return how many of these requests failed in each way, of whatever phase they are."""
    return dict(Counter(record.status for record in records if record.status != "ok"))


def window_s(records: Iterable[RequestRecord]) -> float | None:
    """Return the length of the measured window: first measured send to last measured end.

    Args:
        records: the requests of a load point, of all phases.

    Returns:
        Seconds, above 0; None without a measured request that took time.
    """
    window = _window(records)
    return None if window is None else window[1] - window[0]


def requests_per_s(records: Sequence[RequestRecord]) -> float | None:
    """Return completed requests per second.

    Args:
        records: the requests of a load point, of all phases.

    Returns:
        Answers of any phase over the measured window's length: measuring starts without draining,
        so warm-up requests still hold slots then. In an open loop those that ended inside the
        window (at its end, not at its start). In a closed loop each counts by the share of its own
        time that lies in it: a server that answers in waves ends as many at once as are in
        flight, and where the window cuts such a wave would decide the figure. None without a
        window.
    """
    window = _window(records)
    if window is None:
        return None
    start_s, stop_s = window
    ended = 0.0
    for record in records:
        if record.status != "ok":
            continue
        if record.due_s is None:
            ended += share_inside(record.sent_s, record.end_s, start_s, stop_s)
        else:
            ended += start_s < record.end_s <= stop_s
    return ended / (stop_s - start_s)


def output_tokens_per_s(records: Sequence[RequestRecord]) -> float | None:
    """Return output tokens per second.

    Args:
        records: the requests of a load point, of all phases.

    Returns:
        Tokens of complete answers of any phase that were produced inside the measured window,
        over its length. An answer's tokens count as spread evenly from its first text to its end,
        so that one which lies partly in the window counts in part. None without a window, or if
        the tokens of an answer inside it are unknown.
    """
    window = _window(records)
    if window is None:
        return None
    start_s, stop_s = window
    produced = 0.0
    for record in records:
        share = _share_inside(record, start_s, stop_s) if record.status == "ok" else 0.0
        if share == 0.0:
            continue
        if record.output_tokens is None:
            return None
        produced += share * record.output_tokens
    return produced / (stop_s - start_s)


def goodput_rps(
    records: Sequence[RequestRecord], *, ttft_s: float | None = None, e2e_s: float | None = None
) -> float | None:
    """Return measured requests per second that were answered within the limits.

    Args:
        records: the requests of a load point; only the measured ones count.
        ttft_s: longest allowed time to first text, in seconds; None sets no limit.
        e2e_s: longest allowed end-to-end time, in seconds; None sets no limit.

    Returns:
        Requests per second of the measured window; None without a window.
    """
    window = window_s(records)
    if window is None:
        return None
    good = sum(
        record.phase == "measure"
        and record.status == "ok"
        and (ttft_s is None or (record.ttft_s is not None and record.ttft_s <= ttft_s))
        and (e2e_s is None or record.e2e_s <= e2e_s)
        for record in records
    )
    return good / window


def _window(records: Iterable[RequestRecord]) -> tuple[float, float] | None:
    measured = [record for record in records if record.phase == "measure"]
    if not measured:
        return None
    start_s, stop_s = min(each.sent_s for each in measured), max(each.end_s for each in measured)
    return (start_s, stop_s) if stop_s > start_s else None


def _share_inside(record: RequestRecord, start_s: float, stop_s: float) -> float:
    """Return the share of an answer's tokens that fell inside the window, 0 to 1."""
    first_s = record.end_s if record.first_text_s is None else record.first_text_s
    return share_inside(first_s, record.end_s, start_s, stop_s)


def share_inside(begin_s: float, end_s: float, start_s: float, stop_s: float) -> float:
    """Return the share of the time from `begin_s` to `end_s` that lies in a window, 0 to 1."""
    if begin_s >= end_s:
        return float(start_s < end_s <= stop_s)
    overlap_s = min(end_s, stop_s) - max(begin_s, start_s)
    return max(overlap_s, 0.0) / (end_s - begin_s)
