"""How near a generated answer comes to its reference, every figure from 0 to 1."""

from __future__ import annotations

from dataclasses import dataclass, fields

from medsweep.metrics.agreement import Agreement, agreement
from medsweep.metrics.bleu import BleuCounts, bleu, bleu_counts
from medsweep.metrics.claims import Claims, Entailment, judged_claims
from medsweep.metrics.concepts import Lexicon, concept_f1
from medsweep.metrics.lexicon import lexicon as default_lexicon
from medsweep.metrics.overlap import common_subsequence, f_measure, shared_ngrams
from medsweep.metrics.tokens import bleu_tokens, ngram_tokens, rouge_tokens, squad_tokens

LONGEST_NGRAM = 4


@dataclass(frozen=True, slots=True)
class AnswerScore:
    """One answer against its reference; every figure is a fraction, 0 to 1, or None.

    Where either text has no token, BLEU and ROUGE are 0, which is what their libraries say; the
    other three are 1 where both have none, as in SQuAD 2.0, else 0.

    Attributes:
        exact_match: 1 if the two are the same after SQuAD's normalisation, else 0.
        ngram_match: share of the reference's n-grams that the answer has, those of n = 1..4 pooled;
            one that the answer has m times covers at most m. This is what the paper calls accuracy.
            Tokens as SQuAD's, but with the punctuation of numbers.
        bleu: sacrebleu's sentence BLEU with effective order, divided by 100.
        rouge1: F-measure of rouge-score's ROUGE-1, without stemming.
        rouge2: the same for ROUGE-2.
        rouge_l: the same for ROUGE-L.
        token_f1: SQuAD's F1 over normalised tokens.
        quantity_agreement: share of the reference's quantities that the answer gives; None if it
            has none.
        consistency: 1 if the answer contradicts no quantity and no statement of the reference,
            else 0.
        concept_f1: F1 over the concepts of a lexicon, negated and affirmed ones apart; None if the
            reference has none.
        claim_recall: share of the reference's sentences that the answer entails; None without a
            model for entailment, or without a sentence.
        claim_precision: share of the answer's sentences that the reference entails; None in the
            same case.
        claim_consistency: share of the sentences of both that the other text does not contradict;
            None in the same case.
    """

    exact_match: float
    ngram_match: float
    bleu: float
    rouge1: float
    rouge2: float
    rouge_l: float
    token_f1: float
    quantity_agreement: float | None
    consistency: float
    concept_f1: float | None
    claim_recall: float | None = None
    claim_precision: float | None = None
    claim_consistency: float | None = None


QUALITY_METRICS: tuple[str, ...] = tuple(each.name for each in fields(AnswerScore))
CLAIM_METRICS = ("claim_recall", "claim_precision", "claim_consistency")
"""Those that need an entailment model."""


@dataclass(frozen=True)
class QualitySummary:
    """One quality figure over many answers, 0 to 1.

    Attributes:
        mean: mean over questions, several answers to one question averaged first.
        low: lower bound of its 95 % interval over questions; None for one question.
        high: upper bound; None in the same case.
        max: best single answer, because the paper's table gives maxima.
    """

    mean: float
    low: float | None
    high: float | None
    max: float | None


@dataclass(frozen=True)
class Grader:
    """What answers are graded by, beside their references.

    Attributes:
        lexicon: of the concepts; None takes ICD-10-CM's.
        entailment: judges the claims; None judges none.
    """

    lexicon: Lexicon | None = None
    entailment: Entailment | None = None

    @property
    def identity(self) -> tuple[str | None, str | None]:
        """What tells it from other graders: the lexicon's hash, and the name of the model."""
        return (
            None if self.lexicon is None else self.lexicon.sha256,
            None if self.entailment is None else self.entailment.name,
        )


DEFAULT_GRADER = Grader()


def score_and_count(
    prediction: str, reference: str, grader: Grader = DEFAULT_GRADER
) -> tuple[AnswerScore, BleuCounts, Agreement, Claims]:
    """Return every figure of one answer, and its counts: BLEU's, quantities and claims.

    Args:
        prediction: generated text.
        reference: reference answer.
        grader: what it is graded by.
    """
    lexicon = default_lexicon() if grader.lexicon is None else grader.lexicon
    claims = Claims()
    if grader.entailment is not None:
        claims = judged_claims(prediction, reference, grader.entailment)
    quantities = agreement(prediction, reference)
    answer, truth = squad_tokens(prediction), squad_tokens(reference)
    shared = shared_ngrams(answer, truth, 1)
    grams, expected_grams = ngram_tokens(prediction), ngram_tokens(reference)
    matched = sum(shared_ngrams(grams, expected_grams, LONGEST_NGRAM))
    generated, expected = rouge_tokens(prediction), rouge_tokens(reference)
    unigrams, bigrams = shared_ngrams(generated, expected, 2)
    counts = bleu_counts(bleu_tokens(prediction), bleu_tokens(reference))
    both_empty = float(not answer and not truth)
    score = AnswerScore(
        exact_match=float(answer == truth),
        ngram_match=matched / _ngrams(expected_grams) if expected_grams else float(not grams),
        bleu=bleu(counts, sentence=True),
        rouge1=f_measure(unigrams, len(generated), len(expected)),
        rouge2=f_measure(bigrams, len(generated) - 1, len(expected) - 1),
        rouge_l=f_measure(common_subsequence(generated, expected), len(generated), len(expected)),
        token_f1=f_measure(shared[0], len(answer), len(truth)) or both_empty,
        quantity_agreement=quantities.share,
        consistency=float(quantities.consistent),
        concept_f1=concept_f1(lexicon.concepts(prediction), lexicon.concepts(reference)),
        claim_recall=claims.recall,
        claim_precision=claims.precision,
        claim_consistency=claims.consistency,
    )
    return score, counts, quantities, claims


def _ngrams(tokens: list[str]) -> int:
    """Return how many n-grams there are, n = 1..4."""
    return sum(max(len(tokens) - n, 0) for n in range(LONGEST_NGRAM))
