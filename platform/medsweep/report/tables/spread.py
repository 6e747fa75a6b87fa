"""How much speed varies, and the smallest difference that could have been seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from medsweep.comparison.spread import Spread
from medsweep.digits import significant
from medsweep.report.numbers import MISSING
from medsweep.report.table import (
    Column,
    ReportTable,
    TableCell,
    count,
    load,
    tabulate,
    text,
)
from medsweep.report.tables.grouping import configuration_order
from medsweep.results.aggregate import Row, load_points

FIGURES = {"ttft_mean_s": "TTFT", "e2e_mean_s": "E2E"}

ONCE = "deployed once: `load.deployments: 3` or more tells"


def _percent(
    title: str, share: Callable[[Spread], float | None], missing: str, meaning: str
) -> Column:
    def shown(row: Spread) -> TableCell:
        value = share(row)
        if value is None:
            return TableCell(MISSING, title=missing, kind="number")
        return TableCell(f"{significant(100 * value, 2)} %", kind="number")

    return Column(title, shown, meaning)


COLUMNS = (
    Column("Model", lambda row: text(row.model)),
    Column("Profile", lambda row: text(row.profile)),
    Column("Load", lambda row: load(row.load_point)),
    Column("Variant", lambda row: text(row.variant)),
    Column("Basis", lambda row: text(row.basis)),
    Column("Figure", lambda row: text(FIGURES[row.figure])),
    Column("Deployments", lambda row: count(row.components.deployments)),
    Column("Repeats", lambda row: count(row.components.repeats)),
    _percent(
        "Between deployments",
        lambda row: row.components.deployment,
        "unknown: deployed once, or with one repeat each",
        "standard deviation over mean, without what repeats and requests cause",
    ),
    _percent(
        "Between repeats",
        lambda row: row.components.repeat,
        "unknown: no two repeats",
        "standard deviation over mean, without what requests cause; with one repeat for each "
        "deployment, of both together",
    ),
    _percent(
        "Between requests",
        lambda row: row.components.request,
        "unknown: the requests are not in this folder",
        "standard deviation over mean, within a repeat",
    ),
    _percent(
        "Smallest visible difference",
        lambda row: row.could_see,
        f"unknown: {ONCE}",
        "from a load point that varies as much: one test at 5 % finds it in 80 % of cases",
    ),
)


def spread_table(rows: Sequence[Row], spreads: Sequence[Spread]) -> ReportTable:
    """Return the table of variance components, one row per load point and figure.

    Args:
        rows: of `benchmark.parquet`.
        spreads: of their load points.
    """
    points = load_points(rows)
    ordered: list[Spread] = sorted(
        spreads,
        key=lambda row: (
            *configuration_order(row),
            points.index(row.load_point),
            row.variant,
            list(FIGURES).index(row.figure),
        ),
    )
    return tabulate(
        "How much speed varies, as shares of the mean, and the smallest difference that could have "
        "been seen. It is unknown where a cell was deployed once: a difference may then be one of "
        "deployments alone",
        COLUMNS,
        ordered,
        labels=3,
    )
