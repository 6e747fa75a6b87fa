"""The columns of what is counted in answers: quantities, claims, and what is wrong with them."""

from __future__ import annotations

from medsweep.results.column import Column

QUANTITIES = (
    Column("quantities_agree", "integer", "1", "quantities of the reference that the answer gives"),
    Column(
        "quantities_contradict",
        "integer",
        "1",
        "quantities of the reference that the answer contradicts",
    ),
    Column(
        "quantities_missing", "integer", "1", "quantities of the reference that the answer lacks"
    ),
    Column("quantities_added", "integer", "1", "quantities of the answer that the reference lacks"),
    Column(
        "statements_denied", "integer", "1", "sentences of the reference that the answer denies"
    ),
)
"""Of one answer, and the totals over all answers of a measurement."""

CLAIMS = (
    Column("claims_expected", "integer", "1", "sentences of the reference; null if none is judged"),
    Column("claims_recalled", "integer", "1", "sentences of the reference that the answer entails"),
    Column("claims_stated", "integer", "1", "sentences of the answer; null if none is judged"),
    Column(
        "claims_supported", "integer", "1", "sentences of the answer that the reference entails"
    ),
    Column(
        "claims_contradicted", "integer", "1", "sentences of both that the other text contradicts"
    ),
    Column("claims_cut", "integer", "1", "sentences of both that were judged on a cut-off text"),
)
"""Of one answer, and the totals over all answers, where an entailment model judges."""


def _bounded(name: str, meaning: str) -> tuple[Column, ...]:
    """Return a figure's column and those of its interval."""
    return (
        Column(name, "number", "1", meaning),
        *(
            Column(
                f"{name}_{end}", "number", "1", f"{name}: {end} end of its 95 % bootstrap interval"
            )
            for end in ("low", "high")
        ),
    )


CONFIDENCE = (
    Column("confidence_questions", "integer", "1", "questions with log-probabilities of answers"),
    *_bounded(
        "confidence_f1",
        "rank correlation of an answer's mean token log-probability with its token F1, over "
        "questions; 0 is chance; no interval under 50 questions",
    ),
    *_bounded("surest_f1", "token F1 of the 80 % of the questions with the surest answers"),
    *_bounded(
        "coverage_f1_area",
        "token F1 of the surest answers, averaged over coverages; no interval under 50 questions",
    ),
    Column(
        "confidence_by",
        "text",
        "",
        "where the confidence is from and how many answers have none, or why there is none",
    ),
)

ANSWERS = (
    *QUANTITIES,
    *CLAIMS,
    Column("claims_by", "text", "", "model that judged the claims, or why none did"),
    *CONFIDENCE,
    Column("answers_with_quantities", "integer", "1", "answers whose reference has quantities"),
    Column(
        "verified_share",
        "number",
        "1",
        "answers that give every quantity of their reference and contradict nothing in it (nor "
        "any claim, where a model for entailment judged them), of those whose reference has "
        "quantities; where raters were asked, or a judge that agrees with them, that passed with "
        "them too, of those that they rated: mean over questions",
    ),
    Column(
        "verified_share_low",
        "number",
        "1",
        "verified_share: low end of the 95 % interval over questions",
    ),
    Column(
        "verified_share_high",
        "number",
        "1",
        "verified_share: high end of the 95 % interval over questions",
    ),
    Column(
        "verified_by",
        "text",
        "",
        "how verified answers were checked, and which checks were not made",
    ),
    Column("answers_with_concepts", "integer", "1", "answers whose reference has concepts"),
    Column(
        "beyond_rouge_share",
        "number",
        "1",
        "share of answers whose reference is mostly in letters other than a to z",
    ),
    Column(
        "leaked_questions", "integer", "1", "graded questions whose answer is in the training set"
    ),
    Column("half_f1_share", "number", "1", "share of answers with token F1 of at least 0.5"),
    Column("length_ratio", "number", "1", "words of all answers over words of their references"),
    Column("answer_words_mean", "number", "1", "mean words of an answer"),
    Column("empty_answers", "integer", "1", "answers without text"),
    Column("refusals", "integer", "1", "answers that start with a refusal (English phrases)"),
    Column("truncated_answers", "integer", "1", "answers that were cut off at max_tokens"),
    Column(
        "truncated_share",
        "number",
        "1",
        "share of answers cut off at max_tokens, of those with a finish reason",
    ),
    Column(
        "long_references_share",
        "number",
        "1",
        "share of references with more tokens than max_tokens",
    ),
    Column("finish_reasons", "counts", "1", "answers by finish reason, as the server gives it"),
)
