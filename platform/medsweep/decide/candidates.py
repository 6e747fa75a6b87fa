"""Configurations to choose between, each with the measurements of its repeats."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import stdev

from medsweep.decide.limits import USD_PER_1K
from medsweep.metrics.pareto import pareto_front
from medsweep.results.aggregate import (
    BASES,
    Row,
    average,
    group_by_columns,
    headline_rows,
    independent_values,
    load_points,
    ok_rows,
    values,
)
from medsweep.results.schema import QUALITIES

# Where more fail, the mean of the answered requests says little of all.
_MOST_FAILED = 0.05

QUALITY = "token_f1"
LATENCY = "e2e_mean_s"
PRICES = (USD_PER_1K, "usd_per_answer", "usd_per_hour")


@dataclass(frozen=True)
class Candidate:
    """One model on one hardware profile under one load.

    Attributes:
        model, variant, profile, load_point: which.
        basis: observed, emulated or predicted.
        rows: one per repeat.
    """

    model: str
    variant: str
    profile: str
    load_point: str
    basis: str
    rows: tuple[Row, ...]

    @property
    def configuration(self) -> tuple[str, str, str]:
        """Model, variant and profile: what a recommendation chooses; the load is given."""
        return self.model, self.variant, self.profile

    @property
    def name(self) -> str:
        """`model@profile`, marked if the base model answered."""
        base = " (base)" if self.variant == "base" else ""
        return f"{self.model}@{self.profile}{base}"

    def values(self, column: str) -> list[float]:
        """Return a column's value in each repeat that has one.

        Only what was observed has a price: an emulated or predicted throughput is not the
        hardware's.
        """
        if column in PRICES and self.basis != "observed":
            return []
        if column == USD_PER_1K:
            return [1000 * price for price in self.values("usd_per_answer")]
        return [float(value) for value in values(self.rows, column)]

    def mean(self, column: str) -> float | None:
        """Return a column's mean over repeats; None if no repeat has it."""
        measured = self.values(column)
        return average(measured) if measured else None

    def speed(self, column: str) -> float | None:
        """Return the mean of a time or a rate; None also if the client, not the server, set it."""
        if self.client_limited or column in self.client_error_figures:
            return None
        return self.mean(column)

    def samples(self, column: str) -> list[float]:
        """Return a column's independent values: of deployments, or of the repeats of one."""
        rows = [
            {"deployment": row.get("deployment"), column: value}
            for row in self.rows
            for value in replace(self, rows=(row,)).values(column)
        ]
        return independent_values(rows, column)

    @property
    def failed_share(self) -> float:
        """Share of requests that failed, over all repeats; 0 where none were counted."""
        sent = sum(self.values("sent"))
        return sum(self.values("failed")) / sent if sent else 0.0

    @property
    def client_limited(self) -> bool:
        """Whether the client, not the server, may have set the figures of a repeat."""
        return any(row.get("client_limited") for row in self.rows)

    @property
    def client_error_figures(self) -> set[str]:
        """The columns of which more than a tenth is the client's own error in a repeat."""
        marked = values(self.rows, "client_error_figures")
        return {name for names in marked for name in names.split(", ")}

    def standard_error(self, column: str) -> float | None:
        """Return the standard error of a column's mean; None if it is unknown.

        Every repeat asks the same questions, so the error of a quality figure is that over
        questions, from its interval. All other figures vary between deployments, or between
        the repeats of a single one.
        """
        if column in QUALITIES:
            lows, highs = self.values(f"{column}_low"), self.values(f"{column}_high")
            if not lows or not highs:
                return None
            return (average(highs) - average(lows)) / (2 * 1.96)
        measured = self.samples(column)
        return stdev(measured) / len(measured) ** 0.5 if len(measured) > 1 else None


def candidates(rows: Iterable[Row]) -> list[Candidate]:
    """Return the configurations that answered, in the order of the rows.

    Args:
        rows: of `benchmark.parquet`; failed and refused rows are left out.
    """
    measured = [row for row in ok_rows(rows) if row["load_point"] is not None]
    identity = ("model", "variant", "profile", "load_point", "basis")
    return [
        Candidate(**{name: group[0][name] for name in identity}, rows=tuple(group))
        for group in group_by_columns(measured, *identity).values()
    ]


@dataclass(frozen=True)
class TradeOffs:
    """What nothing beats in token F1, end-to-end time and, if all of a basis have one, price.

    Attributes:
        load_point: what the times are of: the lightest load.
        best: the best configurations of each basis, from the highest quality to the lowest.
        priced: the bases whose prices were compared.
    """

    load_point: str
    best: dict[str, list[Candidate]]
    priced: frozenset[str]


def best_trade_offs(rows: Iterable[Row]) -> TradeOffs | None:
    """Return the best trade-offs of each basis; None if nothing was measured.

    Left out are configurations that were not measured at the lightest load point, lack a figure, or
    failed in more than 5 % of requests, and those whose mean time is not the server's: the client
    limited the load or caused more than a tenth of it.

    Args:
        rows: of `benchmark.parquet`. Base models count only where no adapter was measured.
    """
    measured = headline_rows(rows)
    lightest = next(iter(load_points(measured)), None)
    if lightest is None:
        return None
    comparable = [
        each
        for each in candidates(measured)
        if each.load_point == lightest
        and not each.client_limited
        and each.failed_share <= _MOST_FAILED
        and LATENCY not in each.client_error_figures
    ]
    best, priced = {}, set()
    for basis in BASES:
        choices = [each for each in comparable if each.basis == basis]
        signs = {QUALITY: 1, LATENCY: -1}
        # Without a price nothing can be called cheaper.
        if choices and all(each.mean("usd_per_hour") is not None for each in choices):
            signs["usd_per_hour"] = -1
            priced.add(basis)
        best[basis] = sorted(_front(choices, signs), key=lambda each: -(each.mean(QUALITY) or 0.0))
    return TradeOffs(lightest, best, frozenset(priced))


def _front(candidates: Sequence[Candidate], signs: Mapping[str, int]) -> list[Candidate]:
    """Return what nothing beats in the columns of `signs`, whose values are 1 where more is better.

    A candidate that lacks one of them is left out.
    """

    def gains(candidate: Candidate) -> list[float]:
        means = {column: candidate.mean(column) for column in signs}
        return [signs[column] * mean for column, mean in means.items() if mean is not None]

    return pareto_front([each for each in candidates if len(gains(each)) == len(signs)], gains)
