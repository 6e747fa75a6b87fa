"""Grades answers one by one and keeps only their scores, so that texts need not fit in memory."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import nan
from sys import intern

import numpy as np
from numpy.typing import NDArray

from medsweep.metrics.agreement import Agreement
from medsweep.metrics.bleu import BleuCounts, bleu
from medsweep.metrics.bounds import Cut, QualityBounds
from medsweep.metrics.breakdown import (
    FIGURES,
    LENGTH,
    GroupQuality,
    length_label,
    quality_by_group,
    worst,
)
from medsweep.metrics.claims import NOT_JUDGED, Claims
from medsweep.metrics.confidence import Confidence, confidence_figures
from medsweep.metrics.faulty_answers import TRUNCATED, is_empty, is_refusal
from medsweep.metrics.quality import (
    DEFAULT_GRADER,
    QUALITY_METRICS,
    AnswerScore,
    Grader,
    QualitySummary,
    score_and_count,
)
from medsweep.metrics.resampling import known_intervals, mean_intervals
from medsweep.metrics.statistics import Interval
from medsweep.metrics.tokens import is_beyond_rouge
from medsweep.metrics.verified import RULES, verified, verified_by

STRATA = (50, 150, 400)
"""Fewest words of the second, third and fourth stratum; MedQuAD's median reference has 138."""


@dataclass(frozen=True)
class Stratum:
    """Answers with references of similar length; short references raise some scores.

    Attributes:
        words_from: fewest words of a reference in the stratum.
        words_below: words of a reference are fewer than this; None for no limit.
        answers: number of answers.
        means: mean over answers by name of the score; empty without answers.
        length_ratio: words of the answers over those of the references; None without words.
    """

    words_from: int
    words_below: int | None
    answers: int
    means: dict[str, float]
    length_ratio: float | None


