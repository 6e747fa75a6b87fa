"""Models against each other, in pairs over the questions that both answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

from medsweep.comparison.answers import TESTS, Contrast, compare_answers
from medsweep.comparison.finding import Finding, corrected, resamples_for
from medsweep.metrics.statistics import Interval
from medsweep.report.table import (
    Column,
    ReportTable,
    difference,
    fraction,
    limits,
    p_value,
    part_of,
    tabulate,
    text,
)
from medsweep.report.tables.grouping import model_order
from medsweep.report.tables.quality import NAMES
from medsweep.results.aggregate import Row, distinct, group_by_columns, headline_rows


def difference_of(finding: Finding) -> Interval:
    """Return the difference that a finding is of, with its interval."""
    return Interval(finding.after - finding.before, finding.low, finding.high)


COLUMNS = (
    Column("Models", lambda row: text(row.subject)),
    Column("Figure", lambda row: text(NAMES[row.figure])),
    Column("The former's", lambda row: fraction(row.after, beside=difference_of(row))),
    Column("The latter's", lambda row: fraction(row.before, beside=difference_of(row))),
    Column("Difference", lambda row: difference(difference_of(row))),
    Column("95 % interval", lambda row: limits(difference_of(row), "no interval for this test")),
    Column("p value", lambda row: p_value(row.p_adjusted, row.test)),
    Column("Changed / questions", lambda row: part_of(row.changed, row.pairs)),
    Column("Verdict", lambda row: text(row.verdict)),
)


def model_table(findings: Sequence[Finding]) -> ReportTable:
    """Return the table of models against each other, one row per pair and figure."""
    return tabulate(
        "Models against each other on the same questions: token F1 by sign flips, exact "
        "match by McNemar's test. p values are corrected for the number of tests (Holm)",
        COLUMNS,
        findings,
    )


def subject(model: str, other: str, basis: str) -> str:
    """Return what a finding calls a model's answers beside another's."""
    return f"{model} against {other} ({basis})"


def model_against_model(rows: Sequence[Row], scores: Mapping[str, Sequence[Row]]) -> list[Finding]:
    """Compare the models of each basis by token F1 and by exact match.

    A question's answers in all cells and repeats of a model are averaged first, because they are
    not independent. All tests of one basis are a family (Holm).

    Args:
        rows: of `benchmark.parquet`.
        scores: of answers by cell key, of single ones or of means.

    Returns:
        The findings, their subjects with the basis; none if no basis has two models.
    """
    measured = headline_rows(rows)
    contrasts = []
    for basis in distinct(measured, "basis"):
        by_model = group_by_columns([row for row in measured if row["basis"] == basis], "model")
        answers = {
            model: _answers(by_model[model,], scores)
            for model in sorted((model for (model,) in by_model), key=model_order)
        }
        for first, second in combinations([name for name in answers if answers[name]], 2):
            name = subject(second, first, basis)
            contrasts.append(Contrast(name, answers[first], answers[second], basis))
    return corrected(compare_answers(contrasts, resamples=resamples_for(len(contrasts) * TESTS)))


def _answers(rows: Sequence[Row], scores: Mapping[str, Sequence[Row]]) -> list[Row]:
    """Return the scores of a model's cells, without texts."""
    variants = {row["key"]: row["variant"] for row in rows}
    return [
        {**score, "answer": None}
        for key, variant in variants.items()
        for score in scores.get(key, ())
        if score["variant"] == variant
    ]
