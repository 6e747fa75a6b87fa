"""What disagrees: the paper's figures beside ours, from the tables' figures to their texts."""

from __future__ import annotations

from collections.abc import Sequence

from medsweep.report.numbers import MISSING, significant
from medsweep.report.paper import ResponseTimeRange
from medsweep.report.tables import PaperCell, PaperComparison, PaperFigure, PaperRow
from medsweep.report.tables.paper_table import PAPER
from medsweep.report.view import Cell, View, headings, interval, number, prose, text, texts


def paper_cells_view(table: Sequence[PaperCell]) -> View:
    """Return every cell beside the paper's times."""
    return View(
        "Response time of every cell at its lightest load point beside the paper's, and the likely "
        "reason of the difference",
        headings(
            "Model",
            "Profile",
            "Load point",
            "Basis",
            "In the paper's Table 3",
            "Ours (s)",
            "Paper's Table 4 (s)",
            "Paper over ours",
            "Paper's text",
            "Likely reason",
        ),
        tuple(
            (
                Cell(row.model, note=_stand_in(row.stands_in_for)),
                text(row.profile),
                text(row.load_point),
                text(row.basis),
                Cell("yes" if row.ran else "no"),
                interval(row.ours),
                Cell(f"{row.table_4_s:.2f}", kind="number"),
                number(row.factor),
                texts(map(_range, row.said), "the text gives no time for it"),
                prose(row.reason),
            )
            for row in table
        ),
        labels=2,
    )


def paper_figures_view(table: Sequence[PaperFigure]) -> View:
    """Return every figure of Table 4 beside ours, with why the two need not agree."""
    return View(
        "Figure by figure: ours, the paper's Table 4, and why the two need not agree",
        headings("Model", "Basis", "Figure", "Ours", "Paper", "Why they need not agree"),
        tuple(
            (
                Cell(row.model, note=_stand_in(row.stands_in_for)),
                text(row.basis),
                text(row.figure),
                number(row.ours),
                Cell(f"{row.paper:g}", kind="number"),
                prose(row.why),
            )
            for row in table
        ),
    )


def _range(said: ResponseTimeRange) -> str:
    return f"{said.low_s:g} to {said.high_s:g} s ({said.subject})"


def _stand_in(model: str | None) -> str:
    return f"tiny stand-in with the architecture of {model}" if model else ""


def paper_view(table: PaperComparison) -> View:
    """Return the paper's table 4 with ours below each of its rows."""
    return View(
        "The paper's table 4, and our own figures under the name of the model that gave them",
        headings(
            "Model",
            "Source",
            "Exact match (%)",
            "n-gram match (%)",
            "BLEU, best answer",
            "ROUGE, best answer",
            "F1, best answer",
            "Response time (s)",
        ),
        tuple(_paper_row(row) for row in table.rows),
    )


def _paper_row(row: PaperRow) -> tuple[Cell, ...]:
    paper = row.source == PAPER
    missing = "not in the paper" if paper else "not graded"
    low, high = row.response_low_s, row.response_high_s
    time = number(low)
    if low is not None and high is not None and low != high:
        time = Cell(f"{significant(low)} to {significant(high)}", kind="number")
    elif paper and low is not None:
        time = Cell(f"{low:.2f}", kind="number")
    return (
        Cell(row.model, note=_stand_in(row.stands_in_for)),
        text(row.source),
        *(
            Cell(MISSING, title=missing, kind="number")
            if value is None
            else Cell(_figure(value, row, percent=percent), kind="number")
            for value, percent in (
                (row.exact_match_percent, True),
                (row.ngram_match_percent, True),
                (row.bleu_max, False),
                (row.rouge_max, False),
                (row.f1_max, False),
            )
        ),
        time,
    )


def _figure(value: float, row: PaperRow, *, percent: bool) -> str:
    """Return one of our figures, or one of the paper's with its own decimals."""
    if row.source != PAPER:
        return f"{value:.1f}" if percent else f"{value:.3f}"
    return f"{value:g}" if percent or value != round(value, 2) else f"{value:.2f}"
