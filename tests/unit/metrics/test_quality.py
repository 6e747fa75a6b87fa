import gzip
import json
import os
import random
import re
import string
from dataclasses import astuple
from pathlib import Path

import pytest

from medsweep.metrics.quality import CLAIM_METRICS, QUALITY_METRICS, AnswerScore, score_and_count

SHARED = Path(os.environ.get("MEDSWEEP_SHARED", Path(__file__).parents[4] / "shared"))
MEDQUAD = SHARED / "data" / "medquad.jsonl.gz"

# What the rules of the three programs treat in a special way, in every position they look at.
PAIRS = [
    ("Rest and drink water.", "Rest and drink water."),
    ("The flu is a viral infection of the lungs.", "Flu is an infection of the airways (viral)."),
    ("Take aspirin, aspirin, aspirin!", "Aspirin is taken daily; aspirin thins the blood."),
    ("Il faut consulter un médecin.", "Il faut consulter un medecin."),
    ("insulin", "Insulin lowers blood sugar."),
    ("a b c d e f g", "b a c d x e g f"),
    ("a a a a a", "a a a"),
    ("", "No treatment is known."),
    ("No treatment is known.", ""),
    ("  \n\t ", "..."),
    ("the", "..."),
    ("1.5 mg, 3,000 IU; 10-20 days.", "1.5mg ,3,000IU; 10-20days . 5- 6,- 7.,8"),
    (".,5 x.,y ,.-", "x.,5 .,5 -,. 5-.,"),
    ("<skipped>one-\ntwo &amp;lt; &quot;three&quot; &#39;", 'onetwo < "three" &#39; &gt;&lt;'),
    ("x{y|z}~[\\]^_`", "x { y | z } ~ [ \\ ] ^ _ `"),
    ("5% of 7$ @ 8# (9) 1/2 don't", "5 % of 7 $ @ 8 # ( 9 ) 1 / 2 don ' t"),
    # Lower case that depends on the neighbour or has more letters: sigma, dotted I, sharp s.
    ("\u0391\u03a3 \u03b2\u03a3. \u03a3 \u0130s", "\u03b1\u03c2 \u03b2\u03c3 \u03c3 i\u0307s"),
    # Digits and letters beyond ASCII, dashes and quotes beyond ASCII, spaces beyond ASCII.
    (
        "co\u2082 10\u00b3 \u00bd the\u2013a\u2026 \u201can\u201d a\u00a0b",
        "CO2 10 3 the a an \u2028 a b",
    ),
    ("a\x1cb\x85c\u3000d\x0b.\x0c,", "a b c d . ,"),
    ("end.\r\n- item-\n  two\n", "end. - itemtwo"),
    ("the the-a the_a a's an.d", "thea as and the_a"),
    ("٣.٤ ५,६ 7.٨", "٣ . ٤ 7 . ٨"),
]


