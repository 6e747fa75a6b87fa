"""Latency and throughput of every cell at every load point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from medsweep.loadgen.spec import load_in_words
from medsweep.metrics.statistics import Interval
from medsweep.report.table import (
    MEANINGS,
    TableCell,
    TableRow,
    average,
    build,
    column,
    count,
    hidden,
    part_of,
    time,
)
from medsweep.report.tables.grouping import mean_interval, model_order, profile_order
from medsweep.results.aggregate import (
    Row,
    group_by_columns,
    load_points,
    ok_rows,
    values,
    variant_order,
)


def _over_repeats(title: str, latency: str) -> Any:
    return column(
        title,
        lambda rows: mean_interval(rows, latency),
        time,
        meaning=MEANINGS[f"{latency}_mean_s"],
    )


@dataclass(frozen=True)
class LatencyRow(TableRow):
    """One cell at one load point; means over its repeats. None is what was not measured."""

    caption = (
        "Latency and throughput: means over repeats, with 95 % intervals over repeats below. "
        "Percentiles need enough requests (64 for p90) and are missing otherwise"
    )
    labels = 3

    model: str = column("Model")
    profile: str = column("Profile")
    load_point: str = column(
        "Load",
        cell=lambda row: TableCell(load_in_words(row.load_point), row.client_note),
    )
    variant: str | None = column("Variant")
    basis: str = column("Basis")
    repeats: int = column("Repeats", len, count)
    ttft: Interval | None = _over_repeats("TTFT mean (s)", "ttft")
    ttft_p50_s: float | None = average("TTFT p50 (s)", "ttft_p50_s")
    ttft_p90_s: float | None = average("TTFT p90 (s)", "ttft_p90_s")
    tpot: Interval | None = _over_repeats("TPOT mean (s)", "tpot")
    e2e: Interval | None = _over_repeats("E2E mean (s)", "e2e")
    e2e_p50_s: float | None = average("E2E p50 (s)", "e2e_p50_s")
    e2e_p90_s: float | None = average("E2E p90 (s)", "e2e_p90_s")
    requests_per_s: float | None = average("Requests (1/s)", "requests_per_s")
    output_tokens_per_s: float | None = average("Output tokens (1/s)", "output_tokens_per_s")
    failed: int = column(
        "Failed / sent",
        lambda rows: sum(values(rows, "failed")),
        meaning=MEANINGS["failed"],
        cell=lambda row: part_of(row.failed, row.sent),
    )
    sent: int = hidden(lambda rows: sum(values(rows, "sent")))
    client_limited: bool = hidden(lambda rows: any(values(rows, "client_limited")))
    client_error_figures: tuple[str, ...] = hidden(
        lambda rows: tuple(
            dict.fromkeys(
                name for text in values(rows, "client_error_figures") for name in text.split(", ")
            )
        )
    )
    client_ttft_bias_s: float | None = column(
        "Client bias of TTFT (s)",
        lambda rows: max(values(rows, "client_ttft_bias_s"), key=abs, default=None),
        time,
        missing="the client was not calibrated",
        meaning=MEANINGS["client_ttft_bias_s"],
    )
    overhead_ttft_s: float | None = average(
        "Framework's TTFT (s)", "overhead_ttft_s", missing="no null model was measured"
    )

    @property
    def client_note(self) -> str:
        """What to know of the client's part in the figures."""
        marked = ", ".join(self.client_error_figures)
        notes = ["client-limited"] if self.client_limited else []
        notes += [f"over a tenth is client error: {marked}"] if marked else []
        return "; ".join(notes)


def latency_table(rows: Sequence[Row]) -> list[LatencyRow]:
    """Return one row per measured cell, load point and variant.

    Args:
        rows: of `benchmark.parquet`; those that are not ok are left out.

    Returns:
        Rows by model, profile, load point and variant.
    """
    measured = ok_rows(rows)
    points = load_points(measured)
    groups = group_by_columns(measured, "model", "profile", "load_point", "variant")
    return sorted(
        (build(LatencyRow, group) for group in groups.values()),
        key=lambda row: (
            model_order(row.model),
            profile_order(row.profile),
            points.index(row.load_point),
            variant_order(row.variant),
        ),
    )
