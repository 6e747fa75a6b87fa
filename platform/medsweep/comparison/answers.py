"""Answers to the same questions, held against each other in pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medsweep.comparison.finding import Finding
from medsweep.metrics.significance import mcnemar
from medsweep.metrics.statistics import PairedDifference, paired_bootstraps
from medsweep.results.aggregate import Row
from medsweep.results.schema import QUALITIES

FIGURE = "token_f1"
"""What is tested by bootstrap; the figures of quality move together, so one of them is enough."""

RIGHT = "exact_match"
"""What is tested by McNemar: an answer is right or not."""

TESTS = 2
"""Findings that one comparison gives."""


@dataclass(frozen=True)
class Match:
    """Two groups of answers that are to be compared.

    Attributes:
        subject: what they are.
        before: rows of `responses.parquet`.
        after: likewise.
    """

    subject: str
    before: Sequence[Row]
    after: Sequence[Row]


@dataclass(frozen=True)
class Pairs:
    """The questions that both sides were asked, each with all its answers.

    Attributes:
        first: answers of the first side, by question.
        second: of the second, in the same order of questions.
    """

    first: list[list[Row]]
    second: list[list[Row]]

    @property
    def changed(self) -> int:
        """Questions whose answers differ: by text where texts are kept, else by any figure."""
        return sum(
            _said(before) != _said(after)
            for before, after in zip(self.first, self.second, strict=True)
        )


def pair_up(before: Sequence[Row], after: Sequence[Row]) -> Pairs:
    """Return the questions that both have answers to.

    Args:
        before: rows of `responses.parquet`.
        after: likewise.
    """
    sides: list[dict[str, list[Row]]] = [{}, {}]
    for side, rows in zip(sides, (before, after), strict=True):
        for row in rows:
            side.setdefault(row["question_id"], []).append(row)
    shared = [question for question in sides[0] if question in sides[1]]
    return Pairs([sides[0][each] for each in shared], [sides[1][each] for each in shared])


def compare_answers(matches: Sequence[Match], *, resamples: int, seed: int = 0) -> list[Finding]:
    """Compare answers by question: token F1 by paired bootstrap, exact matches by McNemar.

    A question's answers (of several repeats and load points) are averaged first, since they are
    not independent; for McNemar a question is right where most of its answers are.

    Args:
        matches: what to compare.
        resamples: draws of the bootstrap.
        seed: of the bootstrap.

    Returns:
        Two findings a match; none for one without a question that is in both.
    """
    found = [(match, pair_up(match.before, match.after)) for match in matches]
    shared = [(match, pairs) for match, pairs in found if pairs.first]
    scores = [
        [np.array(_means(side, FIGURE)) for side in (pairs.first, pairs.second)]
        for _, pairs in shared
    ]
    # Those of one number of questions are drawn together, which costs little more than one.
    results: dict[int, PairedDifference] = {}
    for count in {len(first) for first, _ in scores}:
        places = [place for place, (first, _) in enumerate(scores) if len(first) == count]
        differences = np.column_stack([scores[place][1] - scores[place][0] for place in places])
        drawn = paired_bootstraps(differences, seed=seed, resamples=resamples)
        results |= dict(zip(places, drawn, strict=True))
    return [
        finding
        for place, (match, pairs) in enumerate(shared)
        for finding in (
            _by_score(match, pairs, scores[place][0], results[place]),
            _by_right(match, pairs),
        )
    ]


def _by_score(
    match: Match, pairs: Pairs, first: NDArray[np.float64], found: PairedDifference
) -> Finding:
    before = float(first.mean())
    return Finding(
        subject=match.subject,
        figure=FIGURE,
        before=before,
        after=before + found.mean,
        low=found.low,
        high=found.high,
        p_value=found.p_value,
        better=1,
        test="a single question" if found.p_value is None else "paired bootstrap",
        changed=pairs.changed,
        pairs=found.pairs,
    )


def _by_right(match: Match, pairs: Pairs) -> Finding:
    was, is_ = (
        [mean > 0.5 for mean in _means(side, RIGHT)] for side in (pairs.first, pairs.second)
    )
    turned = sum(one != other for one, other in zip(was, is_, strict=True))
    return Finding(
        subject=match.subject,
        figure=RIGHT,
        before=sum(was) / len(was),
        after=sum(is_) / len(was),
        low=None,
        high=None,
        # Where none turned the p-value could only be 1, and would cost other tests power.
        p_value=mcnemar(was, is_) if turned else None,
        better=1,
        test="McNemar" if turned else "no answer turned right or wrong",
        changed=turned,
        pairs=len(was),
    )


def _means(questions: Sequence[Sequence[Row]], figure: str) -> list[float]:
    return [sum(row[figure] for row in rows) / len(rows) for rows in questions]


def _said(rows: Sequence[Row]) -> set[object]:
    """Return the distinct answers to a question; greedy decoding gives one, however often asked."""
    if all(row["answer"] is not None for row in rows):
        return {row["answer"] for row in rows}
    return {tuple(row[name] for name in QUALITIES) for row in rows}
