"""Between which values a quality figure can lie, without any model: ceiling, floor, empty answer.

An answer is cut off at `max_tokens`, so not even the reference itself gets full marks; and words
that all answers share give marks to any answer. A figure is read between the two.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterator
from math import nan

import numpy as np

from medsweep.metrics.quality import (
    DEFAULT_GRADER,
    QUALITY_METRICS,
    AnswerScore,
    Grader,
    score_and_count,
)

BOUNDS = ("ceiling", "floor", "empty")

MOST = 500
"""Most questions whose bounds are computed: the mean of this many is certain enough."""

Cut = Callable[[str], tuple[str, bool]]
"""Returns a text as it is after the longest allowed number of tokens, and whether it was cut."""


class QualityBounds:
    """The scores of three answers to each question: its reference cut off, another's, none.

    Args:
        cut: cuts a reference at the longest allowed number of tokens; without it there is no
            ceiling, and other questions' answers count in full.
        grader: what the answers are graded by.
    """

    def __init__(self, cut: Cut | None = None, grader: Grader = DEFAULT_GRADER) -> None:
        self._cut, self._grader = cut, grader
        self._scores = {bound: {name: array("d") for name in QUALITY_METRICS} for bound in BOUNDS}
        self._questions: set[str] = set()
        self._first: str | None = None
        self._previous: str | None = None
        self._too_long = 0

    def add(self, question_id: str, reference: str) -> None:
        """Add a question; one that was added before counts once.

        Args:
            question_id: of the question.
            reference: its reference answer.
        """
        if question_id in self._questions or len(self._questions) == MOST:
            return
        self._questions.add(question_id)
        if self._cut is not None:
            cut, was_cut = self._cut(reference)
            self._too_long += was_cut
            self._keep("ceiling", cut, reference)
        self._keep("empty", "", reference)
        if self._previous is None:
            self._first = reference
        else:
            self._keep("floor", self._short(self._previous), reference)
        self._previous = reference

    @property
    def too_long_share(self) -> float | None:
        """Share of references that are longer than an answer may be; None if that is not known."""
        if self._cut is None or not self._questions:
            return None
        return self._too_long / len(self._questions)

    def means(self) -> dict[str, dict[str, float]]:
        """Return the mean over questions of each figure that has one, by bound."""
        if self._first is not None and self._previous is not None and len(self._questions) > 1:
            self._keep("floor", self._short(self._previous), self._first)
            self._first = None
        return {bound: dict(_means(scores)) for bound, scores in self._scores.items()}

    def _short(self, text: str) -> str:
        return text if self._cut is None else self._cut(text)[0]

    def _keep(self, bound: str, answer: str, reference: str) -> None:
        score = _score(answer, reference, self._grader)
        for name, values in self._scores[bound].items():
            value = getattr(score, name)
            values.append(nan if value is None else value)


def _means(scores: dict[str, array[float]]) -> Iterator[tuple[str, float]]:
    for name, values in scores.items():
        known = [value for value in values if not np.isnan(value)]
        if known:
            yield name, float(np.mean(known))


# The same questions are asked at every load point, in every repeat and of every cell. Texts are not
# kept, only their hashes.
_scores: dict[bytes, AnswerScore] = {}


def _score(answer: str, reference: str, grader: Grader) -> AnswerScore:
    text = f"{answer}\0{reference}\0{grader.identity}"
    key = hashlib.blake2b(text.encode("utf-8", "replace")).digest()
    if key not in _scores:
        if len(_scores) >= 4 * MOST:
            _scores.clear()
        _scores[key] = score_and_count(answer, reference, grader)[0]
    return _scores[key]
