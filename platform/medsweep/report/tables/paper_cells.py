"""Each of our cells beside what the paper says of it, with the likely reason for the difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medsweep.digits import significant
from medsweep.metrics.statistics import Interval
from medsweep.report.paper import RESPONSE_TIME_RANGES, TABLE_3, TABLE_4, ResponseTimeRange
from medsweep.report.table import (
    TableCell,
    TableRow,
    column,
    hidden,
    interval,
    load,
    number,
    prose,
    texts,
)
from medsweep.report.tables.grouping import model_order, profile_order
from medsweep.report.tables.latency import LatencyRow, latency_table
from medsweep.report.tables.paper_table import named
from medsweep.results.aggregate import Row, first, group_by_columns, headline_rows


def _ranges(stated: Sequence[ResponseTimeRange]) -> TableCell:
    ranges = [f"{each.low_s:g} to {each.high_s:g} s ({each.subject})" for each in stated]
    return texts(ranges, "the text gives no time for it")


@dataclass(frozen=True)
class PaperCell(TableRow):
    """Response time of one cell at its lightest load point, ours and the paper's."""

    caption = (
        "Response time of every cell at its lightest load point beside the paper's, and the likely "
        "reason for the difference"
    )
    labels = 2

    model: str = column("Model", cell=named)
    profile: str = column("Profile")
    load_point: str = column("Load", show=load)
    basis: str = column("Basis")
    stands_in_for: str | None = hidden()
    in_table_3: bool = column(
        "In the paper's Table 3", cell=lambda row: TableCell("yes" if row.in_table_3 else "no")
    )
    ours: Interval = column("Ours (s)", show=interval)
    # For the model, on a configuration that the paper does not name.
    table_4_s: float = column(
        "Paper's Table 4 (s)", cell=lambda row: TableCell(f"{row.table_4_s:.2f}", kind="number")
    )
    factor: float = column("Paper over ours", show=number)
    stated: tuple[ResponseTimeRange, ...] = column("Paper's text", show=_ranges)
    reason: str = column("Likely reason", show=prose)


def paper_cells(rows: Sequence[Row]) -> list[PaperCell]:
    """Return one row for each measured cell of a model that the paper has.

    Args:
        rows: of `benchmark.parquet`.
    """
    measured = headline_rows(rows)
    lightest: dict[tuple[str, str], LatencyRow] = {}
    for row in latency_table(measured):
        if row.e2e is not None:
            lightest.setdefault((row.model, row.profile), row)
    times = {result.model: result.response_time_s for result in TABLE_4}
    table = []
    for cell, of_cell in group_by_columns(measured, "model", "profile").items():
        ours, stands_in_for = lightest.get(cell), first(of_cell, "stands_in_for")
        real, profile = stands_in_for or cell[0], cell[1]
        if real not in times or ours is None or ours.e2e is None:
            continue
        table.append(
            PaperCell(
                model=ours.model,
                profile=profile,
                load_point=ours.load_point,
                basis=ours.basis,
                stands_in_for=stands_in_for,
                in_table_3=(real, profile) in TABLE_3,
                ours=ours.e2e,
                table_4_s=times[real],
                factor=times[real] / ours.e2e.mean,
                stated=tuple(
                    each
                    for each in RESPONSE_TIME_RANGES
                    if each.model in (None, real) and each.profile in (None, profile)
                ),
                reason=_reason(ours, times[real], stands_in_for, first(of_cell, "max_tokens")),
            )
        )
    return sorted(table, key=lambda row: (model_order(row.model), profile_order(row.profile)))


def _reason(
    ours: LatencyRow, paper_s: float, stands_in_for: str | None, max_tokens: int | None
) -> str:
    """Return what is known to differ, the largest effect first."""
    reasons = []
    if stands_in_for:
        reasons.append(f"a stand-in is many times smaller than {stands_in_for}")
    if ours.basis == "emulated":
        reasons.append("another machine stood in for the hardware")
    elif ours.basis == "predicted":
        reasons.append("ours is computed and leaves queueing and the server out")
    if ours.tpot is not None and ours.ttft is not None and paper_s > ours.ttft.mean:
        tokens = 1 + (paper_s - ours.ttft.mean) / ours.tpot.mean
        longest = f"; ours are cut at {max_tokens}" if max_tokens else ""
        reasons.append(
            "the paper does not give the length of its answers: at our token rate its time is "
            f"{significant(tokens)} tokens{longest}"
        )
    else:
        reasons.append("the paper gives neither the length of its answers nor its engine")
    return "; ".join(reasons)
