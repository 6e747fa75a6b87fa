"""Latency and throughput of every cell at every load point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medsweep.metrics.statistics import Interval
from medsweep.report.tables.grouping import load_points, mean_interval, model_order, profile_order
from medsweep.results.aggregate import Row, first, group_by, mean, ok_rows, variant_order


@dataclass(frozen=True)
class LatencyRow:
    """One cell at one load point; means over its repeats. None is what was not measured.

    Attributes:
        model: name.
        profile: hardware profile.
        load_point: load shape.
        variant: adapter or base; None for `medsweep bench`.
        basis: observed, emulated or predicted.
        repeats: measurements behind the means.
        ttft: time to first text, in seconds, with its interval over repeats.
        ttft_p50_s: median, in seconds.
        ttft_p90_s: 90th percentile, in seconds.
        tpot: time per output token, in seconds.
        e2e: end-to-end time, in seconds.
        e2e_p50_s: median, in seconds.
        e2e_p90_s: 90th percentile, in seconds.
        requests_per_s: answers per second.
        output_tokens_per_s: tokens per second.
        sent: requests of all repeats.
        failed: those without a whole answer.
        client_limited: whether the client could not send at this rate honestly.
        client_ttft_bias_s: what the client adds to TTFT, in seconds.
        overhead_ttft_s: TTFT of a null model behind the same server, in seconds.
    """

    model: str
    profile: str
    load_point: str
    variant: str | None
    basis: str
    repeats: int
    ttft: Interval | None
    ttft_p50_s: float | None
    ttft_p90_s: float | None
    tpot: Interval | None
    e2e: Interval | None
    e2e_p50_s: float | None
    e2e_p90_s: float | None
    requests_per_s: float | None
    output_tokens_per_s: float | None
    sent: int
    failed: int
    client_limited: bool
    client_ttft_bias_s: float | None
    overhead_ttft_s: float | None


def latency_table(rows: Sequence[Row]) -> list[LatencyRow]:
    """Return one row per measured cell, load point and variant.

    Args:
        rows: of `benchmark.parquet`; those that are not ok are left out.

    Returns:
        Rows by model, profile, load point and variant.
    """
    measured = ok_rows(rows)
    points = load_points(measured)
    groups = group_by(
        measured,
        lambda row: (str(row["model"]), str(row["profile"]), row["load_point"], row["variant"]),
    )
    table = [_row(group) for group in groups.values()]
    return sorted(
        table,
        key=lambda row: (
            model_order(row.model),
            profile_order(row.profile),
            points.index(row.load_point),
            variant_order(row.variant),
        ),
    )


def _row(repeats: Sequence[Row]) -> LatencyRow:
    return LatencyRow(
        model=repeats[0]["model"],
        profile=repeats[0]["profile"],
        load_point=repeats[0]["load_point"],
        variant=repeats[0]["variant"],
        basis=repeats[0]["basis"],
        repeats=len(repeats),
        ttft=mean_interval(repeats, "ttft"),
        ttft_p50_s=mean(repeats, "ttft_p50_s"),
        ttft_p90_s=mean(repeats, "ttft_p90_s"),
        tpot=mean_interval(repeats, "tpot"),
        e2e=mean_interval(repeats, "e2e"),
        e2e_p50_s=mean(repeats, "e2e_p50_s"),
        e2e_p90_s=mean(repeats, "e2e_p90_s"),
        requests_per_s=mean(repeats, "requests_per_s"),
        output_tokens_per_s=mean(repeats, "output_tokens_per_s"),
        sent=sum(row["sent"] or 0 for row in repeats),
        failed=sum(row["failed"] or 0 for row in repeats),
        client_limited=any(row["client_limited"] for row in repeats),
        client_ttft_bias_s=first(repeats, "client_ttft_bias_s"),
        overhead_ttft_s=first(repeats, "overhead_ttft_s"),
    )
