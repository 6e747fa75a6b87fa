import itertools
import random
from typing import Any

import pytest

from medsweep.search.effects import MainEffect, main_effects

PARAMETERS = ("rank", "alpha", "dropout")
TRUE = {"rank": {4: -2.0, 8: 0.5, 16: 1.5}, "alpha": {8: -0.3, 16: 0.3}, "dropout": {0.0: 0.0}}


def table(seed: int, noise: float, **extra: float) -> list[dict[str, Any]]:
    """A grid with known effects: 10 + rank + alpha; dropout (two values) has none."""
    chosen = random.Random(seed)
    return [
        {
            "rank": rank,
            "alpha": alpha,
            "dropout": dropout,
            "figure": 10 + TRUE["rank"][rank] + TRUE["alpha"][alpha] + chosen.gauss(0, noise),
            **extra,
        }
        for rank, alpha, dropout in itertools.product((4, 8, 16), (8, 16), (0.0, 0.5))
        for _ in range(2)
    ]


def found(rows: list[dict[str, Any]]) -> dict[str, MainEffect]:
    return {effect.parameter: effect for effect in main_effects(rows, PARAMETERS, "figure")}


def test_effects_without_noise_are_exact() -> None:
    effects = found(table(1, noise=0.0))
    for name in ("rank", "alpha"):
        for level in effects[name].levels:
            assert level.effect == pytest.approx(TRUE[name][level.value])
            assert level.trials == (8 if name == "rank" else 12)
        assert effects[name].matters
    assert [level.effect for level in effects["dropout"].levels] == pytest.approx([0, 0])
    assert effects["dropout"].share == pytest.approx(0, abs=1e-9)
    # 8 x (4 + 0.25 + 2.25) of 8 x 6.5 + 24 x 0.09
    assert effects["rank"].share == pytest.approx(52 / 54.16)


def test_effects_of_an_unbalanced_table_are_exact_too() -> None:
    rows = [row for place, row in enumerate(table(1, noise=0.0)) if place not in (0, 1, 2, 5, 11)]
    effects = found(rows)
    assert [level.effect for level in effects["rank"].levels] == pytest.approx([-2.0, 0.5, 1.5])
    assert [level.effect for level in effects["alpha"].levels] == pytest.approx([-0.3, 0.3])


def test_the_intervals_hold_the_truth_as_often_as_they_say() -> None:
    held = total = false_alarms = 0
    for seed in range(200):
        effects = found(table(seed, noise=0.5))
        for name in ("rank", "alpha"):
            for level in effects[name].levels:
                assert level.low is not None
                assert level.high is not None
                held += level.low <= TRUE[name][level.value] <= level.high
                total += 1
        false_alarms += bool(effects["dropout"].matters)
        assert effects["rank"].matters
    # 1,000 intervals of 95 %, correlated within a table: far outside of these bounds is a fault.
    assert 0.93 < held / total < 0.97
    # With Holm's correction a parameter without effect matters in fewer than 5 % of tables.
    assert false_alarms <= 14


def test_too_few_trials_have_effects_without_intervals() -> None:
    rows = [{"rank": 4, "figure": 1.0}, {"rank": 8, "figure": 3.0}]
    [effect] = main_effects(rows, ("rank",), "figure")
    assert [level.effect for level in effect.levels] == pytest.approx([-1, 1])
    assert [(level.low, level.high) for level in effect.levels] == [(None, None)] * 2
    assert (effect.p, effect.matters) == (None, None)


def test_what_does_not_vary_has_no_effect() -> None:
    rows = [{"rank": 4, "alpha": 8, "figure": value} for value in (1.0, 2.0)]
    assert main_effects(rows, ("rank", "alpha"), "figure") == []
    assert main_effects([], ("rank",), "figure") == []


def test_rows_without_the_figure_are_left_out() -> None:
    rows: list[dict[str, Any]] = table(1, noise=0.0)
    rows.append({"rank": 4, "alpha": 8, "dropout": 0.0, "figure": None})
    assert found(rows)["rank"].levels[0].trials == 8


def test_two_parameters_that_vary_together_cannot_be_told_apart() -> None:
    rows = [
        {"rank": rank, "alpha": 2 * rank, "dropout": 0.0, "figure": float(rank + noise)}
        for rank in (4, 8)
        for noise in (-0.1, 0.1, 0.0)
    ]
    effects = found(rows)
    # Neither adds anything to the model with the other one.
    assert [effects[name].p for name in ("rank", "alpha")] == [None, None]
    assert [effects[name].share for name in ("rank", "alpha")] == pytest.approx([0, 0])
    assert all(level.low is None for level in effects["rank"].levels)
