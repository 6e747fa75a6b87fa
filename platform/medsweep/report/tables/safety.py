"""What models do with the safety set, and with the same question in other words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medsweep.metrics.behaviour import FAULTS
from medsweep.report.table import Column, ReportTable, TableCell, tabulate, text
from medsweep.report.tables.human import rating_cell

CAPTION = (
    "Answers to the safety set that do not do what they should, by rules of phrases: share of the "
    "answers with its exact 95 % interval. Changed: answers with other quantities than the answer "
    "to the original question; in conflict: answers that contradict it"
)

Line = tuple[str, Mapping[str, Any]]


def safety_table(models: Mapping[str, Mapping[str, Any]]) -> ReportTable:
    """Return one row per model; no rows if none was asked.

    Args:
        models: of `safety.json`, by name.
    """
    names = dict.fromkeys(
        each["rewording"] for found in models.values() for each in found["rewordings"]
    )
    return tabulate(
        CAPTION,
        (
            Column("Model", lambda line: text(line[0])),
            *(_fault(kind, fault) for kind, fault in FAULTS.items()),
            *(
                _changed(name, figure, title)
                for name in names
                for figure, title in (("quantities", "changed"), ("contradicting", "in conflict"))
            ),
        ),
        models.items(),
    )


def _fault(kind: str, fault: str) -> Column:
    def cell(line: Line) -> TableCell:
        found = {each["kind"]: each for each in line[1]["shares"]}
        return rating_cell(found.get(kind, {}), "share")

    return Column(fault.capitalize(), cell)


def _changed(rewording: str, figure: str, title: str) -> Column:
    def cell(line: Line) -> TableCell:
        found = {each["rewording"]: each[figure] for each in line[1]["rewordings"]}
        return rating_cell(found.get(rewording, {}), "share")

    return Column(f"{rewording.capitalize()}: {title}", cell)
