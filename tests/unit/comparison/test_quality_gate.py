import numpy as np
import pytest

from made_rows import answers
from medsweep.comparison.quality_gate import FigureGate, QualityGate, judge, judge_figure

REFERENCE = answers([0.5, 0.7] * 100, words=100)


def gate(scores: list[float], words: int = 100, margin: float = 0.05) -> QualityGate:
    found = judge("x", answers(scores, words=words), "ref", REFERENCE, margin)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (90, None),
        (110, None),
        (89, "answers are 0.89 times as long, not 0.9 to 1.1"),
        (111, "answers are 1.11 times as long, not 0.9 to 1.1"),
    ],
)
def test_the_bounds_of_length(words: int, fault: str | None) -> None:
    assert gate([0.5, 0.7] * 100, words).faults == ([] if fault is None else [fault])


def test_better_answers_pass_and_worse_ones_do_not() -> None:
    assert gate([0.6, 0.8] * 100).passes
    worse = gate([0.4, 0.6] * 100)
    assert worse.figures["rouge1"].verdict == "worse"
    assert worse.faults[0].startswith("rouge1 is 83.3 % of the reference's, at most ")
    assert worse.faults[0].endswith(" %, under 95.0 %")


def test_what_is_not_shown_says_how_many_questions_would_show_it() -> None:
    """Equal means, but every answer differs by 0.3: 200 questions do not show 1 %."""
    found = gate([0.8, 0.4] * 100, margin=0.01)
    figure = found.figures["token_f1"]
    assert figure.verdict == "not known"
    assert figure.share == pytest.approx(1.0)
    assert figure.questions_needed is not None
    assert figure.questions_needed > 200
    assert "not shown to be 99.0 %; equal answers pass in" in found.faults[0]
    assert gate([0.8, 0.4] * 100, margin=0.3).passes


def test_too_few_questions_are_not_known() -> None:
    found = judge("x", answers([0.5] * 5), "ref", answers([0.5] * 5))
    assert found is not None
    assert found.faults[0] == "rouge1: 5 questions are too few, 6 are needed"


def test_without_anything_to_judge_by() -> None:
    assert judge("x", [], "ref", REFERENCE) is None
    assert judge("x", [{**REFERENCE[0], "answer_words": None}], "ref", REFERENCE) is None
    silent = answers([0.0] * 200, words=0)
    found = judge("x", REFERENCE, "ref", silent)
    assert found is not None
    assert {each.share for each in found.figures.values()} == {None}
    assert found.faults == ["the reference's answers are empty"]


def simulated(worse: float, questions: int, runs: int = 200) -> list[FigureGate]:
    """Gates of a margin of 5 %: scores of beta(2, 5), each answer with noise of its own."""
    rng = np.random.default_rng(questions + round(1000 * worse))
    found = []
    for _ in range(runs):
        skill = rng.beta(2, 5, questions)
        before, after = (np.clip(skill + rng.normal(0, 0.08, questions), 0, 1) for _ in range(2))
        found.append(judge_figure(before.tolist(), (after * (1 - worse)).tolist(), 0.05))
    return found


def passed(gates: list[FigureGate]) -> float:
    return sum(each.verdict == "as good" for each in gates) / len(gates)


@pytest.mark.slow
@pytest.mark.parametrize("questions", [50, 200, 500])
def test_answers_that_are_worse_by_the_margin_seldom_pass(questions: int) -> None:
    assert passed(simulated(0.05, questions)) <= 0.05 + 3 * (0.05 * 0.95 / 200) ** 0.5


@pytest.mark.slow
@pytest.mark.parametrize("questions", [200, 500])
def test_equal_answers_pass_as_often_as_the_power_says(questions: int) -> None:
    found = simulated(0.0, questions)
    stated = float(np.mean([each.power for each in found if each.power is not None]))
    assert passed(found) == pytest.approx(stated, abs=0.1)


@pytest.mark.slow
def test_as_many_questions_as_are_said_to_be_needed_pass_in_80_percent() -> None:
    needed = [each.questions_needed for each in simulated(0.0, 500, 50)]
    count = round(float(np.median([each for each in needed if each is not None])))
    assert passed(simulated(0.0, count)) == pytest.approx(0.8, abs=0.12)
