"""What was measured beside what the roofline of the hardware allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medsweep.report.tables.rows import Row, first, group_by, load_points, mean, ok_rows


@dataclass(frozen=True)
class RooflineRow:
    """One load point of one observed configuration; all variants and repeats together.

    Attributes:
        model, profile, load_point: which.
        tpot_s: measured mean, in seconds.
        predicted_tpot_s: by the roofline, in seconds.
        overhead_tpot_s: of a null model behind the same server; None where not measured.
        bound: what the roofline says takes longest.
    """

    model: str
    profile: str
    load_point: str
    tpot_s: float
    predicted_tpot_s: float
    overhead_tpot_s: float | None
    bound: str

    @property
    def factor(self) -> float:
        """How many times longer than the roofline allows."""
        return self.tpot_s / self.predicted_tpot_s


def roofline_table(rows: Sequence[Row]) -> list[RooflineRow]:
    """Return one row a load point that has both figures.

    Args:
        rows: of `benchmark.parquet`.
    """
    table = []
    known = [row for row in ok_rows(rows) if row.get("predicted_tpot_s") is not None]
    for (model, profile), cell in group_by(
        known, lambda row: (row["model"], row["profile"])
    ).items():
        for point in load_points(cell):
            group = [row for row in cell if row["load_point"] == point]
            measured, predicted = mean(group, "tpot_mean_s"), mean(group, "predicted_tpot_s")
            if measured is not None and predicted:
                table.append(
                    RooflineRow(
                        model,
                        profile,
                        point,
                        measured,
                        predicted,
                        mean(group, "overhead_tpot_s"),
                        str(first(group, "predicted_bound")),
                    )
                )
    return table