class AnswerTally:
    """Grades answers against their references, and keeps 100 bytes per answer.

    Attributes:
        empty: number of answers without text.
        refusals: number of answers that begin by declining to answer.
        finish_reasons: number of answers by the server's finish reason.
        agreement: quantities and statements of all answers together.
        claims: sentences of all answers and references together, as far as they were judged.
        claims_by: the model that judged them, or why none did.
        with_concepts: number of answers whose reference has a concept.
        with_quantities: number of answers whose reference has a quantity.
        beyond_rouge: number of answers whose reference is mostly in letters that ROUGE ignores.
        bounds: what answers that need no model get on the same questions.

    Args:
        cut: cuts a reference at the longest allowed answer; None if that is not known.
        grader: what the answers are graded by.
    """

    def __init__(self, cut: Cut | None = None, grader: Grader = DEFAULT_GRADER) -> None:
        self.bounds = QualityBounds(cut, grader)
        self._grader = grader
        self.claims = Claims()
        self.claims_by = NOT_JUDGED if grader.entailment is None else grader.entailment.name
        self.empty = 0
        self.refusals = 0
        self.finish_reasons = Counter[str]()
        self._figures = {name: array("d") for name in QUALITY_METRICS}
        self._logprobs, self._questions = array("d"), array("q")
        self._numbers: dict[str, int] = {}
        self._next = 0
        self._answer_words, self._reference_words = array("q"), array("q")
        self._labels: dict[str, dict[int, str]] = {}
        self._bleu = BleuCounts()
        self.agreement = Agreement()
        self.with_quantities = 0
        self.with_concepts = 0
        self.beyond_rouge = 0

    def __len__(self) -> int:
        """Return the number of answers."""
        return len(self._questions)

    def add(
        self,
        answer: str,
        reference: str,
        question_id: str | None = None,
        finish_reason: str | None = None,
        labels: Mapping[str, str] | None = None,
        logprob: float | None = None,
    ) -> tuple[AnswerScore, Agreement, Claims]:
        """Grade an answer and add it.

        Args:
            answer: generated text.
            reference: reference answer.
            question_id: answers with the same id belong to one question; None is its own question.
            finish_reason: why the answer ended; None is not counted.
            labels: what the question is grouped by, by column.
            logprob: mean log-probability of the answer's tokens; None if unknown.
        """
        score, counts, quantities, claims = score_and_count(answer, reference, self._grader)
        self.bounds.add(question_id or f"\0{self._next}", reference)
        for name, values in self._figures.items():
            value = getattr(score, name)
            values.append(nan if value is None else value)
        self.agreement += quantities
        self.claims += claims
        self._logprobs.append(nan if logprob is None else logprob)
        self.beyond_rouge += is_beyond_rouge(reference)
        self.with_quantities += quantities.share is not None
        self.with_concepts += score.concept_f1 is not None
        number = self._number(question_id)
        self._questions.append(number)
        for column, label in {**(labels or {}), LENGTH: _stratum(reference)}.items():
            self._labels.setdefault(column, {}).setdefault(number, intern(label))
        self._answer_words.append(len(answer.split()))
        self._reference_words.append(len(reference.split()))
        self._bleu += counts
        self.empty += is_empty(answer)
        self.refusals += is_refusal(answer)
        if finish_reason is not None:
            self.finish_reasons[finish_reason] += 1
        return score, quantities, claims

    @property
    def truncated(self) -> int | None:
        """Number of answers cut off at the token limit; None if no finish reason was given."""
        return self.finish_reasons[TRUNCATED] if self.finish_reasons else None

    @property
    def questions(self) -> int:
        """Number of distinct questions."""
        return self._next

    @property
    def corpus_bleu(self) -> float | None:
        """Sacrebleu's corpus BLEU with its default settings, 0 to 1; None without answers."""
        return bleu(self._bleu, sentence=False) if len(self) else None

    @property
    def truncated_share(self) -> float | None:
        """Share of the answers with a finish reason that were cut off; None without any."""
        return _ratio(self.finish_reasons[TRUNCATED], self.finish_reasons.total())

    @property
    def half_f1_share(self) -> float | None:
        """Share of answers with a token F1 of at least 0.5; None without answers."""
        return _ratio(sum(f1 >= 0.5 for f1 in self._figures["token_f1"]), len(self))

    def verified(self, seed: int) -> Interval | None:
        """Return the share of answers that are verified by rules, with its interval over questions.

        Args:
            seed: of the bootstrap over questions.

        Returns:
            None if no reference has a quantity.
        """
        means = self._means(verified(*(np.asarray(self._figures[name]) for name in RULES)))
        if not len(known := _known(means)):
            return None
        [share] = mean_intervals(known[:, None], seed=seed)
        return share

    @property
    def verified_by(self) -> str:
        """What verified answers were checked by, and by what not."""
        return verified_by(self.claims_by)

    def confidence(self, seed: int) -> Confidence | None:
        """Return whether the answers of which the model is surer have a higher token F1.

        Args:
            seed: of the bootstrap over questions.

        Returns:
            None if no log-probability is known.
        """
        sure, quality = self._means(self._logprobs), self._means(self._figures["token_f1"])
        known = ~np.isnan(sure)
        return confidence_figures(sure[known], quality[known], seed=seed, probabilities=False)

    @property
    def length_ratio(self) -> float | None:
        """Words of all answers over words of all references; None without reference words."""
        return _ratio(sum(self._answer_words), sum(self._reference_words))

    @property
    def answer_words_mean(self) -> float | None:
        """Mean words per answer; None without answers."""
        return _ratio(sum(self._answer_words), len(self))

    @property
    def rouge_warning(self) -> str | None:
        """Why ROUGE says little about these answers; None if it does not."""
        if not self.beyond_rouge:
            return None
        return (
            f"ROUGE says nothing about {self.beyond_rouge} of {len(self)} answers: it reads the "
            "letters a to z alone, and their references are mostly in others"
        )

    def figures(self, seed: int) -> dict[str, QualitySummary]:
        """Return the summary of each score in `QUALITY_METRICS`; empty without answers.

        Args:
            seed: seed of the bootstrap over questions.
        """
        if not len(self):
            return {}
        by_question = np.column_stack(list(self._by_question().values()))
        return {
            name: QualitySummary(
                interval.mean, interval.low, interval.high, float(np.nanmax(self._figures[name]))
            )
            for name, interval in zip(
                self._figures, known_intervals(by_question, seed=seed), strict=True
            )
            if interval is not None
        }

    def breakdown(self, seed: int) -> list[GroupQuality]:
        """Return the quality by length of the reference and by the labels of the questions.

        Args:
            seed: of the bootstrap and of the permutations.
        """
        if not len(self):
            return []
        columns = {
            column: [labels.get(number) for number in range(self._next)]
            for column, labels in self._labels.items()
        }
        scores = self._by_question()
        return quality_by_group({name: scores[name] for name in FIGURES}, columns, seed=seed)

    def worst(self) -> list[int]:
        """Return the places of answers in the order of adding, the worst first."""
        names = ("consistency", "token_f1")
        figures = zip(*(self._figures[name] for name in names), strict=True)
        return worst([dict(zip(names, each, strict=True)) for each in figures])

    def question_means(self) -> dict[str, dict[str, float | None]]:
        """Return the mean figures of each question that has an id."""
        scores = self._by_question()
        return {
            id_: {name: float(values[number]) for name, values in scores.items()}
            for id_, number in self._numbers.items()
        }

    def _by_question(self) -> dict[str, NDArray[np.float64]]:
        """Return each figure's means over the answers to a question; nan where none has it."""
        return {name: self._means(figure) for name, figure in self._figures.items()}

    def _means(self, figure: array[float] | NDArray[np.float64]) -> NDArray[np.float64]:
        values, member = np.asarray(figure), np.asarray(self._questions)
        known = ~np.isnan(values)
        answers = np.bincount(member[known], minlength=self._next)
        sums = np.bincount(member[known], values[known], minlength=self._next)
        with np.errstate(invalid="ignore"):
            return np.asarray(sums / answers)

    def strata(self) -> list[Stratum]:
        """Return the mean scores by length of the reference."""
        words = np.asarray(self._reference_words)
        place = np.searchsorted(STRATA, words, side="right")
        table = []
        for number, start in enumerate((0, *STRATA)):
            inside = place == number
            count = int(inside.sum())
            table.append(
                Stratum(
                    words_from=start,
                    words_below=STRATA[number] if number < len(STRATA) else None,
                    answers=count,
                    means={
                        name: float(known.mean())
                        for name, values in self._figures.items()
                        if len(known := _known(np.asarray(values)[inside]))
                    },
                    length_ratio=_ratio(
                        int(np.asarray(self._answer_words)[inside].sum()), int(words[inside].sum())
                    ),
                )
            )
        return table

    def _number(self, question_id: str | None) -> int:
        number = self._next
        if question_id is not None:
            number = self._numbers.setdefault(question_id, number)
        self._next = max(self._next, number + 1)
        return number


def _stratum(reference: str) -> str:
    return length_label(len(reference.split()), STRATA)


def _known(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values[~np.isnan(values)]


def _ratio(part: int, total: int) -> float | None:
    return part / total if total else None
