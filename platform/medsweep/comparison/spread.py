"""How much speed varies between deployments, between repeats and between requests."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from medsweep.metrics.nested import VarianceComponents, variance_components
from medsweep.results.aggregate import Row, average, by_deployment, group_by_columns, ok_rows
from medsweep.results.reader import Results

FIGURES = {"ttft_mean_s": "ttft_s", "e2e_mean_s": "e2e_s"}
"""Column of `benchmark.parquet`, and of `requests.parquet`."""

_POINT = ("key", "variant", "load_point")
_COLUMNS = ("variant", "load_point", "repeat", "phase", "status", *FIGURES.values())


@dataclass(frozen=True)
class Spread:
    """How one figure of one load point varies.

    Attributes:
        subject: model@profile, variant and load point.
        figure: column of `benchmark.parquet`.
        components: standard deviations as shares of the mean.
    """

    subject: str
    figure: str
    components: VarianceComponents


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
                model, profile = rows[0]["model"], rows[0]["profile"]
                name = f"{model}@{profile} {rows[0]['variant']} {rows[0]['load_point']}"
                table.append(Spread(name, figure, found))
    return table


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
