"""Multiple choice: which option a generated answer names, and how often it is the right one.

For sets of the shape of PubMedQA (yes, no, maybe) and of MedMCQA (four options with letters).
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence

from medsweep.metrics.resampling import share_interval
from medsweep.metrics.tokens import squad_tokens

LETTERS = string.ascii_uppercase

# "B", "(B)", "B." or "B) because"; a bare "A" before more words is an article.
_AT_START = re.compile(r"\W*([A-Z])(?:[).:\]]|\s*(?:\n|$))")
# "The answer is B", "Answer: (C)", "option D". White space is matched possessively: to try again
# with less of it would take quadratic time.
_NAMED = re.compile(r"\b(?i:answer(?:\s++is)?+|option|choice)\s*+:?\s*+[(\[]?([A-Z])\b(?!')")


class ChoiceTally:
    """Counts answers to multiple-choice questions.

    Attributes:
        answers: how many there were.
        right: how many chose the right option.
        unreadable: how many chose none that could be told; they count as wrong.
    """

    def __init__(self) -> None:
        self.answers = self.right = self.unreadable = 0

    def add(self, prediction: str, options: Sequence[str], right: int) -> None:
        """Count an answer.

        Args:
            prediction: what was generated.
            options: what there was to choose from.
            right: place of the right one, from 0.
        """
        self.count(chosen(prediction, options), right)

    def count(self, choice: int | None, right: int) -> None:
        """Count a choice.

        Args:
            choice: place of the option that was chosen, from 0; None if it could not be told.
            right: place of the right one.
        """
        self.answers += 1
        self.right += choice == right
        self.unreadable += choice is None

    def accuracy(self) -> tuple[float, float, float] | None:
        """Return the share of right answers with its exact 95 % interval; None without answers."""
        if not self.answers:
            return None
        return self.right / self.answers, *share_interval(self.right, self.answers)


def chosen(prediction: str, options: Sequence[str]) -> int | None:
    """Return the place of the option that an answer chooses, from 0, or None if it cannot be told.

    A letter at the start counts first, then the letter that the last "answer is" or "option"
    names, then the text of an option at the start, then the text of the only option that occurs.

    Args:
        prediction: what was generated.
        options: at most 26 texts, lettered from A.
    """
    letters = LETTERS[: len(options)]
    start = _AT_START.match(prediction)
    named = [start[1]] if start else []
    named += reversed(_NAMED.findall(prediction))
    for letter in named:
        if letter in letters:
            return letters.index(letter)
    said = squad_tokens(prediction)
    texts = [squad_tokens(option) for option in options]
    opening = [place for place, text in enumerate(texts) if text and said[: len(text)] == text]
    if opening:
        # "no" and "no change": the longer one is what was meant.
        return max(opening, key=lambda place: len(texts[place]))
    spaced = f" {' '.join(said)} "
    inside = [place for place, text in enumerate(texts) if text and f" {' '.join(text)} " in spaced]
    return inside[0] if len(inside) == 1 else None


def right_place(answer: str | int, options: Sequence[str]) -> int:
    """Return the place of the right option, from 0.

    Args:
        answer: its letter, its text, or its place counted from 0.
        options: what there is to choose from.

    Raises:
        ValueError: it is none of them.
    """
    if isinstance(answer, int) and 0 <= answer < len(options):
        return answer
    if isinstance(answer, str):
        if answer in options:
            return options.index(answer)
        letter = answer.strip().upper()
        if len(letter) == 1 and letter in LETTERS[: len(options)]:
            return LETTERS.index(letter)
    raise ValueError("`answer` is no option: give its text, its letter or its place from 0")
