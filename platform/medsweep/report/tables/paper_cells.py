"""Every cell of ours beside what the paper says of it, with the likely reason of the difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medsweep.metrics.statistics import Interval
from medsweep.report.numbers import significant
from medsweep.report.paper import RESPONSE_TIME_RANGES, TABLE_3, TABLE_4, ResponseTimeRange
from medsweep.report.tables.grouping import headline_rows
from medsweep.report.tables.latency import LatencyRow, latency_table
from medsweep.results.aggregate import Row, first


@dataclass(frozen=True)
class PaperCell:
    """Response time of one cell at its lightest load point, ours and the paper's.

    Attributes:
        model, profile, basis, load_point: which of ours.
        stands_in_for: the model whose architecture a stand-in has; None for a real model.
        ours: mean end-to-end time, in seconds.
        table_4_s: the paper's time for the model, on a configuration that it does not name.
        said: the ranges that its text gives for this model or profile.
        ran: whether the paper's Table 3 has this cell.
        reason: why the two differ, as far as our own figures say.
    """

    model: str
    profile: str
    basis: str
    load_point: str
    stands_in_for: str | None
    ours: Interval
    table_4_s: float
    said: tuple[ResponseTimeRange, ...]
    ran: bool
    reason: str

    @property
    def factor(self) -> float:
        """The paper's time over ours."""
        return self.table_4_s / self.ours.mean


def paper_cells(rows: Sequence[Row]) -> list[PaperCell]:
    """Return one row for each measured cell of a model that the paper has.

    Args:
        rows: of `benchmark.parquet`.
    """
    measured = headline_rows(rows)
    table: dict[tuple[str, str], LatencyRow] = {}
    for row in latency_table(measured):
        if row.e2e is not None:
            table.setdefault((row.model, row.profile), row)
    times = {result.model: result.response_time_s for result in TABLE_4}
    found = []
    for (model, profile), ours in table.items():
        of_cell = [row for row in measured if (row["model"], row["profile"]) == (model, profile)]
        stands_in_for = first(of_cell, "stands_in_for")
        real = stands_in_for or model
        if real not in times or ours.e2e is None:
            continue
        found.append(
            PaperCell(
                model=model,
                profile=profile,
                basis=ours.basis,
                load_point=ours.load_point,
                stands_in_for=stands_in_for,
                ours=ours.e2e,
                table_4_s=times[real],
                said=tuple(
                    each
                    for each in RESPONSE_TIME_RANGES
                    if each.model in (None, real) and each.profile in (None, profile)
                ),
                ran=(real, profile) in TABLE_3,
                reason=_reason(ours, times[real], stands_in_for, first(of_cell, "max_tokens")),
            )
        )
    return found


def _reason(
    ours: LatencyRow, paper_s: float, stands_in_for: str | None, max_tokens: int | None
) -> str:
    """Say what is known to differ, the weightiest first."""
    said = []
    if stands_in_for:
        said.append(f"a stand-in is many times smaller than {stands_in_for}")
    if ours.basis == "emulated":
        said.append("another machine stood in for the hardware")
    elif ours.basis == "predicted":
        said.append("ours is computed and leaves queueing and the server out")
    if ours.tpot is not None and ours.ttft is not None and paper_s > ours.ttft.mean:
        tokens = 1 + (paper_s - ours.ttft.mean) / ours.tpot.mean
        longest = f"; ours are cut at {max_tokens}" if max_tokens else ""
        said.append(
            "the paper does not give the length of its answers: at our token rate its time is "
            f"{significant(tokens)} tokens{longest}"
        )
    else:
        said.append("the paper gives neither the length of its answers nor its engine")
    return "; ".join(said)
