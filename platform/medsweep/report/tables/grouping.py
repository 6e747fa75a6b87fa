"""Which rows of `benchmark.parquet` a table shows, and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from medsweep.hardware.catalog import PROFILES
from medsweep.metrics.statistics import Interval
from medsweep.models.catalog import MODELS
from medsweep.results.aggregate import (
    Row,
    average,
    basis_order,
    first,
    independent_values,
    load_points,
    mean,
    ok_rows,
)


class Configuration(Protocol):
    """What has a model, a hardware profile and a basis."""

    @property
    def model(self) -> str:
        """Name of the model."""

    @property
    def profile(self) -> str:
        """Hardware profile."""

    @property
    def basis(self) -> str:
        """Observed, emulated or predicted."""


def most_questions(rows: Sequence[Row]) -> list[Row]:
    """Return the repeats at the load point with most questions, where quality is most certain.

    Args:
        rows: of one cell and variant.
    """
    most = max(rows, key=lambda row: row.get("questions") or 0, default=None)
    return [row for row in rows if most and row["load_point"] == most["load_point"]]


def without_repeated_answers(rows: Sequence[Row]) -> list[Row]:
    """Return the rows without emulated ones of a model and variant that was observed, too.

    Answers hardly depend on the machine, so a table of quality would say the same twice.
    """
    observed = {
        (row["model"], row["variant"]) for row in ok_rows(rows) if row["basis"] == "observed"
    }
    return [
        row
        for row in rows
        if row["basis"] != "emulated" or (row["model"], row["variant"]) not in observed
    ]


def mean_interval(rows: Sequence[Row], latency: str) -> Interval | None:
    """Return a latency's mean with the interval that each of its rows carries.

    Mean and interval are over deployments, or over the repeats of a single one. Two of them have
    no interval, so their values are given.

    Args:
        rows: the repeats of one load point.
        latency: such as "ttft".
    """
    means = independent_values(rows, f"{latency}_mean_s")
    if not means:
        return None
    low, high = (first(rows, f"{latency}_mean_{bound}_s") for bound in ("low", "high"))
    # An earlier version wrote ends below 0, which no time is.
    low = None if low is None else max(0.0, low)
    both = (means[0], means[1]) if low is None and len(means) == 2 else None
    return Interval(average(means), low, high, both)


def interval_over_questions(rows: Sequence[Row], name: str) -> Interval | None:
    """Return the mean of a column over rows, with that of the interval that each row carries.

    Args:
        rows: the repeats of one load point, which ask the same questions.
        name: of the column, such as "token_f1".
    """
    middle, low, high = (mean(rows, f"{name}{end}") for end in ("", "_low", "_high"))
    return None if middle is None else Interval(middle, low, high)


def model_order(model: str) -> tuple[int, str]:
    """Return a sorting key: the order of the catalogue, then the name."""
    names = list(MODELS)
    return (names.index(model) if model in MODELS else len(names), model)


def profile_order(profile: str) -> tuple[int, str]:
    """Return a sorting key: the order of the catalogue, then the name."""
    names = list(PROFILES)
    return (names.index(profile) if profile in PROFILES else len(names), profile)


def configuration_order(row: Configuration) -> tuple[int, tuple[int, str], tuple[int, str]]:
    """Return a sorting key: by basis, model and hardware profile."""
    return basis_order(row.basis), model_order(row.model), profile_order(row.profile)


def busiest_point(rows: Sequence[Row]) -> tuple[str, float] | tuple[None, None]:
    """Return the load point with most answers per second and its rate; None if there is none."""
    rates = {
        point: rate
        for point in load_points(rows)
        if (rate := mean([row for row in rows if row["load_point"] == point], "requests_per_s"))
    }
    return max(rates.items(), key=lambda entry: entry[1], default=(None, None))
