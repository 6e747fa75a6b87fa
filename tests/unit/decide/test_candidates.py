from typing import Any

import pytest

from medsweep.decide.candidates import Candidate, best_trade_offs, candidates


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


def test_repeats_of_one_deployment_are_one_value_where_there_are_several() -> None:
    found = candidate(
        *({"ttft_mean_s": each, "deployment": number} for each, number in ((1, 1), (1, 1), (3, 2)))
    )
    assert found.samples("ttft_mean_s") == [1.0, 3.0]
    assert found.standard_error("ttft_mean_s") == pytest.approx(1.0)


def test_one_repeat_has_no_uncertainty_that_can_be_told() -> None:
    assert candidate({"ttft_mean_s": 1.0}).standard_error("ttft_mean_s") is None


def test_price_is_of_a_thousand_answers() -> None:
    assert candidate({"usd_per_answer": 0.002}).mean("usd_per_1k") == pytest.approx(2.0)


def measured(profile: str, token_f1: float, e2e_mean_s: float | None, **more: Any) -> Any:
    return row(
        profile=profile, token_f1=token_f1, e2e_mean_s=e2e_mean_s, **{"concurrency": 1, **more}
    )


def names(rows: list[dict[str, Any]], basis: str = "observed") -> list[str]:
    found = best_trade_offs(rows)
    assert found is not None
    return [each.profile for each in found.best[basis]]


def test_the_front_holds_what_nothing_beats_in_every_respect() -> None:
    rows = [
        measured("fast", 0.2, 1.0),
        measured("good", 0.3, 2.0),
        measured("worse", 0.2, 2.0),
        measured("lacking", 0.9, None),
    ]
    assert names(rows) == ["good", "fast"]
    assert best_trade_offs([]) is None


def test_price_counts_where_every_configuration_has_one() -> None:
    best = measured("best", 0.3, 1.0, usd_per_hour=4.0)
    cheap = measured("cheap", 0.2, 2.0, usd_per_hour=1.0)
    unpriced = measured("unpriced", 0.2, 2.0)
    assert names([best, cheap]) == ["best", "cheap"]
    assert names([best, unpriced]) == ["best"]
    assert best_trade_offs([best, cheap]).priced == {"observed"}
    assert best_trade_offs([best, unpriced]).priced == frozenset()


def test_the_trade_off_is_of_the_lightest_load_and_bases_are_apart() -> None:
    """At c8 the other one is faster, and what was emulated is never compared with it."""
    rows = [
        measured("a", 0.3, 1.0),
        measured("b", 0.3, 2.0),
        measured("a", 0.3, 9.0, load_point="c8", concurrency=8),
        measured("b", 0.3, 3.0, load_point="c8", concurrency=8),
        measured("e", 0.1, 5.0, basis="emulated"),
        measured("p", 0.9, 0.1, basis="predicted"),
    ]
    found = best_trade_offs(rows)
    assert found is not None
    assert found.load_point == "c1"
    assert {basis: [each.profile for each in best] for basis, best in found.best.items()} == {
        "observed": ["a"],
        "emulated": ["e"],
        "predicted": ["p"],
    }


@pytest.mark.parametrize(
    "unfit",
    [
        {"sent": 100, "failed": 6},
        {"client_limited": True},
        {"client_error_figures": "ttft_mean_s, e2e_mean_s"},
    ],
)
def test_a_time_that_is_not_the_server_s_is_no_trade_off(unfit: dict[str, Any]) -> None:
    rows = [measured("quick", 0.3, 1.0), measured("slow", 0.3, 2.0)]
    assert names(rows) == ["quick"]
    assert names([rows[0] | unfit, rows[1]]) == ["slow"]
    for harmless in ({"client_error_figures": "ttft_mean_s"}, {"sent": 100, "failed": 5}):
        assert names([rows[0] | harmless, rows[1]]) == ["quick"]
