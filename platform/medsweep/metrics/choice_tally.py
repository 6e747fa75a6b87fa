"""How often the right option is chosen, and whether the model knows when it is."""

from __future__ import annotations

from array import array
from math import nan

import numpy as np
from numpy.typing import NDArray

from medsweep.metrics.choice_rows import ChoiceQuestion
from medsweep.metrics.confidence import Confidence, confidence_figures
from medsweep.metrics.resampling import share_interval


class ChoiceTally:
    """Counts answers to multiple-choice questions."""

    def __init__(self) -> None:
        self._chosen, self._right = array("b"), array("b")
        self._confidence = array("d")
        self._ambiguous = array("b")

    def add(
        self, choice: int | None, question: ChoiceQuestion, confidence: float | None = None
    ) -> None:
        """Count a choice.

        Args:
            choice: place of the option that was chosen, from 0; None if it could not be told.
            question: what there was to choose from.
            confidence: probability that the choice is right, as the model sees it; None if unknown.
        """
        self._chosen.append(-1 if choice is None else choice)
        self._right.append(question.right)
        self._confidence.append(nan if confidence is None else confidence)
        # The greatest number is that of no option, if they count from 0.
        self._ambiguous.append(len(question.options) if question.counts_from is None else -1)

    @property
    def answers(self) -> int:
        """How many there were."""
        return len(self._chosen)

    @property
    def unreadable(self) -> int:
        """How many chose none that could be told; they count as wrong."""
        return self._chosen.count(-1)

    @property
    def right(self) -> int | None:
        """How many chose the right option; None if that cannot be told."""
        outcomes = self._outcomes()
        return None if outcomes is None else int(outcomes.sum())

    @property
    def reason(self) -> str | None:
        """Why it cannot be told which options are right; None if it can."""
        if self._outcomes() is not None:
            return None
        return (
            "whether `cop` counts from 0 or from 1 cannot be told: the file has rows with both 0 "
            "and the number of options, or with neither"
        )

    def accuracy(self) -> tuple[float, float, float] | None:
        """Return the share of right answers with its exact 95 % interval; None without any."""
        right = self.right
        if not self.answers or right is None:
            return None
        return right / self.answers, *share_interval(right, self.answers)

    def confidence(self, seed: int) -> Confidence | None:
        """Return whether the model knows when it is right; None without confidence.

        Args:
            seed: of the bootstrap over questions.
        """
        outcomes, sure = self._outcomes(), np.asarray(self._confidence)
        if outcomes is None:
            return None
        known = ~np.isnan(sure)
        return confidence_figures(sure[known], outcomes[known], seed=seed, probabilities=True)

    def _outcomes(self) -> NDArray[np.float64] | None:
        """Return 1 for each right answer and 0 for the others; None if that cannot be told."""
        right, limits = np.asarray(self._right), np.asarray(self._ambiguous)
        ambiguous = limits >= 0
        if ambiguous.any():
            from_one = (right[ambiguous] == limits[ambiguous]).any()
            if from_one == (right[ambiguous] == 0).any():
                return None
            right = right - ambiguous * from_one
        return np.asarray(np.equal(self._chosen, right), dtype=np.float64)
