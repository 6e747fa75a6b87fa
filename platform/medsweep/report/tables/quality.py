"""Quality of the answers of every model, with and without its adapter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from medsweep.digits import percent
from medsweep.metrics.statistics import Interval
from medsweep.report.numbers import share, share_places, share_spread
from medsweep.report.table import (
    MEANINGS,
    Column,
    TableCell,
    TableRow,
    build,
    column,
    columns,
    count,
    fraction,
    hidden,
)
from medsweep.report.tables.grouping import model_order, most_questions
from medsweep.results.aggregate import (
    Row,
    average,
    basis_order,
    group_by_columns,
    mean,
    ok_rows,
    values,
    variant_order,
)
from medsweep.results.schema import QUALITIES, QUALITY_BOUNDS

NAMES = {
    "token_f1": "Token F1",
    "exact_match": "Exact match",
    "ngram_match": "n-gram match",
    "bleu": "BLEU",
    "rouge1": "ROUGE-1",
    "rouge2": "ROUGE-2",
    "rouge_l": "ROUGE-L",
    "quantity_agreement": "Quantities",
    "consistency": "Consistency",
    "concept_f1": "Concepts",
    "claim_recall": "Claims recalled",
    "claim_precision": "Claims supported",
    "claim_consistency": "Claims not contradicted",
}


@dataclass(frozen=True)
class QualityFigure:
    """One quality figure, 0 to 1.

    Attributes:
        mean: mean over questions.
        low: lower end of its interval; None without one.
        high: upper end; None in the same case.
        max: best single answer; None if it is not shown.
        ceiling: what the reference itself gets, cut off at the longest allowed answer.
        floor: what another question's reference gets.
        empty: what an empty answer gets.
        errors_seen: share of deliberate errors in the references that it sees.
        not_leaked: mean over the questions whose answers were not learnt, with its interval; None
            if all of them, or none, were learnt.
    """

    mean: float
    low: float | None
    high: float | None
    max: float | None
    ceiling: float | None = None
    floor: float | None = None
    empty: float | None = None
    errors_seen: float | None = None
    not_leaked: Interval | None = None


def quality(value: QualityFigure | None) -> TableCell:
    """Return a cell with a mean, its interval and its maximum."""
    if value is None:
        return fraction(None)
    named = {name: getattr(value, name) for name in ("max", *QUALITY_BOUNDS)}
    notes, places = [share_spread(value)], share_places(value)
    if value.not_leaked is not None:
        spread = share_spread(value.not_leaked)
        bounds = f" ({spread})" if spread else ""
        notes.append(f"{share(value.not_leaked)}{bounds} without leaked questions")
    if value.errors_seen is not None:
        notes.append(
            f"sees {percent(value.errors_seen)} of errors" if value.errors_seen else "sees no error"
        )
    notes += [
        f"{name} {share(figure, places)}" for name, figure in named.items() if figure is not None
    ]
    return TableCell(share(value), note="\n".join(filter(None, notes)), kind="number")


def quality_bounds(rows: Sequence[Row], name: str) -> dict[str, float | None]:
    """Return ceiling, floor and empty answer of a figure, each as the mean over the rows."""
    return {bound: mean(rows, f"{name}_{bound}") for bound in QUALITY_BOUNDS}


def _per_cell(rows: Sequence[Row]) -> list[list[Row]]:
    """Return each cell's repeats at the load point with most questions."""
    return [most_questions(cell) for cell in group_by_columns(rows, "key").values()]


def _mean_of_cells(rows: Sequence[Row], name: str) -> float | None:
    means = [value for cell in _per_cell(rows) if (value := mean(cell, name)) is not None]
    return average(means) if means else None


def _interval_of_cells(rows: Sequence[Row], name: str) -> Interval | None:
    mean, low, high = (_mean_of_cells(rows, f"{name}{end}") for end in ("", "_low", "_high"))
    return None if mean is None else Interval(mean, low, high)


def _questions(rows: Sequence[Row]) -> int | None:
    graded = [row for cell in _per_cell(rows) for row in cell]
    return min(values(graded, "questions"), default=None)


def _figures(rows: Sequence[Row]) -> dict[str, QualityFigure]:
    graded = [row for cell in _per_cell(rows) for row in cell]
    leaked = any(values(graded, "leaked_questions"))
    return {
        name: QualityFigure(
            middle,
            _mean_of_cells(rows, f"{name}_low"),
            _mean_of_cells(rows, f"{name}_high"),
            max(values(graded, f"{name}_max"), default=None),
            **quality_bounds(graded, name),
            errors_seen=mean(graded, f"{name}_errors_seen"),
            not_leaked=_interval_of_cells(rows, f"{name}_not_leaked") if leaked else None,
        )
        for name in QUALITIES
        if (middle := _mean_of_cells(rows, name)) is not None
    }


