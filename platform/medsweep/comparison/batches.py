"""Whether the machine drifted between batches of cells.

Repeats are shuffled within a batch. Cells of different batches were measured at different times, so
that a drift of the machine looks like a difference between them. What tells it apart is what was
measured in every batch: the null model behind the same server, and cells that were measured in
several batches.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from medsweep.digits import p_relation, percent
from medsweep.metrics.significance import ALPHA
from medsweep.results.aggregate import Row, group_by, group_by_columns, ok_rows

_PERMUTATIONS = 2_000


@dataclass(frozen=True)
class BatchDrift:
    """How batches of cells differ in what was measured in all of them.

    Attributes:
        batches: number of batches.
        change: slowest batch over fastest, minus 1; None if nothing was measured in several.
        p_value: of batches that do not differ; None if there are too few cells to tell.
    """

    batches: int
    change: float | None
    p_value: float | None

    @property
    def is_clear(self) -> bool:
        """Whether it is more than noise."""
        return self.p_value is not None and self.p_value <= ALPHA

    @property
    def sentence(self) -> str:
        """What it means for a comparison of cells of different batches."""
        if self.change is None:
            how = "not known: nothing was measured in several"
        elif self.p_value is None:
            how = f"{percent(self.change, 1)}, too few cells to tell it from noise"
        elif self.is_clear:
            how = (
                f"{percent(self.change, 1)} ({p_relation(self.p_value)}): times of cells of "
                "different batches differ by it too"
            )
        else:
            how = f"{percent(self.change, 1)}, not beyond noise ({p_relation(self.p_value)})"
        return f"drift between {self.batches} batches of cells: {how}"


@dataclass(frozen=True)
class _Value:
    stratum: object
    batch: str
    log: float


def batch_drift(rows: Iterable[Row]) -> BatchDrift | None:
    """Return how batches differ; None if there is only one.

    By end-to-end times of cells that were measured in several batches, else by the null model's
    time to first token. A permutation test: were there no drift, it would not matter in which batch
    a value was measured. One value per cell and batch, since those of one deployment are alike.

    Args:
        rows: of `benchmark.parquet`.
    """
    measured = [row for row in ok_rows(rows) if row.get("batch") is not None]
    batches = {row["batch"] for row in measured}
    if len(batches) < 2:
        return None
    values = _of_cells(measured) or _of_null_model(measured)
    if not values:
        return BatchDrift(len(batches), None, None)
    labels = np.array([each.batch for each in values])
    logs = np.array([each.log for each in values])
    means = [logs[labels == batch].mean() for batch in set(labels)]
    change = math.exp(max(means) - min(means)) - 1
    return BatchDrift(len(batches), change, _permutation_p(values))


def _of_cells(rows: Sequence[Row]) -> list[_Value]:
    """Return the times of cells in several batches, over those of the same load point."""
    values = []
    for (key,), cell in group_by_columns(rows, "key").items():
        logs: dict[str, list[float]] = {}
        for point in group_by_columns(cell, "variant", "load_point").values():
            known = [row for row in point if row["e2e_mean_s"]]
            if len({row["batch"] for row in known}) > 1:
                centre = fmean(math.log(row["e2e_mean_s"]) for row in known)
                for row in known:
                    logs.setdefault(row["batch"], []).append(math.log(row["e2e_mean_s"]) - centre)
        values += [_Value(key, batch, fmean(each)) for batch, each in logs.items()]
    return values


def _of_null_model(rows: Sequence[Row]) -> list[_Value]:
    """Return the null model's TTFT in each cell, over that of the same concurrency."""
    known = [row for row in rows if row.get("overhead_ttft_s")]
    logs: dict[tuple[str, str], list[float]] = {}
    for same in group_by(known, lambda row: row["overhead_concurrency"]).values():
        # It is measured once per cell, concurrency and batch, and stands in several rows.
        once = {(row["key"], row["batch"]): math.log(row["overhead_ttft_s"]) for row in same}
        if len({batch for _, batch in once}) > 1:
            centre = fmean(once.values())
            for place, log in once.items():
                logs.setdefault(place, []).append(log - centre)
    return [_Value(None, batch, fmean(each)) for (_, batch), each in logs.items()]


def _permutation_p(values: Sequence[_Value]) -> float | None:
    """Return the p-value of batches that do not differ, by the variance of their means.

    Batches are permuted among values of one stratum. None if even the most extreme order is not
    rare enough.
    """
    strata = [
        [each for each in values if each.stratum == stratum]
        for stratum in dict.fromkeys(each.stratum for each in values)
    ]
    orders = 1.0
    for stratum in strata:
        sizes = Counter(each.batch for each in stratum).values()
        orders *= math.factorial(len(stratum)) / math.prod(map(math.factorial, sizes))
    totals = Counter(each.batch for each in values)
    # Batches of equal size can be swapped, which gives the same variance once more.
    alike = math.prod(math.factorial(count) for count in Counter(totals.values()).values())
    if min(1.0, alike / orders) > ALPHA:
        return None
    names = sorted(totals)
    counts = np.array([totals[name] for name in names])
    draws, rng = [], np.random.default_rng(0)
    logs = np.array([each.log for stratum in strata for each in stratum])
    for stratum in strata:
        labels = np.array([names.index(each.batch) for each in stratum])
        drawn = rng.permuted(np.tile(labels, (_PERMUTATIONS, 1)), axis=1)
        draws.append(np.vstack([labels, drawn]))
    orders_of = np.hstack(draws)
    spread = np.zeros(len(orders_of))
    for place, count in enumerate(counts):
        spread += np.where(orders_of == place, logs, 0.0).sum(axis=1) ** 2 / count
    return float((spread >= spread[0] * (1 - 1e-9)).mean())
