import re
import string
from dataclasses import astuple, replace

import pytest
import sacrebleu
from rouge_score import rouge_scorer

from medsweep.metrics.quality import (
    QUALITY_METRICS,
    AnswerScore,
    corpus_bleu,
    exact_match,
    ngram_match,
    normalise,
    score_answer,
    summarise_quality,
    token_f1,
)

PAIRS = [
    ("Rest and drink water.", "Rest and drink water."),
    ("The flu is a viral infection of the lungs.", "Flu is an infection of the airways (viral)."),
    ("Take aspirin, aspirin, aspirin!", "Aspirin is taken daily; aspirin thins the blood."),
    ("Symptoms include fever, cough and fatigue.", "Fevers, coughing and being tired."),
    ("Il faut consulter un médecin.", "See a doctor at once."),
    ("drink water", "Please drink water"),
    ("insulin", "Insulin lowers blood sugar."),
    ("", "No treatment is known."),
    ("No treatment is known.", ""),
]
PERFECT = AnswerScore(1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)


def squad_tokens(text: str) -> list[str]:
    kept = "".join(c for c in text.lower() if c not in set(string.punctuation))
    return [word for word in re.split(r"\s+", kept) if word not in {"", "a", "an", "the"}]


def squad_f1(prediction: str, reference: str) -> float:
    answer, truth = squad_tokens(prediction), squad_tokens(reference)
    if not answer or not truth:
        return float(answer == truth)
    left, common = list(truth), 0
    for word in answer:
        if word in left:
            left.remove(word)
            common += 1
    if common == 0:
        return 0.0
    precision, recall = common / len(answer), common / len(truth)
    return 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize(("prediction", "reference"), PAIRS)
def test_figures_equal_their_libraries(prediction: str, reference: str) -> None:
    score = score_answer(prediction, reference)
    bleu = sacrebleu.sentence_bleu(prediction, [reference], use_effective_order=True).score
    kinds = ["rouge1", "rouge2", "rougeL"]
    rouge = rouge_scorer.RougeScorer(kinds, use_stemmer=False).score(reference, prediction)
    assert score.bleu == pytest.approx(bleu / 100, abs=1e-6)
    assert (score.rouge1, score.rouge2, score.rouge_l) == pytest.approx(
        tuple(rouge[kind].fmeasure for kind in kinds), abs=1e-6
    )
    assert score.token_f1 == pytest.approx(squad_f1(prediction, reference), abs=1e-6)
    assert score.exact_match == float(squad_tokens(prediction) == squad_tokens(reference))
    assert all(0 <= figure <= 1 for figure in astuple(score))


def test_corpus_bleu_equals_sacrebleu_and_is_not_the_mean_of_sentences() -> None:
    predictions, references = [list(side) for side in zip(*PAIRS, strict=True)]
    direct = sacrebleu.corpus_bleu(predictions, [references]).score / 100
    sentences = [score_answer(*pair).bleu for pair in PAIRS]
    assert corpus_bleu(predictions, references) == pytest.approx(direct, abs=1e-6)
    assert abs(direct - sum(sentences) / len(sentences)) > 0.01


def test_a_perfect_answer_scores_1_and_not_more() -> None:
    text = "Aspirin lowers fever and thins blood."
    assert score_answer(text, text) == PERFECT
    assert corpus_bleu([text] * 150, [text] * 150) == 1.0


def test_normalise_by_hand() -> None:
    assert normalise("  The  heart's\tan 'organ' — a PUMP. ") == "hearts organ — pump"
    assert normalise("theatre analysis") == "theatre analysis"  # an article is a whole word


def test_exact_match_and_token_f1_by_hand() -> None:
    assert exact_match("The flu.", "flu") == 1.0
    assert exact_match("flu shot", "flu") == 0.0
    assert token_f1("flu flu shot", "flu vaccine") == pytest.approx(2 / 5)  # one flu in common


def test_ngram_match_by_hand() -> None:
    # reference: 3 + 2 + 1 n-grams; the answer has x, y, z and "x y"
    assert ngram_match("z x y", "x y z") == pytest.approx(4 / 6)
    # of the reference's x, x, "x x" the one x covers one
    assert ngram_match("x", "x x") == pytest.approx(1 / 3)
    # and three of them cover no more than the one x there is
    assert ngram_match("x x x", "x y") == pytest.approx(1 / 3)
    # words beyond the reference cost nothing, and 5-grams do not count
    assert ngram_match("v w x y z and more", "v w x y z") == 1.0
    assert ngram_match("v w x y other z", "v w x y z") == pytest.approx(11 / 14)


@pytest.mark.parametrize(
    ("prediction", "reference", "squad"),
    [("", "", 1.0), ("the", "...", 1.0), ("", "flu", 0.0), ("flu", "", 0.0), ("flu", "!", 0.0)],
)
def test_empty_texts_have_defined_figures(prediction: str, reference: str, squad: float) -> None:
    expected = AnswerScore(squad, squad, 0.0, 0.0, 0.0, 0.0, squad)
    assert score_answer(prediction, reference) == expected


def test_metric_names_are_fixed() -> None:
    names = ("exact_match", "ngram_match", "bleu", "rouge1", "rouge2", "rouge_l", "token_f1")
    assert names == QUALITY_METRICS


def test_summary_averages_answers_to_one_question_first() -> None:
    scores = [replace(PERFECT, bleu=bleu) for bleu in (0.0, 0.0, 0.6, 0.5)]
    summary = summarise_quality(scores, ["a", "a", "a", "b"], seed=1)
    assert tuple(summary) == QUALITY_METRICS
    bleu = summary["bleu"]
    assert bleu.mean == pytest.approx(0.35)  # questions 0.2 and 0.5
    assert (bleu.low, bleu.high) == pytest.approx((0.2, 0.5))
    assert bleu.max == 0.6
    assert astuple(summary["token_f1"]) == (1.0, 1.0, 1.0, 1.0)


def test_one_question_has_no_bounds() -> None:
    only = summarise_quality([PERFECT, PERFECT], ["a", "a"], seed=1)["rouge_l"]
    assert (only.mean, only.low, only.high) == (1.0, None, None)


def test_nothing_is_dropped_silently() -> None:
    with pytest.raises(ValueError, match="there are 2 and 1"):
        corpus_bleu(["x", "y"], ["x"])
    with pytest.raises(ValueError, match="there are 1 and 2"):
        summarise_quality([PERFECT], ["a", "b"], seed=1)
    with pytest.raises(ValueError, match="at least one"):
        summarise_quality([], [], seed=1)
