"""What was measured beside what the roofline of the hardware allows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from medsweep.report.tables.grouping import load_points
from medsweep.results.aggregate import Row, first, group_by, mean, ok_rows


@dataclass(frozen=True)
class RooflineRow:
    """One load point of one observed configuration; all variants and repeats together.

    Attributes:
        model, profile, load_point: which.
        tpot_s: measured mean, in seconds.
        predicted_tpot_s: by the roofline, in seconds.
        overhead_tpot_s: of a null model behind the same server; None where not measured.
        bound: what the roofline says takes longest.
        measured_bound: what the sensors say bound most repeats; None without sensors.
    """

    model: str
    profile: str
    load_point: str
    tpot_s: float
    predicted_tpot_s: float
    overhead_tpot_s: float | None
    bound: str
    measured_bound: str | None

    @property
    def factor(self) -> float:
        """How many times longer than the roofline allows."""
        return self.tpot_s / self.predicted_tpot_s

    @property
    def reason(self) -> str:
        """Why the two differ, as far as our own figures say."""
        said = []
        if self.factor < 1:
            said.append(
                "faster than the bound: the roofline's figures of this machine were measured while "
                "it was busier, or what is read again stays in the cache"
            )
        if self.overhead_tpot_s is not None:
            share = self.overhead_tpot_s / self.tpot_s
            said.append(f"{share:.0%} of the time is the server's own")
        if self.measured_bound is not None:
            said.append(f"the sensors say: {self.measured_bound}")
        return "; ".join(said) or "no sensors and no null model: not known"


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
                        _most_often([row["bound"] for row in group if row.get("bound")]),
                    )
                )
    return table


def _most_often(values: Sequence[str]) -> str | None:
    return Counter(values).most_common(1)[0][0] if values else None
