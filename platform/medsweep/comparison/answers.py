"""Answers to the same questions, compared in pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medsweep.comparison.finding import Finding, is_mixed
from medsweep.digits import probability
from medsweep.metrics.resampling import FEWEST_PAIRS, PairedDifference, paired_differences
from medsweep.metrics.significance import ALPHA, least_mcnemar_p, mcnemar
from medsweep.results.aggregate import Row, average, group_by_columns, values
from medsweep.results.schema import QUALITIES

SCORE = "token_f1"
"""Tested by sign flips; quality figures are correlated, so one of them is enough."""

BY_SIGN = "sign flips"
# Of the draws: a comparison that is made twice is the same.
_SEED = 0

CORRECT = "exact_match"
"""Tested by McNemar's test: an answer is correct or not."""

TESTS = 2
"""Number of findings per contrast."""


@dataclass(frozen=True)
class Contrast:
    """Two groups of answers to compare.

    Attributes:
        subject: what is compared.
        before: rows of `responses.parquet`.
        after: rows of the other side.
        basis: of both, as in `Finding`.
    """

    subject: str
    before: Sequence[Row]
    after: Sequence[Row]
    basis: str = "observed"


@dataclass(frozen=True)
class PairedAnswers:
    """The questions that both sides answered, each with all its answers.

    Attributes:
        first: answers of the first side, by question.
        second: of the second, in the same order of questions.
    """

    first: list[list[Row]]
    second: list[list[Row]]

    @property
    def changed(self) -> int:
        """Number of questions whose answers differ, in text if texts are kept, else in a figure."""
        return sum(
            _distinct_answers(before) != _distinct_answers(after)
            for before, after in zip(self.first, self.second, strict=True)
        )


def pair_answers(before: Sequence[Row], after: Sequence[Row]) -> PairedAnswers:
    """Return the questions that both sides answered.

    Args:
        before: rows of `responses.parquet`.
        after: rows of the other side.
    """
    first, second = (group_by_columns(rows, "question_id") for rows in (before, after))
    shared = [question for question in first if question in second]
    return PairedAnswers([first[each] for each in shared], [second[each] for each in shared])


def compare_answers(contrasts: Sequence[Contrast], *, resamples: int) -> list[Finding]:
    """Compare answers by question: token F1 by sign flips, exact match by McNemar's test.

    A question's answers (of several repeats and load points) are averaged first, because they are
    not independent; for McNemar's test a question counts as correct if most of its answers are.

    Args:
        contrasts: what to compare.
        resamples: draws of signs, and of the bootstrap that gives the interval.

    Returns:
        Two findings per contrast; none for a contrast whose sides share no question.
    """
    paired = [(each, pair_answers(each.before, each.after)) for each in contrasts]
    shared = [(contrast, pairs) for contrast, pairs in paired if pairs.first]
    scores = [
        [np.array(_means(side, SCORE)) for side in (pairs.first, pairs.second)]
        for _, pairs in shared
    ]
    # Contrasts with the same number of questions share their draws, which costs about as much.
    results: dict[int, PairedDifference] = {}
    for count in {len(first) for first, _ in scores}:
        places = [place for place, (first, _) in enumerate(scores) if len(first) == count]
        differences = np.column_stack([scores[place][1] - scores[place][0] for place in places])
        drawn = paired_differences(differences, seed=_SEED, resamples=resamples)
        results |= dict(zip(places, drawn, strict=True))
    return [
        finding
        for place, (contrast, pairs) in enumerate(shared)
        for finding in (
            _by_score(contrast, pairs, scores[place][0], results[place]),
            _by_correctness(contrast, pairs),
        )
    ]


def _by_score(
    contrast: Contrast,
    pairs: PairedAnswers,
    first: NDArray[np.float64],
    difference: PairedDifference,
) -> Finding:
    before = float(first.mean())
    mixed = is_mixed(contrast.basis)
    return Finding(
        subject=contrast.subject,
        figure=SCORE,
        before=before,
        after=before + difference.mean,
        low=difference.low,
        high=difference.high,
        p_value=None if mixed else difference.p_value,
        better=1,
        test=contrast.basis
        if mixed
        else BY_SIGN
        if difference.p_value is not None
        else f"too few questions: {difference.pairs} of at least {FEWEST_PAIRS}",
        changed=pairs.changed,
        pairs=difference.pairs,
        basis=contrast.basis,
        error=difference.error,
        freedom=max(difference.pairs - 1, 1),
    )


def _by_correctness(contrast: Contrast, pairs: PairedAnswers) -> Finding:
    before, after = (
        [mean > 0.5 for mean in _means(side, CORRECT)] for side in (pairs.first, pairs.second)
    )
    changed = sum(one != other for one, other in zip(before, after, strict=True))
    mixed, least = is_mixed(contrast.basis), least_mcnemar_p(changed)
    if mixed:
        test = contrast.basis
    elif not changed:
        test = "no answer became correct or wrong"
    elif least > ALPHA:
        test = (
            f"too few answers became correct or wrong, {changed}: "
            f"p is at least {probability(least)}"
        )
    else:
        test = "McNemar"
    return Finding(
        subject=contrast.subject,
        figure=CORRECT,
        before=average(before),
        after=average(after),
        low=None,
        high=None,
        # A p-value that cannot be small would cost other tests power.
        p_value=None if mixed or least > ALPHA else mcnemar(before, after),
        better=1,
        test=test,
        changed=changed,
        pairs=len(before),
        basis=contrast.basis,
        error=changed**0.5 / len(before),
    )


def _means(questions: Sequence[Sequence[Row]], figure: str) -> list[float]:
    return [average(values(rows, figure)) for rows in questions]


def _distinct_answers(rows: Sequence[Row]) -> set[object]:
    """Return the distinct answers to a question; greedy decoding gives the same one each time."""
    if all(row["answer"] is not None for row in rows):
        return {row["answer"] for row in rows}
    return {tuple(row.get(name) for name in QUALITIES) for row in rows}
