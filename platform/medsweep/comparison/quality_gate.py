"""The quality gate: a speed-up counts only if the answers stay as good and as long.

As in MLPerf Inference (datacenter, large language models): ROUGE of at least 99 % of the
reference's, and answers within 10 % of its lengths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medsweep.comparison.answers import pair_answers
from medsweep.results.aggregate import Row, average, values

JUDGED = ("rouge1", "rouge2", "rouge_l", "token_f1")
LEAST_SHARE = 0.99
LENGTH_RATIO = (0.9, 1.1)


@dataclass(frozen=True)
class QualityGate:
    """Whether answers are as good and as long as the reference's.

    Attributes:
        subject: what is judged.
        reference: what it is compared with.
        shares: each figure's mean over the reference's; None if that is 0.
        length_ratio: words of the answers over words of the reference's; None if those are empty.
        questions: questions that both answered.
    """

    subject: str
    reference: str
    shares: dict[str, float | None]
    length_ratio: float | None
    questions: int

    @property
    def faults(self) -> list[str]:
        """Why the answers do not pass; empty if they do."""
        low, high = LENGTH_RATIO
        faults = [
            f"{figure} is {share:.1%} of the reference's, under {LEAST_SHARE:.0%}"
            for figure, share in self.shares.items()
            if share is not None and share < LEAST_SHARE
        ]
        if self.length_ratio is None:
            faults.append("the reference's answers are empty")
        elif not low <= self.length_ratio <= high:
            faults.append(f"answers are {self.length_ratio:.2f} times as long, not {low} to {high}")
        return faults

    @property
    def passes(self) -> bool:
        """Whether the answers pass."""
        return not self.faults


def judge(
    subject: str, answers: Sequence[Row], reference: str, reference_answers: Sequence[Row]
) -> QualityGate | None:
    """Compare answers with the reference's answers to the same questions.

    Args:
        subject: what is judged.
        answers: rows of `responses.parquet`.
        reference: what it is compared with.
        reference_answers: rows of `responses.parquet`.

    Returns:
        The result; None if no question is in both, or lengths were not stored.
    """
    pairs = pair_answers(reference_answers, answers)
    if not pairs.first or any(
        row.get("answer_words") is None for rows in (*pairs.first, *pairs.second) for row in rows
    ):
        return None
    expected, actual = (
        {name: _mean(side, name) for name in (*JUDGED, "answer_words")}
        for side in (pairs.first, pairs.second)
    )
    shares = {name: actual[name] / expected[name] if expected[name] else None for name in JUDGED}
    words = actual["answer_words"] / expected["answer_words"] if expected["answer_words"] else None
    return QualityGate(subject, reference, shares, words, len(pairs.first))


def _mean(questions: Sequence[Sequence[Row]], column: str) -> float:
    """Return the mean over questions of the means over their answers."""
    return average([average(values(rows, column)) for rows in questions])
