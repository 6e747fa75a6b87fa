"""How much speed varies between deployments, between repeats and between requests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from medsweep.loadgen.spec import load_in_words
from medsweep.metrics.nested import VarianceComponents, variance_components
from medsweep.metrics.power import smallest_visible
from medsweep.metrics.significance import ALPHA
from medsweep.results.aggregate import Row, average, by_deployment, group_by_columns, ok_rows
from medsweep.results.reader import Results

FIGURES = {"ttft_mean_s": "ttft_s", "e2e_mean_s": "e2e_s"}
"""Column of `benchmark.parquet`, and of `requests.parquet`."""

_POINT = ("key", "variant", "load_point")
_IDENTITY = ("model", "profile", "variant", "load_point", "basis")
_COLUMNS = ("variant", "load_point", "repeat", "phase", "status", *FIGURES.values())


@dataclass(frozen=True)
class Spread:
    """How one figure of one load point varies.

    Attributes:
        subject: model@profile, variant and load point.
        figure: column of `benchmark.parquet`.
        components: standard deviations as shares of the mean.
        model, profile, variant, load_point, basis: of the load point.
        could_see: the smallest difference from a load point that varies as much, as a share of the
            mean, that one test finds in 80 % of cases; None where the cell was deployed once, so
            that the spread between deployments is unknown.
    """

    subject: str
    figure: str
    components: VarianceComponents
    model: str
    profile: str
    variant: str
    load_point: str
    basis: str
    could_see: float | None


def spreads(results: Results) -> list[Spread]:
    """Return the spread of each load point with at least two repeats.

    Args:
        results: a set; the spread between requests is None without its `requests.parquet`.
    """
    requests = group_by_columns(results.requests(_COLUMNS), *_POINT)
    table = []
    for point, rows in group_by_columns(ok_rows(results.rows), *_POINT).items():
        for figure, column in FIGURES.items():
            deviation, count = _within_repeats(requests.get(point, ()), column)
            found = variance_components(by_deployment(rows, figure), deviation, count)
            if found is not None:
                point_of = {name: rows[0][name] for name in _IDENTITY}
                name = "{model}@{profile} {variant} at ".format(**point_of)
                name += load_in_words(point_of["load_point"])
                visible = _could_see(by_deployment(rows, figure))
                table.append(Spread(name, figure, found, **point_of, could_see=visible))
    return table


def _could_see(deployments: Sequence[Sequence[float]]) -> float | None:
    """Return the smallest visible difference between two such load points, over the mean."""
    if len(deployments) < 2:
        return None
    means = [average(each) for each in deployments]
    error = float(np.std(means, ddof=1)) * (2 / len(means)) ** 0.5
    return smallest_visible(error, 2 * (len(means) - 1), ALPHA) / average(means)


def _within_repeats(requests: Iterable[Row], column: str) -> tuple[float | None, float]:
    """Return the standard deviation between requests of one repeat, and how many there are."""
    answered = [
        row
        for row in requests
        if row["phase"] == "measure" and row["status"] == "ok" and row[column] is not None
    ]
    repeats = [
        [row[column] for row in rows] for rows in group_by_columns(answered, "repeat").values()
    ]
    variances = [float(np.var(each, ddof=1)) for each in repeats if len(each) > 1]
    if not variances:
        return None, 1.0
    return average(variances) ** 0.5, average([len(each) for each in repeats])
