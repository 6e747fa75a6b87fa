"""BLEU from additive counts, so that a corpus needs no more memory than a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medsweep.metrics.overlap import shared_ngrams

LONGEST = 4


@dataclass(frozen=True)
class BleuCounts:
    """The counts that BLEU is computed from; those of several answers can be added.

    Attributes:
        answer_tokens: length of the answer, in tokens.
        reference_tokens: length of the reference, in tokens.
        correct: n-grams that answer and reference share, for n from 1 to 4.
        total: n-grams of the answer, for n from 1 to 4.
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
        answer: tokens of the answer, from `tokens.bleu_tokens`.
        reference: tokens of the reference.
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
        counts: counts of one answer or of several.
        sentence: whether to leave out orders for which the answer is too short ("effective
            order"); right for a single answer, wrong for a corpus.

    Returns:
        BLEU by sacrebleu's own formula.
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
    # Rounding can put a perfect score slightly above 100.
    return min(float(score.score) / 100, 1.0)
