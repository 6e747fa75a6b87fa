"""Whether the machine drifted during a sweep: measurements in the order of their ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medsweep.comparison.batches import BatchDrift, batch_drift
from medsweep.metrics.significance import ALPHA, Drift, drift
from medsweep.results.aggregate import Row, average, values
from medsweep.results.reader import Results

LATENCY = "e2e_mean_s"


@dataclass(frozen=True)
class Trend:
    """How end-to-end time changed over a sweep.

    Attributes:
        name: name of the results.
        drift: drift of end-to-end time over that of the same load point; None under 5 measurements.
        batches: between batches of cells; None if there was only one.
    """

    name: str
    drift: Drift | None
    batches: BatchDrift | None = None

    @property
    def is_clear(self) -> bool:
        """Whether it is more than noise."""
        return self.drift is not None and self.drift.p_value <= ALPHA


def trend(results: Results) -> Trend:
    """Return the drift of results.

    Each measurement is divided by the mean of its own load point, so that their order does not
    matter; the shuffled order of a run spreads the repeats of a point. A point that was measured
    once is left out.

    Args:
        results: what was measured.
    """
    measurements: list[tuple[str, float]] = []
    for rows in results.by_load_point().values():
        measurements += _relative(rows)
    # By time alone: sorting equal times by value would create a trend.
    measurements.sort(key=lambda each: each[0])
    along = drift([value for _, value in measurements])
    return Trend(results.name, along, batch_drift(results.rows))


def _relative(rows: Sequence[Row]) -> list[tuple[str, float]]:
    known = [row for row in rows if row[LATENCY] and row["measured_at"]]
    if len(known) < 2:
        return []
    mean_s = average(values(known, LATENCY))
    return [(row["measured_at"], row[LATENCY] / mean_s) for row in known]
