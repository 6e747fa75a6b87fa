"""What answers cost, in money and in energy, at the load point where each costs least."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from medsweep.digits import significant
from medsweep.report.numbers import share, share_spread
from medsweep.report.table import (
    Column,
    TableCell,
    TableRow,
    build,
    column,
    columns,
    fraction,
    interval,
    load,
    number,
)
from medsweep.report.tables.grouping import (
    busiest_point,
    configuration_order,
    interval_over_questions,
)
from medsweep.results.aggregate import Row, first, group_by_columns, headline_rows, mean

NO_PRICE = "no price for this profile, or measured on other hardware"


def _hourly(rows: Sequence[Row]) -> float | None:
    # The price of hardware that did not run says nothing about these answers.
    return first(rows, "usd_per_hour") if first(rows, "basis") == "observed" else None


def _price(rows: Sequence[Row]) -> str | None:
    if _hourly(rows) is None:
        return None
    source = first(rows, "price_source")
    date = first(rows, "price_date")
    return source if source is None or date is None else f"{source}, {date}"


def _verified_share(rows: Sequence[Row]) -> TableCell:
    verified = interval_over_questions(rows, "verified_share")
    if verified is None:
        return fraction(None, "no reference has quantities to verify answers by")
    by = first(rows, "verified_by")
    notes = (share_spread(verified), by and f"by {by}")
    return TableCell(share(verified), note="\n".join(filter(None, notes)), kind="number")


def _verified_price(rows: Sequence[Row]) -> TableCell:
    price = interval_over_questions(rows, "usd_per_verified_answer")
    if price is not None and price.low is not None and price.high is None:
        return replace(number(price.mean), note=f"at least {significant(price.low)}")
    return interval(price, "no price, or no verified answer")


@dataclass(frozen=True)
class CostRow(TableRow):
    """One configuration at the load point with the highest throughput."""

    caption = (
        "Cost at the load point with most answers per second. Prices apply to observed hardware "
        "only"
    )
    labels = 2

    model: str = column("Model")
    profile: str = column("Profile")
    basis: str = column("Basis")
    load_point: str = column("Load", show=load)
    usd_per_hour: float | None = column("USD per hour", _hourly, number, missing=NO_PRICE)
    price: str | None = column("Price from", _price, missing=NO_PRICE)
    requests_per_s: float = column("Requests (1/s)", show=number)
    usd_per_1k: float | None = column(
        "USD per 1,000 answers",
        lambda rows: mean(rows, "usd_per_1000_answers"),
        number,
        missing=NO_PRICE,
    )
    verified: Sequence[Row] = columns(
        Column("Verified answers", lambda row: _verified_share(row.verified)),
        Column("USD per verified answer", lambda row: _verified_price(row.verified)),
        value=lambda rows: rows,
    )
    energy_j_per_1k: float | None = column(
        "Energy per 1,000 answers (J)",
        lambda rows: mean(rows, "energy_j_per_1000_answers"),
        number,
        missing="no sensor, or measured on other hardware",
    )


def cost_table(rows: Sequence[Row]) -> list[CostRow]:
    """Return one row per configuration, cheapest answers first, those without a price last.

    Args:
        rows: of `benchmark.parquet`.
    """
    table = []
    for group in group_by_columns(headline_rows(rows), "model", "profile", "basis").values():
        point, rate = busiest_point(group)
        if rate is not None:
            busiest = [row for row in group if row["load_point"] == point]
            table.append(build(CostRow, busiest, requests_per_s=rate))
    return sorted(table, key=_order)


def _order(row: CostRow) -> tuple[object, ...]:
    basis, *configuration = configuration_order(row)
    return basis, float("inf") if row.usd_per_1k is None else row.usd_per_1k, *configuration
