"""Models against each other, in pairs over the questions that both answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

from medsweep.comparison.answers import TESTS, Match, compare_answers
from medsweep.comparison.finding import Finding, corrected, resamples_for
from medsweep.report.tables.grouping import headline_rows, model_order
from medsweep.results.aggregate import Row, distinct


def model_against_model(rows: Sequence[Row], scores: Mapping[str, Sequence[Row]]) -> list[Finding]:
    """Compare the models of each basis by token F1 and by exact match.

    A question's answers in all cells and repeats of a model are averaged first, because they are
    not independent. All tests are one family (Holm).

    Args:
        rows: of `benchmark.parquet`.
        scores: of answers by cell key, of single ones or of means.

    Returns:
        The findings, their subjects with the basis; none where no basis has two models.
    """
    measured = headline_rows(rows)
    matches = []
    for basis in distinct(measured, "basis"):
        of_basis = [row for row in measured if row["basis"] == basis]
        answers = {
            model: _answers([row for row in of_basis if row["model"] == model], scores)
            for model in sorted(distinct(of_basis, "model"), key=model_order)
        }
        for first, second in combinations([name for name in answers if answers[name]], 2):
            subject = f"{second} against {first} ({basis})"
            matches.append(Match(subject, answers[first], answers[second]))
    return corrected(compare_answers(matches, resamples=resamples_for(len(matches) * TESTS)))


def _answers(rows: Sequence[Row], scores: Mapping[str, Sequence[Row]]) -> list[Row]:
    """Return the scores of a model's cells; their texts are not looked at."""
    variants = {row["key"]: row["variant"] for row in rows}
    return [
        {**score, "answer": None}
        for key, variant in variants.items()
        for score in scores.get(key, ())
        if score["variant"] == variant
    ]
