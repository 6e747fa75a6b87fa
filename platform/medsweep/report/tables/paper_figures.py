"""The paper's Table 4 and ours, figure by figure, and why the two may differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from medsweep.report.paper import COUNTS_NGRAMS
from medsweep.report.table import TableCell, TableRow, column, hidden, number, prose
from medsweep.report.tables.paper_table import PAPER, PaperRow, named, paper_table_4
from medsweep.results.aggregate import Row


@dataclass(frozen=True)
class PaperFigure(TableRow):
    """One figure of one model, ours and the paper's."""

    caption = "Figure by figure: ours, the paper's Table 4, and why the two may differ"

    model: str = column("Model", cell=named)
    basis: str = column("Basis")
    stands_in_for: str | None = hidden()
    figure: str = column("Figure")
    ours: float | None = column("Ours", show=number)
    paper: float = column("Paper", cell=lambda row: TableCell(f"{row.paper:g}", kind="number"))
    why: str = column("Why they may differ", show=prose)


def paper_figures(rows: Sequence[Row]) -> list[PaperFigure]:
    """Return the figures of our models that the paper has, in its order.

    Args:
        rows: of `benchmark.parquet`.
    """
    figures: list[PaperFigure] = []
    paper: PaperRow | None = None
    for row in paper_table_4(rows):
        if row.source == PAPER:
            paper = row
        elif paper is not None and paper.model in (row.model, row.stands_in_for):
            figures += _side_by_side(row, paper)
    return figures


def _side_by_side(ours: PaperRow, paper: PaperRow) -> Iterator[PaperFigure]:
    ngrams = paper.model in COUNTS_NGRAMS
    columns = (
        (
            "n-gram match (%)" if ngrams else "exact match (%)",
            ours.ngram_match_percent if ngrams else ours.exact_match_percent,
            paper.exact_match_percent,
            "headed exact match, but the paper's text says that accuracy counts n-grams"
            if ngrams
            else "counts whole answers, as its size suggests; for other models the column does not",
        ),
        (
            "BLEU, best answer",
            ours.bleu_max,
            paper.bleu_max,
            "a maximum grows with the number of questions; the paper's BLEU has no settings",
        ),
        (
            "ROUGE, best answer",
            ours.rouge_max,
            paper.rouge_max,
            "1.00 is one answer equal to its reference"
            if paper.rouge_max == 1
            else "which ROUGE the paper does not say; ours is ROUGE-L",
        ),
        (
            "F1, best answer",
            ours.f1_max,
            paper.f1_max,
            "an exact match makes the highest F1 equal to 1; the paper gives both and is below 1",
        ),
        (
            "response time (s), shortest of our cells",
            ours.response_low_s,
            paper.response_low_s,
            "hardware, load and length of the answers are not in the paper",
        ),
    )
    for figure, mine, papers, why in columns:
        if papers is not None:
            yield PaperFigure(
                ours.model, ours.source, ours.stands_in_for, figure, mine, papers, why
            )
