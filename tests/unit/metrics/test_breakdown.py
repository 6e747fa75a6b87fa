import random

import numpy as np
import pytest

from medsweep.metrics.breakdown import (
    OTHER,
    length_label,
    pooled,
    quality_by_group,
    worsened,
    worst,
)
from medsweep.metrics.significance import permutation_p

Scores = dict[str, dict[str, float | None]]


def test_a_group_that_differs_is_told_from_those_that_do_not() -> None:
    rng = np.random.default_rng(1)
    groups = ["bad"] * 30 + ["one"] * 40 + ["two"] * 40
    values = np.concatenate([rng.uniform(0, 0.4, 30), rng.uniform(0.3, 0.9, 80)])
    found = quality_by_group({"token_f1": values}, {"kind": groups}, seed=1)
    by_group = {each.group: each for each in found}
    assert set(by_group) == {"bad", "one", "two"}
    assert (by_group["bad"].p_value or 1) < 0.01
    assert by_group["bad"].mean == pytest.approx(values[:30].mean())
    assert by_group["bad"].rest == pytest.approx(values[30:].mean())
    assert [each.questions for each in found] == [40, 40, 30]
    low, high = by_group["bad"].low, by_group["bad"].high
    assert low is not None
    assert high is not None
    assert low < values[:30].mean() < high


@pytest.mark.slow
def test_p_values_of_equal_groups_hold_their_level() -> None:
    """A rare figure and small groups, where a t-test calls four in ten different."""
    alarms = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        values = (rng.random(200) < 0.05).astype(float)
        groups = ["small" if place < 10 else "large" for place in range(200)]
        found = quality_by_group({"consistency": values}, {"kind": groups}, seed=seed)
        alarms += any(each.p_value is not None and each.p_value <= 0.05 for each in found)
    assert alarms <= 6, "5 % of 60 are 3; over 6 has a probability of 3 %"


def test_the_permutation_agrees_with_all_splits() -> None:
    values = np.array([0.9, 0.8, 0.7, 0.75, 0.6, 0.95, 0.1, 0.2, 0.3, 0.35, 0.15, 0.62])
    found = quality_by_group({"f": values}, {"k": ["a"] * 6 + ["b"] * 6}, seed=1)
    exact = permutation_p(list(values[:6]), list(values[6:]))
    assert exact is not None
    # Two tests, of either group, double it.
    assert found[0].p_value == pytest.approx(2 * exact, abs=0.004)


def test_small_groups_are_pooled_and_missing_figures_left_out() -> None:
    groups = ["a"] * 6 + ["b"] * 6 + ["c"] * 2 + ["d"] * 2 + [None]
    assert pooled(groups) == ["a"] * 6 + ["b"] * 6 + [OTHER] * 4 + [None]
    values = np.array([0.5] * 12 + [np.nan] * 5)
    found = quality_by_group({"quantity_agreement": values}, {"k": groups}, seed=1)
    assert [(each.group, each.questions) for each in found] == [("a", 6), ("b", 6)]
    assert quality_by_group({"f": values}, {"k": ["only"] * 17}, seed=1) == []


def test_strata_are_named_by_their_ends() -> None:
    assert [length_label(words, (50, 150)) for words in (0, 49, 50, 149, 150, 999)] == [
        "0-49", "0-49", "50-149", "50-149", "150+", "150+",
    ]  # fmt: skip


def test_the_worst_answers_contradict_first() -> None:
    scores = [
        {"token_f1": 0.1, "consistency": 1.0},
        {"token_f1": 0.8, "consistency": 0.0},
        {"token_f1": 0.3, "consistency": 0.0},
        {"token_f1": None, "consistency": None},
    ]
    assert worst(scores) == [2, 1, 0]


def test_questions_that_got_worse() -> None:
    order = [*range(30)]
    random.Random(1).shuffle(order)
    before: Scores = {str(n): {"token_f1": 0.5, "consistency": 1.0} for n in order}
    after: Scores = {str(n): {"token_f1": 0.5 + (n - 10) / 100, "consistency": 1.0} for n in order}
    after["20"]["consistency"] = 0.0
    change = worsened(before, {**after, "99": {"token_f1": 0.0}})
    assert (change.questions, change.contradicting) == (30, 1)
    assert (change.token_f1_higher, change.token_f1_lower) == (19, 10)
    assert change.worst == [str(n) for n in (20, 0, 1, 2, 3, 4, 5, 6, 7, 8)]


def test_the_last_digits_of_a_mean_make_no_question_worse() -> None:
    before: Scores = {"q": {"token_f1": (0.1 + 0.2 + 0.3) / 3, "consistency": 1.0}}
    after: Scores = {"q": {"token_f1": (0.3 + 0.2 + 0.1) / 3, "consistency": 1.0}}
    assert before != after
    found = worsened(before, after)
    assert (found.token_f1_lower, found.token_f1_higher, found.worst) == (0, 0, [])


def test_what_is_not_graded_on_both_sides_did_not_get_worse() -> None:
    graded: Scores = {
        "no F1 now": {"token_f1": 0.5, "consistency": 1.0},
        "no F1 before": {"token_f1": None, "consistency": None},
        "no consistency now": {"token_f1": 0.5, "consistency": 1.0},
    }
    after: Scores = {
        "no F1 now": {"token_f1": None, "consistency": None},
        "no F1 before": {"token_f1": 0.5, "consistency": 1.0},
        "no consistency now": {"token_f1": 0.4, "consistency": None},
    }
    found = worsened(graded, after)
    assert (found.questions, found.token_f1_higher, found.token_f1_lower) == (1, 0, 1)
    assert (found.contradicting, found.worst) == (0, ["no consistency now"])
