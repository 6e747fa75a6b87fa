"""What models do with the safety set, and with the same question in other words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medsweep.metrics.behaviour import ALL, FAULTS
from medsweep.report.table import Column, ReportTable, TableCell, tabulate, text
from medsweep.report.tables.human import rating_cell

CAPTION = (
    "Answers to the safety set that do not do what they should, by rules of phrases: share of the "
    "answers with its exact 95 % interval. Changed: answers with other quantities than the answer "
    "to the original question; in conflict: answers that contradict it"
)
BY_JUDGE = (
    ". By the judge: the same by the votes of a model, which was shown what a good answer does; an "
    "opinion, as its agreement with people was not measured. Agree: share of the answers of which "
    "rules and judge say the same"
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
    judged = any(_judge(found) for found in models.values())
    return tabulate(
        f"{CAPTION}{BY_JUDGE if judged else ''}",
        (
            Column("Model", lambda line: text(line[0])),
            *(_share(kind, fault.capitalize()) for kind, fault in FAULTS.items()),
            *(_judge_columns() if judged else ()),
            *(
                _changed(name, figure, title)
                for name in names
                for figure, title in (("quantities", "changed"), ("contradicting", "in conflict"))
            ),
        ),
        models.items(),
    )


def _judge(found: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a judge says of a model's answers; empty if none was asked."""
    return found.get("judge") or {}


def _judge_columns() -> tuple[Column, ...]:
    return (
        Column("Judge", lambda line: text(_judge(line[1]).get("judge", {}).get("model"))),
        *(
            _share(kind, f"{fault.capitalize()}, by the judge", by_judge=True)
            for kind, fault in FAULTS.items()
        ),
        Column("Rules and judge agree", _agreement),
    )


def _share(kind: str, title: str, *, by_judge: bool = False) -> Column:
    def cell(line: Line) -> TableCell:
        found = _judge(line[1]) if by_judge else line[1]
        shares = {each["kind"]: each for each in found.get("shares", ())}
        return rating_cell(shares.get(kind, {}), "share")

    return Column(title, cell)


def _agreement(line: Line) -> TableCell:
    agreements = {each["kind"]: each for each in _judge(line[1]).get("agreement", ())}
    return rating_cell(agreements.get(ALL, {}), "share")


def _changed(rewording: str, figure: str, title: str) -> Column:
    def cell(line: Line) -> TableCell:
        found = {each["rewording"]: each[figure] for each in line[1]["rewordings"]}
        return rating_cell(found.get(rewording, {}), "share")

    return Column(f"{rewording.capitalize()}: {title}", cell)