def squad_tokens(text: str) -> list[str]:
    """As SQuAD's own script does it, step by step."""
    kept = "".join(character for character in text.lower() if character not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", kept).split()).split()


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


def by_their_programs(prediction: str, reference: str) -> tuple[float, ...]:
    """Exact match, BLEU, ROUGE-1, -2, -L and F1."""
    kinds = ["rouge1", "rouge2", "rougeL"]
    # Both take long to import, and only one worker needs them.
    from rouge_score.rouge_scorer import RougeScorer
    from sacrebleu.metrics import BLEU

    rouge = RougeScorer(kinds).score(reference, prediction)
    bleu = BLEU(effective_order=True).sentence_score(prediction, [reference]).score
    return (
        float(squad_tokens(prediction) == squad_tokens(reference)),
        bleu / 100,
        *(rouge[kind].fmeasure for kind in kinds),
        squad_f1(prediction, reference),
    )


def by_us(prediction: str, reference: str) -> tuple[float, ...]:
    score = score_and_count(prediction, reference)[0]
    return (
        score.exact_match,
        score.bleu,
        score.rouge1,
        score.rouge2,
        score.rouge_l,
        score.token_f1,
    )


@pytest.mark.parametrize(("prediction", "reference"), PAIRS)
def test_figures_equal_their_programs(prediction: str, reference: str) -> None:
    for pair in ((prediction, reference), (reference, prediction)):
        assert by_us(*pair) == pytest.approx(by_their_programs(*pair), abs=1e-6)
        figures = astuple(score_and_count(*pair)[0])
        assert all(figure is None or 0 <= figure <= 1 for figure in figures)


def test_figures_equal_their_programs_on_random_texts() -> None:
    rng = random.Random(5)
    letters = [
        "a",
        "an",
        "the",
        "b",
        "B.",
        "5",
        "5.",
        ",5",
        "5-",
        "-",
        ".",
        ",",
        "&",
        "'",
        "é",
        "x\n",
    ]
    for _ in range(300):
        one, two = ["".join(rng.choices(letters, k=rng.randrange(40))) for _ in "ab"]
        assert by_us(one, two) == pytest.approx(by_their_programs(one, two), abs=1e-6)


@pytest.mark.slow
def test_figures_equal_their_programs_on_medquad() -> None:
    if not MEDQUAD.is_file():
        pytest.skip("MedQuAD is not here: set MEDSWEEP_SHARED to the folder of data/")
    with gzip.open(MEDQUAD, "rt", encoding="utf-8") as lines:
        answers = [answer for line in lines if (answer := json.loads(line)["answer"])]
    assert len(answers) > 14_000
    rng = random.Random(3)
    for _ in range(40):
        # One answer against another, and against itself with words lost and out of order.
        one, two = rng.sample([answer for answer in answers if len(answer) < 1500], 2)
        words = [word for word in re.split(r"( )", two) if rng.random() < 0.8]
        for pair in ((one, two), ("".join(words), two)):
            assert by_us(*pair) == pytest.approx(by_their_programs(*pair), abs=1e-6)


def test_a_perfect_answer_scores_1_and_not_more() -> None:
    text = "Aspirin lowers fever and thins blood."
    assert score_and_count(text, text)[0] == AnswerScore(*[1.0] * 7, None, 1.0, 1.0)


def test_exact_match_and_token_f1_by_hand() -> None:
    assert score_and_count("The flu.", "flu")[0].exact_match == 1.0
    assert score_and_count("flu shot", "flu")[0].exact_match == 0.0
    # one flu in common
    assert score_and_count("flu flu shot", "flu vaccine")[0].token_f1 == pytest.approx(2 / 5)


@pytest.mark.parametrize(
    ("prediction", "reference", "share"),
    [
        ("z x y", "x y z", 4 / 6),  # 3 + 2 + 1 n-grams; the answer has x, y, z and "x y"
        ("x", "x x", 1 / 3),  # of the reference's x, x, "x x" the one x covers one
        ("x x x", "x y", 1 / 3),  # and three of them cover no more than the one x there is
        ("v w x y z and more", "v w x y z", 1.0),  # words beyond the reference cost nothing
        ("v w x y other z", "v w x y z", 11 / 14),  # 5-grams do not count
        ("x y", "y x", 2 / 3),  # the end of one text and the start of the other are no bigram
    ],
)
def test_ngram_match_by_hand(prediction: str, reference: str, share: float) -> None:
    assert score_and_count(prediction, reference)[0].ngram_match == pytest.approx(share)


@pytest.mark.parametrize(
    ("prediction", "reference"),
    [("1.5 mg", "15 mg"), ("2.0-3.0", "20-30"), ("pH 7.4", "pH 74"), ("5", "<5"), ("-2.5", "2.5")],
)
def test_ngram_match_keeps_the_punctuation_of_numbers(prediction: str, reference: str) -> None:
    score, _, agreement, _ = score_and_count(prediction, reference)
    assert score.exact_match == 1.0, "SQuAD's normalisation, as in its own script"
    assert score.ngram_match < 1.0
    assert (score.quantity_agreement, agreement.agree) == (0.0, 0)


@pytest.mark.parametrize(
    ("prediction", "reference"),
    [
        ("12,000 people.", "12000 people"),
        ("(5 mg)", "5 mg,"),
        ("The X-ray's (old) film", "xrays old film"),
    ],
)
def test_other_punctuation_is_lost_as_in_squad(prediction: str, reference: str) -> None:
    assert score_and_count(prediction, reference)[0].ngram_match == 1.0


@pytest.mark.parametrize(
    ("prediction", "reference", "squad"),
    [("", "", 1.0), ("the", "...", 1.0), ("", "flu", 0.0), ("flu", "", 0.0), ("flu", "!", 0.0)],
)
def test_empty_texts_have_defined_figures(prediction: str, reference: str, squad: float) -> None:
    expected = AnswerScore(squad, squad, 0.0, 0.0, 0.0, 0.0, squad, None, 1.0, None)
    assert score_and_count(prediction, reference)[0] == expected


def test_metric_names_are_fixed() -> None:
    names = ("exact_match", "ngram_match", "bleu", "rouge1", "rouge2", "rouge_l", "token_f1")
    ours = ("quantity_agreement", "consistency", "concept_f1")
    assert (*names, *ours, *CLAIM_METRICS) == QUALITY_METRICS
