"""What a judge says of the answers, and how far it can be believed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medsweep.report.table import Column, ReportTable, TableCell, tabulate, text
from medsweep.report.tables.human import TITLES, rating_cell

WITH_RATERS = "Krippendorff's alpha with raters"


def judge_table(judged: Mapping[str, Any]) -> ReportTable:
    """Return the judge's ratings of each system and its agreement with raters; no rows without any.

    Args:
        judged: of `judge.json`; empty without one.
    """
    lines: list[tuple[str, Mapping[str, Any], Mapping[str, Any], Mapping[str, Any]]] = []
    if judged:
        comparison = judged["comparison"] or {"ranking": ()}
        ranks = {rank["system"]: rank for rank in comparison["ranking"]}
        lines = [
            (name, judged["passes"].get(name, {}), ranks.get(name, {}), rated)
            for name, rated in judged["systems"].items()
        ]
        lines.append((WITH_RATERS, {}, {}, judged["agreement"]))
    return tabulate(
        _caption(judged) if judged else "",
        (
            Column("System", lambda line: text(line[0])),
            Column("Passes", lambda line: rating_cell(line[1], "share")),
            Column("Preferred", lambda line: rating_cell(line[2], "win_share")),
            *(_axis(name) for name in judged.get("axes", ())),
        ),
        lines,
    )


def _axis(name: str) -> Column:
    def cell(line: tuple[str, object, object, Mapping[str, Any]]) -> TableCell:
        return rating_cell(line[3].get(name, {}), "alpha" if line[0] == WITH_RATERS else "best")

    return Column(TITLES.get(name, name), cell)


def _caption(judged: Mapping[str, Any]) -> str:
    judge, standing = judged["judge"], judged["standing"]
    failed = f", {judged['failed']} of {judged['votes']} votes failed" if judged["failed"] else ""
    return (
        f"{standing[0].upper()}{standing[1:]}. {judge['model']} rated {judged['answers']} answers, "
        f"blinded and shuffled, by the rubric {judge['rubric']}{failed}: share of best ratings "
        "with its 95 % interval over questions. Passes: enough points, and no harm. Preferred: "
        "probability of being preferred to an average system; a choice counts only if it is the "
        "same in both orders"
    )
