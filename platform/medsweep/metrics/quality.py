"""How near a generated answer comes to its reference, every figure from 0 to 1."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

import numpy as np

from medsweep.metrics.statistics import bootstrap_interval

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True)
class AnswerScore:
    """One answer against its reference; every figure is a fraction, 0 to 1.

    Attributes:
        exact_match: 1 if the two are the same after SQuAD normalisation, else 0.
        ngram_match: share of the reference's n-grams, n = 1..4, that the answer has.
        bleu: sacrebleu's sentence BLEU with effective order, divided by 100.
        rouge1: F-measure of rouge-score's ROUGE-1, without stemming.
        rouge2: the same for ROUGE-2.
        rouge_l: the same for ROUGE-L.
        token_f1: SQuAD's F1 over normalised tokens.
    """

    exact_match: float
    ngram_match: float
    bleu: float
    rouge1: float
    rouge2: float
    rouge_l: float
    token_f1: float


QUALITY_METRICS: tuple[str, ...] = tuple(each.name for each in fields(AnswerScore))


@dataclass(frozen=True)
class QualitySummary:
    """One quality figure over many answers, 0 to 1.

    Attributes:
        mean: mean over questions, several answers to one question averaged first.
        low: lower bound of its bootstrap interval over questions; None for one question.
        high: upper bound; None likewise.
        max: best single answer, because the paper's table gives maxima.
    """

    mean: float
    low: float | None
    high: float | None
    max: float | None


def normalise(text: str) -> str:
    """Return the text as SQuAD compares it: lower case, no punctuation, articles or extra space.

    Source: the evaluation script of SQuAD 1.1 (Rajpurkar et al. 2016).
    """
    bare = text.lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", bare).split())


def exact_match(prediction: str, reference: str) -> float:
    """Return 1.0 if the two are the same after normalisation, else 0.0."""
    return float(normalise(prediction) == normalise(reference))


def token_f1(prediction: str, reference: str) -> float:
    """Return the harmonic mean of precision and recall over normalised tokens.

    Returns:
        0 to 1; where either side has no token, 1 if both have none, else 0, as in SQuAD 2.0.
    """
    answer, truth = normalise(prediction).split(), normalise(reference).split()
    if not answer or not truth:
        return float(answer == truth)
    return 2 * (Counter(answer) & Counter(truth)).total() / (len(answer) + len(truth))


def ngram_match(prediction: str, reference: str) -> float:
    """Return the share of the reference's n-grams that the answer has, for n from 1 to 4.

    The n-grams of all four lengths over normalised tokens are pooled, and one that the answer has
    m times covers at most m of the reference's. This is what the paper calls accuracy.

    Returns:
        0 to 1; where the reference has no token, 1 if the answer has none either, else 0.
    """
    answer, truth = _ngrams(normalise(prediction)), _ngrams(normalise(reference))
    if not truth:
        return float(not answer)
    return (answer & truth).total() / truth.total()


def score_answer(prediction: str, reference: str) -> AnswerScore:
    """Return every quality figure of one answer.

    BLEU and ROUGE are 0 where either text is empty, which is what their libraries say; the
    others say 1 where both are.
    """
    rouge = _rouge().score(reference, prediction)
    return AnswerScore(
        exact_match=exact_match(prediction, reference),
        ngram_match=ngram_match(prediction, reference),
        bleu=_fraction(_sentence_bleu().sentence_score(prediction, [reference])),
        rouge1=float(rouge["rouge1"].fmeasure),
        rouge2=float(rouge["rouge2"].fmeasure),
        rouge_l=float(rouge["rougeL"].fmeasure),
        token_f1=token_f1(prediction, reference),
    )


def corpus_bleu(predictions: Sequence[str], references: Sequence[str]) -> float:
    """Return sacrebleu's corpus BLEU with its default settings, as a fraction from 0 to 1.

    Raises:
        ValueError: there are no answers, or not one reference for each.
    """
    _one_for_each("answers", predictions, "references", references)
    import sacrebleu

    # `force` only silences the advice on tokenised text, which answers of a model may look like.
    return _fraction(sacrebleu.corpus_bleu(list(predictions), [list(references)], force=True))


def summarise_quality(
    scores: Sequence[AnswerScore], question_ids: Sequence[str], *, seed: int
) -> dict[str, QualitySummary]:
    """Return each quality figure over all answers, by its name in `QUALITY_METRICS`.

    Args:
        scores: one per answer.
        question_ids: the question that each answer belongs to.
        seed: seed of the bootstrap over questions.

    Raises:
        ValueError: there are no scores, or not one question for each.
    """
    _one_for_each("scores", scores, "question ids", question_ids)
    _, member = np.unique(np.asarray(question_ids), return_inverse=True)
    answers = np.bincount(member)
    summaries = {}
    for name in QUALITY_METRICS:
        values = [getattr(score, name) for score in scores]
        by_question = np.bincount(member, weights=values) / answers
        interval = bootstrap_interval(by_question.tolist(), seed=seed)
        summaries[name] = QualitySummary(interval.mean, interval.low, interval.high, max(values))
    return summaries


def _ngrams(text: str) -> Counter[tuple[str, ...]]:
    tokens = text.split()
    return Counter(
        tuple(tokens[at : at + n]) for n in range(1, 5) for at in range(len(tokens) - n + 1)
    )


def _one_for_each(name: str, values: Sequence[Any], other_name: str, other: Sequence[Any]) -> None:
    if not values or len(values) != len(other):
        raise ValueError(
            f"need at least one of the {name} and as many {other_name}, "
            f"but there are {len(values)} and {len(other)}"
        )


def _fraction(bleu: Any) -> float:
    # A perfect score comes out a rounding error above 100.
    return min(float(bleu.score) / 100, 1.0)


@cache
def _sentence_bleu() -> Any:
    from sacrebleu.metrics import BLEU

    return BLEU(effective_order=True)


@cache
def _rouge() -> Any:
    # No stemming: Porter's rules are made for everyday English and fold medical terms together.
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=False)
