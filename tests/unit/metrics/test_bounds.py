import pytest

from medsweep.metrics import bounds
from medsweep.metrics.bounds import QualityBounds

REFERENCES = {"a": "one two three four", "b": "one two five six seven eight", "c": "nine"}


def cut(text: str) -> tuple[str, bool]:
    """At two words."""
    words = text.split()
    return " ".join(words[:2]), len(words) > 2


def test_by_hand() -> None:
    of_three = QualityBounds(cut)
    for question, reference in REFERENCES.items():
        of_three.add(question, reference)
        of_three.add(question, "asked again")
    means = of_three.means()
    # Two of four words, two of six, and all of one: F1 2/3, 1/2 and 1.
    assert means["ceiling"]["token_f1"] == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    # "nine" for a, "one two" for b, "one two" for c.
    assert means["floor"]["token_f1"] == pytest.approx((0 + 2 * 2 / (2 + 6) + 0) / 3)
    assert means["empty"]["token_f1"] == 0.0
    assert means["empty"]["consistency"] == 1.0, "an empty answer contradicts nothing"
    assert "quantity_agreement" not in means["ceiling"], "no reference has a quantity"
    assert of_three.too_long_share == pytest.approx(2 / 3)
    assert of_three.means() == means, "asking twice changes nothing"


def test_without_a_tokenizer_there_is_no_ceiling() -> None:
    unknown = QualityBounds()
    for question, reference in REFERENCES.items():
        unknown.add(question, reference)
    assert (unknown.means()["ceiling"], unknown.too_long_share) == ({}, None)
    assert unknown.means()["floor"]["token_f1"] == pytest.approx((2 * 2 / 10) / 3)


def test_one_question_has_no_floor_and_none_has_nothing() -> None:
    only = QualityBounds(cut)
    assert (only.means(), only.too_long_share) == ({"ceiling": {}, "floor": {}, "empty": {}}, None)
    only.add("a", "one")
    assert (only.means()["floor"], only.means()["ceiling"]["token_f1"]) == ({}, 1.0)


def test_only_the_first_questions_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MOST", 2)
    two = QualityBounds(cut)
    for question, reference in REFERENCES.items():
        two.add(question, reference)
    assert two.too_long_share == 1.0
