"""Quality of the answers of every model, with and without its adapter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medsweep.report.tables.grouping import model_order, most_asked
from medsweep.results.aggregate import Row, basis_order, group_by, mean, ok_rows, variant_order
from medsweep.results.schema import QUALITIES


@dataclass(frozen=True)
class QualityFigure:
    """One quality figure, 0 to 1.

    Attributes:
        mean: mean over questions.
        low: lower end of its interval; None without one.
        high: upper end; None likewise.
        max: best single answer.
    """

    mean: float
    low: float | None
    high: float | None
    max: float | None


@dataclass(frozen=True)
class QualityRow:
    """One model's answers, averaged over its cells.

    Attributes:
        model: name.
        variant: adapter or base.
        basis: observed, emulated or predicted.
        cells: cells averaged over.
        questions: distinct questions that one repeat graded; the fewest of any of those cells.
        figures: by the names in `schema.QUALITIES`; one that no cell has is absent.
        corpus_bleu: BLEU over all answers; None where not graded.
    """

    model: str
    variant: str
    basis: str
    cells: int
    questions: int | None
    figures: Mapping[str, QualityFigure]
    corpus_bleu: float | None


def quality_table(rows: Sequence[Row]) -> list[QualityRow]:
    """Return one row per model, variant and basis.

    The same adapter gives nearly the same answers in every cell, so the cells are averaged, each
    at the load point that asked most questions: means, and the ends of intervals, which is the
    typical repeat's interval and does not shrink with their number. The maximum is the best answer
    of any cell.

    Args:
        rows: of `benchmark.parquet`; those that are not ok or not graded are left out.

    Returns:
        Rows by model, variant and basis.
    """
    graded = [row for row in ok_rows(rows) if any(row[name] is not None for name in QUALITIES)]
    groups = group_by(graded, lambda row: (row["model"], row["variant"], row["basis"]))
    table = [_row(group) for group in groups.values()]
    return sorted(
        table,
        key=lambda row: (
            model_order(row.model),
            variant_order(row.variant),
            basis_order(row.basis),
        ),
    )


def _row(graded: Sequence[Row]) -> QualityRow:
    cells = [most_asked(own) for own in group_by(graded, lambda row: str(row["key"])).values()]
    asked = [row for cell in cells for row in cell]
    figures = {name: _figure(cells, name) for name in QUALITIES}
    counts = [row["questions"] for row in asked if row["questions"] is not None]
    return QualityRow(
        model=asked[0]["model"],
        variant=asked[0]["variant"],
        basis=asked[0]["basis"],
        cells=len(cells),
        questions=min(counts, default=None),
        figures={name: figure for name, figure in figures.items() if figure is not None},
        corpus_bleu=_over_cells(cells, "corpus_bleu"),
    )


def _over_cells(cells: Sequence[Sequence[Row]], column: str) -> float | None:
    means = [value for cell in cells if (value := mean(cell, column)) is not None]
    return sum(means) / len(means) if means else None


def _figure(cells: Sequence[Sequence[Row]], name: str) -> QualityFigure | None:
    middle = _over_cells(cells, name)
    if middle is None:
        return None
    best = [row[f"{name}_max"] for cell in cells for row in cell]
    return QualityFigure(
        middle,
        _over_cells(cells, f"{name}_low"),
        _over_cells(cells, f"{name}_high"),
        max((value for value in best if value is not None), default=None),
    )
