import time

import pytest

from medsweep.datasets.leakage import Leak, leaks, without_leaks
from medsweep.datasets.spec import Pair

WORDS = [f"w{place}" for place in range(40)]


def pair(name: str, answer: str, question: str | None = None) -> Pair:
    return Pair(name, question or f"What is {name}?", answer)


def test_the_share_of_8_grams_by_hand() -> None:
    # 40 words have 33 8-grams; the first 30 of them hold 23, the first 20 hold 13.
    asked = [pair("a", " ".join(WORDS))]
    most, less = pair("most", " ".join(WORDS[:30])), pair("less", " ".join(WORDS[:20]))
    [leak] = leaks([less, most], asked)
    assert leak == Leak("a", "most", pytest.approx(23 / 33), same_question=False)
    assert leaks([less], asked) == [], "13 of 33 are less than half"
    pieces = [pair(f"p{n}", " ".join(WORDS[n : n + 12])) for n in range(0, 40, 10)]
    assert leaks(pieces, asked) == [], "half of it in one answer, not in several"


def test_case_and_punctuation_do_not_hide_a_leak() -> None:
    answer = "Take rest, and drink water; then see a doctor (soon) if it lasts."
    learnt = pair("b", answer.upper().replace(",", " -").replace(";", "."))
    [leak] = leaks([learnt], [pair("a", answer)])
    assert leak.share == 1.0


def test_short_answers_are_compared_in_full() -> None:
    assert [leak.share for leak in leaks([pair("b", "No.")], [pair("a", "no")])] == [1.0]
    assert leaks([pair("b", "No cure.")], [pair("a", "no")]) == []
    assert leaks([pair("b", "...")], [pair("a", "...")]) == []


def test_a_question_in_other_order_is_the_same() -> None:
    asked = pair("a", "One answer.", "What are the signs of gout?")
    learnt = pair("b", "Another text.", "The signs of gout: what are?")
    assert leaks([learnt], [asked]) == [Leak("a", "b", 0.0, same_question=True)]
    assert leaks([pair("c", "Text.", "What are the signs of asthma?")], [asked]) == []


def test_without_leaks_nothing_is_left_of_them() -> None:
    asked = [pair("a", " ".join(WORDS)), pair("q", "Short.", "Why?")]
    train = [
        pair("b", " ".join(WORDS[:35])),
        pair("c", " ".join(WORDS[5:])),
        pair("d", "Other.", "Why?"),
        pair("e", "Nothing of it is here."),
    ]
    assert len(leaks(train, asked)) == 2
    kept = without_leaks(train, asked)
    assert [each.question_id for each in kept] == ["e"]
    assert leaks(kept, asked) == []


def test_ten_thousand_pairs_take_seconds() -> None:
    train = [pair(f"t{n}", " ".join(f"x{n}y{k}" for k in range(100))) for n in range(5000)]
    asked = [pair(f"a{n}", train[n].answer) for n in range(0, 5000, 50)]
    started = time.process_time()
    assert len(leaks(train, asked)) == 100
    assert time.process_time() - started < 10
