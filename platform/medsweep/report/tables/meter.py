"""Which deliberate errors in the references each figure of quality sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from medsweep.digits import percent
from medsweep.metrics.meter import ANY_ERROR, REWRITE
from medsweep.report.numbers import percent_bounds
from medsweep.report.table import Column, ReportTable, TableCell, tabulate, text
from medsweep.report.tables.quality import NAMES
from medsweep.results.aggregate import Row, group_by_columns

CAPTION = (
    "Errors made on purpose in the references of this sweep, and the share of them that each "
    "figure sees: it falls below the limit that 95 % of harmless rewrites stay above. Below it the "
    "exact 95 % interval. The last column is the share of harmless rewrites taken for errors"
)

TOO_FEW = "too few harmless rewrites of these references to set a limit, or none of this kind"


def meter_table(detections: Sequence[Row]) -> ReportTable:
    """Return one row per figure and one column per kind of error.

    Args:
        detections: of `metrics.meter`, as plain data.
    """
    by_figure = {
        str(figure): {row["kind"]: row for row in rows}
        for (figure,), rows in group_by_columns(detections, "figure").items()
    }
    kinds = {str(row["kind"]): row["tried"] for row in detections}
    titles = {REWRITE: "False alarms", ANY_ERROR: "Any error"}
    columns = [
        Column("Figure", lambda figure: text(NAMES.get(figure, figure))),
        Column(
            "In short",
            lambda figure: replace(text(_verdict(by_figure[figure].get(ANY_ERROR))), kind="phrase"),
        ),
        *(
            _column(f"{titles.get(kind, kind)} ({tried})", kind, by_figure)
            for kind, tried in kinds.items()
        ),
    ]
    return tabulate(CAPTION, columns, by_figure)


def _column(title: str, kind: str, by_figure: dict[str, dict[str, Row]]) -> Column:
    return Column(title, lambda figure: _cell(by_figure[figure].get(kind)))


def _cell(row: Row | None) -> TableCell:
    if row is None or row["share"] is None:
        return TableCell("\N{EN DASH}", title=TOO_FEW, kind="number")
    return TableCell(
        percent(row["share"]), note=percent_bounds(row["low"], row["high"]), kind="number"
    )


def _verdict(row: Row | None) -> str | None:
    """Return what a figure sees of all errors, in words."""
    if row is None or row["share"] is None:
        return None
    if row["seen"] == 0:
        return "sees nothing"
    if row["low"] <= 0.05:
        return "sees no more than chance"
    return f"sees {percent(row['share'])} of the errors"