def _surest_cell(row: QualityRow) -> TableCell:
    """Return a cell with the quality of the surest answers, and what confidence tells of it."""
    if row.surest is None:
        return fraction(None, "no log-probabilities: quality.confidence asks for them")
    notes = [share_spread(row.surest)]
    if row.confidence is not None:
        notes.append(f"confidence and token F1: rank correlation {row.confidence:.2f}")
    return TableCell(share(row.surest), note="\n".join(filter(None, notes)), kind="number")


def _figure_column(name: str) -> Column:
    return Column(NAMES[name], lambda row: _figure_cell(row, name), MEANINGS[name])


def _figure_cell(row: QualityRow, name: str) -> TableCell:
    cell = quality(row.figures.get(name))
    if name.startswith("rouge") and row.beyond_rouge:
        warning = (
            f"says nothing about {percent(row.beyond_rouge)} of the answers: not in letters a to z"
        )
        return replace(cell, note="\n".join(filter(None, (cell.note, warning))))
    return cell


@dataclass(frozen=True)
class QualityRow(TableRow):
    """One model's answers, averaged over its cells."""

    caption = (
        "Quality of the answers, 0 to 1: mean over questions, below it the 95 % interval over the "
        "questions of one repeat (the comparison below pools all repeats and is more precise), the "
        "best single answer, and what answers get that need no model: the reference cut off at the "
        "longest allowed answer (ceiling), another question's reference (floor), no text (empty). "
        "Each cell counts once, at its load point with most questions, and the "
        "cells are averaged: the same adapter gives nearly the same answers in all of them"
    )
    labels = 2

    model: str = column("Model")
    variant: str | None = column("Variant")
    basis: str = column("Basis")
    cells: int = column("Cells", lambda rows: len(_per_cell(rows)), count)
    questions: int | None = column(
        "Questions per repeat",
        _questions,
        count,
        meaning="number of questions behind the 95 % interval: those of one repeat",
    )
    leaked: int | None = column(
        "Leaked questions",
        lambda rows: max(
            values([row for cell in _per_cell(rows) for row in cell], "leaked_questions"),
            default=None,
        ),
        count,
        meaning=MEANINGS["leaked_questions"],
    )
    truncated: float | None = column(
        "Truncated answers",
        lambda rows: _mean_of_cells(rows, "truncated_share"),
        fraction,
        meaning=MEANINGS["truncated_share"],
    )
    too_long: float | None = column(
        "References too long",
        lambda rows: _mean_of_cells(rows, "long_references_share"),
        fraction,
        meaning=MEANINGS["long_references_share"],
    )
    beyond_rouge: float | None = hidden(lambda rows: _mean_of_cells(rows, "beyond_rouge_share"))
    figures: Mapping[str, QualityFigure] = columns(
        *(_figure_column(name) for name in NAMES), value=_figures
    )
    confidence: float | None = hidden(lambda rows: _mean_of_cells(rows, "confidence_f1"))
    surest: Interval | None = column(
        "Token F1 of the surest 80 %",
        lambda rows: _interval_of_cells(rows, "surest_f1"),
        cell=_surest_cell,
        meaning=MEANINGS["surest_f1"],
    )
    corpus_bleu: float | None = column(
        "Corpus BLEU",
        lambda rows: _mean_of_cells(rows, "corpus_bleu"),
        fraction,
        meaning=MEANINGS["corpus_bleu"],
    )


def quality_table(rows: Sequence[Row]) -> list[QualityRow]:
    """Return one row per model, variant and basis.

    The same adapter gives nearly the same answers in every cell, so the cells are averaged, and so
    are the ends of their intervals: this is the interval of a typical repeat, which does not shrink
    with the number of cells. The maximum is the best answer of any cell.

    Args:
        rows: of `benchmark.parquet`; rows that are not ok or not graded are left out.

    Returns:
        Rows by model, variant and basis.
    """
    graded = [row for row in ok_rows(rows) if any(row[name] is not None for name in QUALITIES)]
    groups = group_by_columns(graded, "model", "variant", "basis")
    table = [build(QualityRow, group) for group in groups.values()]
    return sorted(
        table,
        key=lambda row: (
            model_order(row.model),
            variant_order(row.variant),
            basis_order(row.basis),
        ),
    )
