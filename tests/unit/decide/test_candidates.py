from typing import Any

import pytest

from medsweep.decide.candidates import (
    Candidate,
    all_priced,
    best_trade_offs,
    candidates,
)


def row(**changes: Any) -> dict[str, Any]:
    values = {
        "status": "ok",
        "model": "m",
        "variant": "adapter",
        "profile": "p",
        "load_point": "c1",
        "basis": "observed",
    }
    return {**values, **changes}


def candidate(*rows: dict[str, Any], profile: str = "p") -> Candidate:
    return Candidate("m", "adapter", profile, "c1", "observed", rows)


def test_repeats_of_a_load_point_are_one_candidate() -> None:
    found = candidates([row(repeat=1), row(repeat=2), row(load_point="c4"), row(basis="emulated")])
    assert [len(each.rows) for each in found] == [2, 1, 1]


def test_what_failed_or_was_refused_is_no_candidate() -> None:
    assert candidates([row(status="failed"), row(status="refused", load_point=None)]) == []


def test_uncertainty_is_over_repeats_for_latency_and_over_questions_for_quality() -> None:
    found = candidate(
        {"ttft_mean_s": 1.0, "token_f1": 0.5, "token_f1_low": 0.4, "token_f1_high": 0.6},
        {"ttft_mean_s": 3.0, "token_f1": 0.5, "token_f1_low": 0.4, "token_f1_high": 0.6},
    )
    assert found.mean("ttft_mean_s") == 2.0
    assert found.standard_error("ttft_mean_s") == pytest.approx(1.0)  # sqrt(2) / sqrt(2)
    assert found.standard_error("token_f1") == pytest.approx(0.2 / 3.92)


def test_one_repeat_has_no_uncertainty_that_can_be_told() -> None:
    assert candidate({"ttft_mean_s": 1.0}).standard_error("ttft_mean_s") is None


def test_price_is_of_a_thousand_answers() -> None:
    assert candidate({"usd_per_answer": 0.002}).mean("usd_per_1k") == pytest.approx(2.0)


def test_the_front_holds_what_nothing_beats_in_every_respect() -> None:
    fast, good, worse, lacking = (
        candidate({"token_f1": quality, "e2e_mean_s": latency}, profile=name)
        for name, quality, latency in (
            ("fast", 0.2, 1.0),
            ("good", 0.3, 2.0),
            ("worse", 0.2, 2.0),
            ("lacking", 0.9, None),
        )
    )
    assert best_trade_offs([fast, good, worse, lacking]) == [fast, good]


def test_price_counts_where_every_configuration_has_one() -> None:
    figures = {"token_f1": 0.3, "e2e_mean_s": 1.0}
    best = candidate({**figures, "usd_per_hour": 4.0}, profile="best")
    worse_and_cheap = candidate(
        {"token_f1": 0.2, "e2e_mean_s": 2.0, "usd_per_hour": 1.0}, profile="cheap"
    )
    unpriced = candidate({"token_f1": 0.2, "e2e_mean_s": 2.0}, profile="unpriced")
    assert best_trade_offs([best, worse_and_cheap]) == [best, worse_and_cheap]
    assert best_trade_offs([best, unpriced]) == [best]
    assert all_priced([best, worse_and_cheap])
    assert not all_priced([best, unpriced])
    assert not all_priced([])
