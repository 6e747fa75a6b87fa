"""Whether the machine drifted while a set was measured: visits in the order of their ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medsweep.metrics.significance import ALPHA, Drift, drift
from medsweep.results.aggregate import Row
from medsweep.results.reader import Results

FIGURE = "e2e_mean_s"


@dataclass(frozen=True)
class Trend:
    """How the time to answer moved over a set.

    Attributes:
        name: of the set.
        drift: of end-to-end time over that of the same load point; None under 5 visits.
    """

    name: str
    drift: Drift | None

    @property
    def is_clear(self) -> bool:
        """Whether it is more than noise."""
        return self.drift is not None and self.drift.p_value <= ALPHA


def trend(results: Results) -> Trend:
    """Return a set's drift.

    Each visit is divided by the mean of its own load point, so that what was visited when does not
    matter; the repeats of a point are spread over the run by its shuffled order. A point that was
    visited once says nothing and is left out.

    Args:
        results: the set.
    """
    visits: list[tuple[str, float]] = []
    for rows in results.by_load_point().values():
        visits += _relative(rows)
    # By time alone: sorting by value too where times are equal would make a trend of nothing.
    visits.sort(key=lambda visit: visit[0])
    return Trend(results.name, drift([value for _, value in visits]))


def _relative(rows: Sequence[Row]) -> list[tuple[str, float]]:
    known = [row for row in rows if row[FIGURE] and row["measured_at"]]
    if len(known) < 2:
        return []
    mean = sum(row[FIGURE] for row in known) / len(known)
    return [(row["measured_at"], row[FIGURE] / mean) for row in known]
