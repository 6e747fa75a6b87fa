"""What was measured beside what the roofline of the hardware estimates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from medsweep.digits import percent
from medsweep.prediction.roofline import ASSUMPTIONS
from medsweep.report.table import (
    TableRow,
    average,
    build,
    column,
    load,
    number,
    prose,
)
from medsweep.results.aggregate import Row, group_by_columns, load_points, mean, ok_rows, values


def _most_common_bound(rows: Sequence[Row]) -> str | None:
    bounds = [bound for bound in values(rows, "bound") if bound]
    return Counter(bounds).most_common(1)[0][0] if bounds else None


@dataclass(frozen=True)
class RooflineRow(TableRow):
    """One load point of one observed configuration; all variants and repeats together."""

    caption = (
        "Time per output token: measured, estimated by the roofline, and the least at the "
        "datasheet's peaks, which alone is a bound. E" + ASSUMPTIONS[1:].replace("`", "")
    )
    labels = 3

    model: str = column("Model")
    profile: str = column("Profile")
    load_point: str = column("Load", show=load)
    tpot_s: float = average("TPOT measured (s)", "tpot_mean_s")
    predicted_tpot_s: float = average("TPOT estimated (s)", "predicted_tpot_s")
    least_tpot_s: float | None = average(
        "TPOT at least (s)", "least_tpot_s", missing="the peaks of this processor are not known"
    )
    factor: float = column("Factor", show=number)
    bound: str = column("Estimate bound by", "predicted_bound")
    reason: str = column("Likely reason", show=prose)


def roofline_table(rows: Sequence[Row]) -> list[RooflineRow]:
    """Return one row per load point that has both figures.

    Args:
        rows: of `benchmark.parquet`.
    """
    known = [row for row in ok_rows(rows) if row.get("predicted_tpot_s") is not None]
    table = []
    for cell in group_by_columns(known, "model", "profile").values():
        for point in load_points(cell):
            group = [row for row in cell if row["load_point"] == point]
            measured, predicted = mean(group, "tpot_mean_s"), mean(group, "predicted_tpot_s")
            if measured is not None and predicted:
                factor = measured / predicted
                reason = _reason(group, measured, factor)
                table.append(build(RooflineRow, group, factor=factor, reason=reason))
    return table


def _reason(rows: Sequence[Row], tpot_s: float, factor: float) -> str:
    """Return why measurement and roofline differ, as far as the rows tell."""
    reasons = []
    least_s = mean(rows, "least_tpot_s")
    if least_s is not None and tpot_s < least_s:
        reasons.append(
            "below the least time: part of the weights stays in the cache, or the datasheet is of "
            "another variant of this GPU"
        )
    elif factor < 1:
        reasons.append(
            "faster than estimated: the assumed shares of the peaks or the launch time are too "
            "pessimistic here"
            if least_s is not None
            else "faster than estimated: the machine was busier when its speed was measured, or "
            "data that is read again stays in the cache"
        )
    if (overhead_s := mean(rows, "overhead_tpot_s")) is not None:
        share = min(1.0, overhead_s / tpot_s)
        most = f"at most {percent(share)}" if share >= 0.01 else "under 1 %"
        reasons.append(f"{most} of the time is the server's own")
    if (bound := _most_common_bound(rows)) is not None:
        reasons.append(f"the sensors say: {bound}")
    return "; ".join(reasons) or "no sensors and no null model: not known"
