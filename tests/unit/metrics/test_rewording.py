import pytest

from medsweep.metrics.rewording import UNCHANGED, effects, rewordings

QUESTION = "What are the symptoms of Iron Deficiency Anemia in children and adults?"


def test_the_same_question_in_other_words() -> None:
    worded = rewordings(QUESTION, seed=1)
    assert worded[UNCHANGED] == QUESTION
    assert worded["lower case"] == QUESTION.lower()
    assert worded["upper case"] == QUESTION.upper()
    assert worded["paraphrase"] == (
        "Which signs and symptoms does Iron Deficiency Anemia in children and adults cause?"
    )
    assert QUESTION in worded["polite frame"]
    assert rewordings("Why me?", seed=1)["paraphrase"].endswith(": Why me?")


def test_typing_errors_are_few_seeded_and_within_words() -> None:
    for seed in range(20):
        typed = rewordings(QUESTION, seed)["typing errors"]
        assert typed == rewordings(QUESTION, seed)["typing errors"]
        words = list(zip(QUESTION.split(), typed.split(), strict=True))
        changed = [(before, after) for before, after in words if before != after]
        assert len(changed) <= 1, "one of eight words"
        for before, after in changed:
            assert (before[0], before[-1]) == (after[0], after[-1])
            assert abs(len(before) - len(after)) <= 1
    assert len({rewordings(QUESTION, seed)["typing errors"] for seed in range(20)}) > 5
    assert rewordings("Is it?", 0)["typing errors"] == "Is it?", "no word is long enough"


def test_answers_that_change_are_counted_by_hand() -> None:
    first = "Take 5 mg twice a day. It is safe for most children and adults."
    pairs = [
        (first, first),
        (first, first.replace("5 mg", "50 mg")),  # another quantity, which contradicts
        (first, "Take 5 mg. It is safe for most children and adults."),  # one less
        (first, first.replace("is safe", "is not safe")),  # the opposite
    ]
    [effect] = effects({"lower case": pairs, "paraphrase": []})
    assert (effect.rewording, effect.questions) == ("lower case", 4)
    assert effect.quantities.share == 2 / 4
    assert effect.contradicting.share == 2 / 4
    # The exact interval of 2 in 4.
    assert effect.contradicting.low == pytest.approx(0.0676, abs=1e-4)
    assert effect.contradicting.high == pytest.approx(0.9324, abs=1e-4)
