"""What judges say of the answers, and how far they can be believed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from medsweep.report.table import Column, ReportTable, TableCell, tabulate, text
from medsweep.report.tables.human import TITLES, rating_cell

WITH_RATERS = "Krippendorff's alpha with raters"
BETWEEN = "Krippendorff's alpha between judges"

Figures = Mapping[str, Any]


@dataclass(frozen=True)
class _Line:
    """A row: what a judge says of a system, or an agreement.

    Attributes:
        judge: its name, or several.
        label: the system, or which agreement.
        axes: share of best ratings by axis, or alpha.
        passes: share of answers that pass.
        rank: place in the comparison of systems.
    """

    judge: str
    label: str
    axes: Mapping[str, Figures]
    passes: Figures = field(default_factory=dict)
    rank: Figures = field(default_factory=dict)


def judge_table(record: Figures) -> ReportTable:
    """Return each judge's ratings of each system and its agreement with raters and other judges.

    Args:
        record: of `judge.json`; empty without one, for a table without rows.
    """
    judges = record.get("judges", {})
    axes = dict.fromkeys(axis for summary in judges.values() for axis in summary["axes"])
    return tabulate(
        _caption(record) if judges else "",
        (
            Column("Judge", lambda line: text(line.judge)),
            Column("System", lambda line: text(line.label)),
            Column("Passes", lambda line: rating_cell(line.passes, "share")),
            Column("Preferred", lambda line: rating_cell(line.rank, "win_share")),
            *(_axis(name) for name in axes),
        ),
        list(_lines(judges, record.get("between_judges", ()))),
        labels=2,
    )


def _lines(judges: Figures, between: Any) -> Iterator[_Line]:
    for judge, summary in judges.items():
        comparison = summary["comparison"] or {"ranking": ()}
        ranks = {rank["system"]: rank for rank in comparison["ranking"]}
        for system, rated in summary["systems"].items():
            yield _Line(
                judge, system, rated, summary["passes"].get(system, {}), ranks.get(system, {})
            )
        yield _Line(judge, WITH_RATERS, summary["agreement"])
    for alike in between:
        yield _Line(", ".join(alike["judges"]), BETWEEN, alike["agreement"])


def _axis(name: str) -> Column:
    def cell(line: _Line) -> TableCell:
        alpha = line.label in (WITH_RATERS, BETWEEN)
        return rating_cell(line.axes.get(name, {}), "alpha" if alpha else "best")

    return Column(TITLES.get(name, name), cell)


def _caption(record: Figures) -> str:
    told = [_told(name, summary) for name, summary in record["judges"].items()]
    if "counted" in record:  # an earlier version did not say
        counted = record["counted"]
        told.append(
            "No judge counts for verified answers."
            if counted is None
            else f"For verified answers {counted} counts."
        )
    return (
        f"{' '.join(told)} Share of best ratings of blinded and shuffled answers, with its 95 % "
        "interval over questions. Passes: enough points, and no harm. Preferred: probability of "
        "being preferred to an average system; a choice counts only if it is the same in both "
        "orders"
    )


def _told(name: str, summary: Figures) -> str:
    votes, failed = summary["votes"], summary["failed"]
    return (
        f"{name} ({summary['standing']}) rated {summary['answers']} answers by the rubric "
        f"{summary['judge']['rubric']}{f', {failed} of {votes} votes failed' if failed else ''}."
    )
