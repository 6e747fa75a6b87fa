"""A configuration that could be taken, with what was measured of it over its repeats."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medsweep.decide.limits import USD_PER_1K
from medsweep.results.schema import QUALITIES

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Candidate:
    """One model on one hardware profile under one load.

    Attributes:
        model, variant, profile, load_point: which.
        basis: observed, emulated or predicted.
        rows: one a repeat.
    """

    model: str
    variant: str
    profile: str
    load_point: str
    basis: str
    rows: tuple[Row, ...]

    @property
    def configuration(self) -> tuple[str, str, str]:
        """Model, variant and profile: what is chosen between; the load comes with it."""
        return self.model, self.variant, self.profile

    @property
    def name(self) -> str:
        """`model@profile`, saying so where the base model answered."""
        base = " (base)" if self.variant == "base" else ""
        return f"{self.model}@{self.profile}{base}"

    def values(self, column: str) -> list[float]:
        """Return a column's value in each repeat that has one."""
        if column == USD_PER_1K:
            return [1000 * value for value in self.values("usd_per_answer")]
        return [float(row[column]) for row in self.rows if row.get(column) is not None]

    def mean(self, column: str) -> float | None:
        """Return a column's mean over repeats; None where no repeat has it."""
        values = self.values(column)
        return sum(values) / len(values) if values else None

    def standard_error(self, column: str) -> float | None:
        """Return the uncertainty of a column's mean; None where it cannot be told.

        Quality is asked of the same questions in every repeat, so its uncertainty is that over
        questions, from the bootstrap interval; everything else varies from repeat to repeat.
        """
        if column in QUALITIES:
            lows, highs = self.values(f"{column}_low"), self.values(f"{column}_high")
            if not lows or not highs:
                return None
            return (sum(highs) / len(highs) - sum(lows) / len(lows)) / (2 * 1.96)
        values = self.values(column)
        if len(values) < 2:
            return None
        middle = sum(values) / len(values)
        variance = sum((value - middle) ** 2 for value in values) / (len(values) - 1)
        return float((variance / len(values)) ** 0.5)


def candidates(rows: Iterable[Row]) -> list[Candidate]:
    """Return the configurations that answered, in the order of the rows.

    Args:
        rows: of `benchmark.parquet`; what failed or was refused is left out.
    """
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        if row["status"] == "ok" and row["load_point"] is not None:
            key = tuple(
                row[name] for name in ("model", "variant", "profile", "load_point", "basis")
            )
            groups.setdefault(key, []).append(row)
    return [
        Candidate(model, variant, profile, load_point, basis, tuple(group))
        for (model, variant, profile, load_point, basis), group in groups.items()
    ]


def counts_price(found: Sequence[Candidate]) -> bool:
    """Return whether all have a price: without one for some there is no saying what costs less."""
    return bool(found) and all(each.mean("usd_per_hour") is not None for each in found)


def best_trade_offs(found: Sequence[Candidate]) -> list[Candidate]:
    """Return what nothing beats in token F1, end-to-end time and, where it counts, price.

    Args:
        found: candidates of one basis.
    """
    lower = ["e2e_mean_s", *["usd_per_hour"] * counts_price(found)]
    return pareto_front(found, higher=["token_f1"], lower=lower)


def pareto_front(
    found: Sequence[Candidate], *, higher: Sequence[str], lower: Sequence[str]
) -> list[Candidate]:
    """Return the candidates that no other one beats in every respect.

    Args:
        found: to choose from; one that lacks a figure is left out.
        higher: columns of which more is better.
        lower: columns of which less is better.
    """
    scored = []
    for candidate in found:
        values = [candidate.mean(column) for column in (*higher, *lower)]
        if all(value is not None for value in values):
            signs = [1.0] * len(higher) + [-1.0] * len(lower)
            scored.append(
                (candidate, [s * v for s, v in zip(signs, values, strict=True) if v is not None])
            )
    return [
        candidate
        for candidate, mine in scored
        if not any(
            other != mine and all(a >= b for a, b in zip(other, mine, strict=True))
            for _, other in scored
        )
    ]
