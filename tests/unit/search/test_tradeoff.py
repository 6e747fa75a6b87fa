from typing import Any

import numpy as np
import pytest

from medsweep.search.tradeoff import trade_off


def trial(name: str, quality: float, rate: float, memory: int | None = None) -> dict[str, Any]:
    return {
        "trial": name,
        "token_f1": quality,
        "eval_loss": 1 - quality,
        "tokens_per_s": rate,
        "peak_gpu_memory_bytes": memory,
    }


ROWS = [
    trial("best-and-slow", 0.40, 100),
    trial("both", 0.38, 190),
    trial("fast-and-bad", 0.20, 200),
    trial("beaten", 0.37, 180),
    trial("beaten-by-a-tie", 0.38, 150),
]


@pytest.mark.parametrize("metric", ["token_f1", "eval_loss"])
def test_the_front_and_the_best_of_both(metric: str) -> None:
    found = trade_off(ROWS, metric)
    assert found is not None
    assert found.cost == "tokens_per_s"
    assert [row["trial"] for row in found.front] == ["best-and-slow", "both", "fast-and-bad"]
    assert found.best["trial"] == "both"


def test_on_a_gpu_memory_is_what_is_traded() -> None:
    rows = [trial("small", 0.37, 1, 8), trial("large", 0.38, 999, 80), trial("worst", 0.2, 999, 81)]
    found = trade_off(rows, "token_f1")
    assert found is not None
    assert found.cost == "peak_gpu_memory_bytes"
    assert [row["trial"] for row in found.front] == ["large", "small"]
    assert found.best["trial"] == "small"


def test_one_trial_is_its_own_best() -> None:
    found = trade_off(ROWS[:1], "token_f1")
    assert found is not None
    assert found.best["trial"] == "best-and-slow"


def test_none_is_none() -> None:
    assert trade_off([], "token_f1") is None
    assert trade_off([{"token_f1": None, "tokens_per_s": 1.0}], "token_f1") is None


@pytest.mark.parametrize("metric", ["token_f1", "eval_loss"])
def test_the_lead_is_over_the_mean_of_all_trials(metric: str) -> None:
    found = trade_off(ROWS, metric)
    assert found is not None
    assert found.lead == pytest.approx(0.38 - 0.346)


@pytest.mark.parametrize("spread", [0.0, 0.02])
def test_the_lead_is_what_luck_adds_where_recipes_do_not_matter_and_more_where_they_do(
    spread: float,
) -> None:
    """24 trials of one speed; figures have an error of 0.01 over their questions."""
    rng = np.random.default_rng(3)
    luck, lead = [], []
    for _ in range(400):
        truth = 0.3 + rng.normal(0, spread, 24)
        figures = truth + rng.normal(0, 0.01, 24)
        found = trade_off([trial(str(n), figures[n], 100) for n in range(24)], "token_f1")
        assert found is not None
        luck.append(figures[int(found.best["trial"])] - truth[int(found.best["trial"])])
        lead.append(found.lead)
    assert np.mean(luck) > 0.005
    if spread:
        assert np.mean(luck) < 0.5 * np.mean(lead)
    else:
        assert np.mean(luck) == pytest.approx(np.mean(lead), rel=0.05)
