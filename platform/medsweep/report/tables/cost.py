"""What answers cost, in money and in energy, at the load point where each costs least."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medsweep.report.tables.grouping import busiest_point, headline_rows, model_order, profile_order
from medsweep.results.aggregate import Row, basis_order, first, group_by, mean


@dataclass(frozen=True)
class CostRow:
    """One configuration at the load point with most answers a second.

    Attributes:
        model, profile, basis, load_point: which.
        usd_per_hour: price of the profile; None without one.
        price: whose price it is and of which day; None likewise.
        requests_per_s: answers a second there.
        usd_per_1k: of 1,000 answers; None unless observed and priced.
        usd_per_1k_correct: of 1,000 answers with a token F1 of at least 0.5; None likewise.
        energy_j_per_1k: energy of 1,000 answers, in joules; None without sensors.
    """

    model: str
    profile: str
    basis: str
    load_point: str
    usd_per_hour: float | None
    price: str | None
    requests_per_s: float
    usd_per_1k: float | None
    usd_per_1k_correct: float | None
    energy_j_per_1k: float | None


def cost_table(rows: Sequence[Row]) -> list[CostRow]:
    """Return one row a configuration, cheapest answers first, those without a price last.

    Args:
        rows: of `benchmark.parquet`.
    """
    groups = group_by(headline_rows(rows), lambda row: (row["model"], row["profile"], row["basis"]))
    found = [row for group in groups.values() if (row := _row(group)) is not None]
    return sorted(
        found,
        key=lambda row: (
            basis_order(row.basis),
            float("inf") if row.usd_per_1k is None else row.usd_per_1k,
            model_order(row.model),
            profile_order(row.profile),
        ),
    )


def _row(group: Sequence[Row]) -> CostRow | None:
    busiest = busiest_point(group)
    if busiest is None:
        return None
    point, rate = busiest
    there = [row for row in group if row["load_point"] == point]
    source, day = first(group, "price_source"), first(group, "price_date")
    return CostRow(
        model=first(group, "model"),
        profile=first(group, "profile"),
        basis=first(group, "basis"),
        load_point=point,
        usd_per_hour=first(group, "usd_per_hour"),
        price=None if source is None else f"{source}, {day}",
        requests_per_s=rate,
        usd_per_1k=mean(there, "usd_per_1000_answers"),
        usd_per_1k_correct=mean(there, "usd_per_1000_correct_answers"),
        energy_j_per_1k=mean(there, "energy_j_per_1000_answers"),
    )
