"""Configurations to choose between, each with the measurements of its repeats."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import stdev

from medsweep.decide.limits import USD_PER_1K
from medsweep.metrics.pareto import pareto_front
from medsweep.results.aggregate import Row, average, group_by_columns, ok_rows, values
from medsweep.results.schema import QUALITIES

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

    @property
    def failed_share(self) -> float:
        """Share of requests that failed, over all repeats; 0 where none were counted."""
        sent = sum(self.values("sent"))
        return sum(self.values("failed")) / sent if sent else 0.0

    @property
    def client_limited(self) -> bool:
        """Whether the client, not the server, may have set the figures of a repeat."""
        return any(row.get("client_limited") for row in self.rows)

    def standard_error(self, column: str) -> float | None:
        """Return the standard error of a column's mean; None if it is unknown.

        Every repeat asks the same questions, so the error of a quality figure is that over
        questions, from its interval. All other figures vary between repeats.
        """
        if column in QUALITIES:
            lows, highs = self.values(f"{column}_low"), self.values(f"{column}_high")
            if not lows or not highs:
                return None
            return (average(highs) - average(lows)) / (2 * 1.96)
        measured = self.values(column)
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


def all_priced(candidates: Sequence[Candidate]) -> bool:
    """Return whether every candidate has a price, without which none can be called cheaper."""
    return bool(candidates) and all(each.mean("usd_per_hour") is not None for each in candidates)


def best_trade_offs(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return what nothing beats in token F1, end-to-end time and, if all have one, price.

    Args:
        candidates: of one basis; one that lacks a figure is left out.
    """
    signs = {"token_f1": 1, "e2e_mean_s": -1}
    if all_priced(candidates):
        signs["usd_per_hour"] = -1

    def gains(candidate: Candidate) -> list[float]:
        means = {column: candidate.mean(column) for column in signs}
        return [signs[column] * mean for column, mean in means.items() if mean is not None]

    complete = [each for each in candidates if len(gains(each)) == len(signs)]
    return pareto_front(complete, gains)
