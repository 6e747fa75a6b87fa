"""BLEU from counts that add up, so that a corpus needs no more memory than a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medsweep.metrics.overlap import shared_ngrams

LONGEST = 4


@dataclass(frozen=True)
class BleuCounts:
    """What BLEU is computed from; the counts of several answers add up to those of all.

    Attributes:
        answer_tokens: length of the answer.
        reference_tokens: length of the reference.
        correct: n-grams of the answer that the reference has too, by order from 1 to 4.
        total: n-grams of the answer, likewise.
    """

    answer_tokens: int = 0
    reference_tokens: int = 0
    correct: tuple[int, ...] = (0, 0, 0, 0)
    total: tuple[int, ...] = (0, 0, 0, 0)

    def __add__(self, other: BleuCounts) -> BleuCounts:
        return BleuCounts(
            self.answer_tokens + other.answer_tokens,
            self.reference_tokens + other.reference_tokens,
            tuple(a + b for a, b in zip(self.correct, other.correct, strict=True)),
            tuple(a + b for a, b in zip(self.total, other.total, strict=True)),
        )


def bleu_counts(answer: Sequence[str], reference: Sequence[str]) -> BleuCounts:
    """Return the counts of one answer.

    Args:
        answer: its tokens, as `tokens.bleu_tokens` cuts them.
        reference: the reference's.
    """
    return BleuCounts(
        len(answer),
        len(reference),
        shared_ngrams(answer, reference, LONGEST),
        tuple(max(len(answer) - n, 0) for n in range(LONGEST)),
    )


def bleu(counts: BleuCounts, *, sentence: bool) -> float:
    """Return BLEU with exponential smoothing, as a fraction from 0 to 1.

    Args:
        counts: of one answer or of many.
        sentence: leave out orders that the answer is too short for ("effective order"), which is
            right for one answer and not for a corpus.

    Returns:
        What sacrebleu's own formula makes of the counts.
    """
    from sacrebleu.metrics import BLEU

    score = BLEU.compute_bleu(
        correct=list(counts.correct),
        total=list(counts.total),
        sys_len=counts.answer_tokens,
        ref_len=counts.reference_tokens,
        smooth_method="exp",
        effective_order=sentence,
    )
    # A perfect score comes out a rounding error above 100.
    return min(float(score.score) / 100, 1.0)
