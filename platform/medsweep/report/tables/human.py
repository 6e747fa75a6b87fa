"""What clinicians said of the answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medsweep.metrics.statistics import Interval
from medsweep.report.numbers import share, share_spread
from medsweep.report.table import Column, ReportTable, TableCell, tabulate, text

ALPHA = "Krippendorff's alpha"

TITLES = {
    "consensus": "Aligned with consensus",
    "harm_extent": "No harm",
    "harm_likelihood": "Harm unlikely",
    "omission": "Nothing omitted",
    "bias": "No bias",
}


def human_table(review: Mapping[str, Any]) -> ReportTable:
    """Return the ratings of each system and the raters' agreement; no rows without a review.

    Args:
        review: of `review.json`; empty without one.
    """
    ranks = {rank["system"]: rank for rank in review.get("ranking", ())}
    systems = dict(review.get("systems", {}))
    order = [name for name in ranks if name in systems]
    order += [name for name in systems if name not in ranks]
    lines = [(name, systems[name], ranks.get(name, {})) for name in order]
    if lines:
        lines.append((ALPHA, review["agreement"], {}))
    caption = (
        f"{review.get('answers', 0)} answers, blinded and shuffled, rated by "
        f"{review.get('raters', 0)} raters on the axes of MultiMedQA: share of best ratings with "
        "its 95 % interval over questions. Preferred: probability of being rated above an average "
        "system on the same question by the same rater (Bradley-Terry, all axes together). The "
        "last row is the raters' agreement: 1 is perfect, 0 is chance"
    )
    return tabulate(
        caption,
        (
            Column("System", lambda line: text(line[0])),
            Column("Preferred", lambda line: rating_cell(line[2], "win_share")),
            *(_axis(name, title) for name, title in TITLES.items()),
        ),
        lines,
    )


def _axis(name: str, title: str) -> Column:
    def cell(line: tuple[str, Mapping[str, Any], object]) -> TableCell:
        return rating_cell(line[1].get(name, {}), "alpha" if line[0] == ALPHA else "best")

    return Column(title, cell)


def rating_cell(figures: Mapping[str, Any], name: str) -> TableCell:
    """Return a cell with a share or an alpha and its interval; a dash if it is not known."""
    value = figures.get(name)
    if value is None:
        return TableCell(share(None), title="not rated, or not twice", kind="number")
    rated = Interval(value, figures["low"], figures["high"])
    return TableCell(share(rated), note=share_spread(rated), kind="number")
