import pytest

from made_rows import answers
from medsweep.comparison.quality_gate import judge

REFERENCE = answers([0.5, 0.7], words=100)


@pytest.mark.parametrize(
    ("scores", "words", "faults"),
    [
        ([0.5, 0.7], 100, []),
        ([0.5, 0.688], 90, []),  # 0.594 / 0.6 = 99 %
        ([0.6, 0.9], 110, []),
        ([0.5, 0.687], 100, ["rouge1 is 98.9% of the reference's, under 99%"]),
        ([0.5, 0.7], 89, ["answers are 0.89 times as long, not 0.9 to 1.1"]),
        ([0.5, 0.7], 111, ["answers are 1.11 times as long, not 0.9 to 1.1"]),
    ],
)
def test_the_bounds_of_the_gate(scores: list[float], words: int, faults: list[str]) -> None:
    found = judge("x", answers(scores, words=words), "ref", REFERENCE)
    assert found is not None
    assert found.faults[:1] == faults
    assert found.passes == (not faults)
    assert found.questions == 2


def test_without_anything_to_judge_by() -> None:
    assert judge("x", [], "ref", REFERENCE) is None
    assert judge("x", [{**REFERENCE[0], "answer_words": None}], "ref", REFERENCE) is None
    silent = answers([0.0, 0.0], words=0)
    found = judge("x", REFERENCE, "ref", silent)
    assert found is not None
    assert set(found.shares.values()) == {None}
    assert found.faults == ["the reference's answers are empty"]
