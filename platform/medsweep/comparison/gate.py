"""The gate: faster counts only while the answers stay as good and as long as the reference's.

After the rule of MLPerf Inference (datacenter, large language models): ROUGE of at least 99 % of
the reference's, and generated lengths within 10 % of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medsweep.comparison.answers import pair_up
from medsweep.results.aggregate import Row

FIGURES = ("rouge1", "rouge2", "rouge_l", "token_f1")
LEAST_SHARE = 0.99
LENGTH_RATIO = (0.9, 1.1)


@dataclass(frozen=True)
class Gate:
    """Whether answers pass beside the reference profile's.

    Attributes:
        subject: what is judged.
        reference: what it is held against.
        shares: each figure's mean over the reference's; None where that is 0.
        length_ratio: words of the answers over words of the reference profile's; None without.
        questions: questions that both answered.
    """

    subject: str
    reference: str
    shares: dict[str, float | None]
    length_ratio: float | None
    questions: int

    @property
    def faults(self) -> list[str]:
        """Why it does not pass; empty if it does."""
        low, high = LENGTH_RATIO
        found = [
            f"{figure} is {share:.1%} of the reference's, under {LEAST_SHARE:.0%}"
            for figure, share in self.shares.items()
            if share is not None and share < LEAST_SHARE
        ]
        if self.length_ratio is None:
            found.append("the reference's answers are empty")
        elif not low <= self.length_ratio <= high:
            found.append(f"answers are {self.length_ratio:.2f} times as long, not {low} to {high}")
        return found

    @property
    def passes(self) -> bool:
        """Whether it passes."""
        return not self.faults


def gate(
    subject: str, answers: Sequence[Row], reference: str, reference_answers: Sequence[Row]
) -> Gate | None:
    """Judge answers beside the reference's answers to the same questions.

    Args:
        subject: what is judged.
        answers: rows of `responses.parquet`.
        reference: what it is held against.
        reference_answers: likewise.

    Returns:
        The judgement; None where no question is in both, or lengths were not stored.
    """
    pairs = pair_up(reference_answers, answers)
    if not pairs.first or any(
        row.get("answer_words") is None for rows in (*pairs.first, *pairs.second) for row in rows
    ):
        return None
    wanted, given = (
        {name: _mean(side, name) for name in (*FIGURES, "answer_words")}
        for side in (pairs.first, pairs.second)
    )
    shares = {name: given[name] / wanted[name] if wanted[name] else None for name in FIGURES}
    words = given["answer_words"] / wanted["answer_words"] if wanted["answer_words"] else None
    return Gate(subject, reference, shares, words, len(pairs.first))


def _mean(questions: Sequence[Sequence[Row]], column: str) -> float:
    """Return the mean over questions of the means over their answers."""
    means = [float(sum(row[column] for row in rows) / len(rows)) for rows in questions]
    return sum(means) / len(means)
