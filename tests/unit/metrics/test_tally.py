import tracemalloc
from dataclasses import astuple

import pytest
import sacrebleu

from medsweep.metrics import bounds
from medsweep.metrics.quality import CLAIM_METRICS, QUALITY_METRICS
from medsweep.metrics.tally import AnswerTally

PERFECT = "Aspirin lowers fever and thins blood."


def tally_of(*answers: tuple[str, ...]) -> AnswerTally:
    tally = AnswerTally()
    for answer in answers:
        tally.add(*answer)
    return tally


def test_corpus_bleu_equals_sacrebleu_and_is_not_the_mean_of_sentences() -> None:
    pairs = [
        (
            "Symptoms include fever, cough and fatigue.",
            "Symptoms are fever, cough and being tired.",
        ),
        ("", "No treatment is known."),
        ("The flu is a viral infection of the lungs.", "Flu is an infection of the airways."),
    ]
    tally = tally_of(*pairs)
    predictions, references = [list(side) for side in zip(*pairs, strict=True)]
    direct = sacrebleu.corpus_bleu(predictions, [references]).score / 100
    assert tally.corpus_bleu == pytest.approx(direct, abs=1e-6)
    assert abs(direct - tally.figures(seed=1)["bleu"].mean) > 0.01
    assert tally_of(*[(PERFECT, PERFECT)] * 150).corpus_bleu == 1.0


def test_answers_to_one_question_are_averaged_first() -> None:
    half = "flu other"  # F1 against "flu shot" is 1/2
    tally = tally_of(
        ("flu shot", "flu shot", "a"), (half, "flu shot", "a"), ("no", "flu shot", "b")
    )
    assert tally.questions == 2
    figures = tally.figures(seed=1)
    absent = {"quantity_agreement", "concept_f1", *CLAIM_METRICS}
    assert {*figures, *absent} == set(QUALITY_METRICS), "no reference has a quantity or a concept"
    assert tally.half_f1_share == pytest.approx(2 / 3)  # an F1 of 1/2 is enough
    found = figures["token_f1"]
    assert found.mean == pytest.approx(0.375)  # questions 0.75 and 0
    assert (found.low, found.high) == (0.0, 1.0)  # two questions say next to nothing
    assert found.max == 1.0


def test_quantities_are_averaged_over_the_questions_that_have_some() -> None:
    tally = tally_of(
        ("5 mg for 2 days", "5 mg for 3 days", "a"),  # one of two
        ("Take 5 mg.", "5 mg", "b"),
        ("Rest.", "Rest.", "c"),
        ("", "10 mg", "d"),
    )
    figure = tally.figures(seed=1)["quantity_agreement"]
    assert figure.mean == pytest.approx((0.5 + 1 + 0) / 3)
    assert (figure.max, tally.with_quantities, tally.questions) == (1.0, 3, 4)
    assert tally.figures(seed=1)["consistency"].mean == 3 / 4
    counts = tally.agreement.columns
    assert list(counts.values()) == [2, 1, 1, 0, 0]
    strata = tally.strata()[0].means
    assert strata["quantity_agreement"] == pytest.approx(figure.mean)


def test_one_question_has_no_bounds_and_none_has_no_figures() -> None:
    only = tally_of((PERFECT, PERFECT, "a"), (PERFECT, PERFECT, "a")).figures(seed=1)["rouge_l"]
    assert astuple(only) == (1.0, None, None, 1.0)
    empty = AnswerTally()
    assert (empty.figures(seed=1), empty.corpus_bleu, empty.length_ratio) == ({}, None, None)
    assert (empty.truncated, empty.answer_words_mean, empty.half_f1_share) == (None, None, None)
    assert [stratum.answers for stratum in empty.strata()] == [0, 0, 0, 0]


def test_without_ids_every_answer_is_a_question() -> None:
    tally = tally_of((PERFECT, PERFECT), ("no", PERFECT), ("no", PERFECT, "named"))
    assert tally.questions == 3


def test_what_is_wrong_with_answers_is_counted() -> None:
    tally = AnswerTally()
    for answer, reason in (
        ("one two", "stop"),
        (" ", "stop"),
        ("I cannot answer this.", "length"),
        ("one", None),
    ):
        tally.add(answer, "one two three four", None, reason)
    assert (tally.empty, tally.refusals, tally.truncated) == (1, 1, 1)
    assert tally.finish_reasons == {"stop": 2, "length": 1}
    assert tally.length_ratio == pytest.approx(7 / 16)
    assert tally.answer_words_mean == pytest.approx(7 / 4)


@pytest.mark.parametrize(
    ("text", "beyond"),
    [
        ("Аспирин снижает жар.", 1),
        ("阿司匹林退烧。", 1),
        ("Ασπιρίνη 5 mg", 1),
        ("Aspirin lowers fever.", 0),
        ("L'aspirine fait baisser la fièvre.", 0),
        ("500 - 600", 0),
    ],
)
def test_texts_that_rouge_does_not_read_are_counted(text: str, beyond: int) -> None:
    tally = tally_of((text, text))
    assert tally.beyond_rouge == beyond
    assert (tally.rouge_warning is not None) == bool(beyond)
    if beyond and "5" not in text:
        assert tally.figures(seed=1)["rouge1"].mean == 0.0, "though the answer is the reference"


def test_strata_part_short_references_from_long_ones() -> None:
    short, long = "one " * 49, "one " * 400
    tally = tally_of((short, short), ("one", long), ("", "one " * 50))
    strata = tally.strata()
    assert [(each.words_from, each.words_below) for each in strata] == [
        (0, 50),
        (50, 150),
        (150, 400),
        (400, None),
    ]
    assert [each.answers for each in strata] == [1, 1, 0, 1]
    assert strata[0].means["rouge1"] == 1.0
    assert strata[0].length_ratio == 1.0
    assert strata[2].means == {}
    assert strata[3].means["rouge1"] == pytest.approx(2 / 401)
    assert strata[3].length_ratio == pytest.approx(1 / 400)


def test_texts_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MOST", 1)  # of the first questions their bounds are kept too
    tally = AnswerTally()

    def add(numbers: range) -> None:
        for number in numbers:
            text = "word " * (500 + number)  # two and a half kilobytes
            tally.add(text, text)

    tracemalloc.start()
    # Imports, what is remembered of words and of the last texts, and tuples that the interpreter
    # frees and keeps.
    add(range(100, 120))
    before = tracemalloc.get_traced_memory()[0]
    add(range(100))
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert len(tally) == 120
    # An answer's figures weigh about a kilobyte; one text that is kept would add two and a half.
    assert grown < 100 * 2000


def test_verified_answers_give_every_quantity_and_deny_nothing() -> None:
    reference = "Take 5 mg twice a day. It is safe for most children and adults."
    tally = tally_of(
        (reference, reference, "right"),
        (reference.replace("5 mg", "50 mg"), reference, "wrong dose"),
        (reference.replace("5 mg", "5 mg or 50 mg"), reference, "right and wrong dose"),
        ("Take 5 mg.", reference, "frequency missing"),
        (reference.replace("is safe", "is not safe"), reference, "denied"),
        ("", reference, "empty"),
        ("Rest is good.", "Rest is good.", "nothing to verify by"),
    )
    share = tally.verified(seed=1)
    assert share is not None
    assert share.mean == 1 / 6
    assert share.low == pytest.approx(0.00421, abs=1e-4), "exact interval of 1 in 6"
    assert share.high == pytest.approx(0.64123, abs=1e-4)
    assert tally_of(("a", "a", "q")).verified(seed=1) is None
