import random
from dataclasses import replace
from typing import Any

import pytest
from scipy import stats

from medsweep.decide.candidates import Candidate
from medsweep.decide.limit_check import SURE
from medsweep.decide.limits import limit_options, make_limits
from medsweep.decide.recommend import better, cheaper, recommend, recommend_by_basis
from medsweep.errors import InputError
from medsweep.results.schema import BENCHMARK

P95 = make_limits({"max-p95-ttft": 0.5})


def candidate(profile: str, load_point: str = "c1", **columns: Any) -> Candidate:
    """Return a candidate; a column with a list has one value a repeat."""
    repeats = max((len(each) for each in columns.values() if isinstance(each, list)), default=3)
    rows = tuple(
        {
            name: value[place] if isinstance(value, list) else value
            for name, value in columns.items()
        }
        for place in range(repeats)
    )
    return Candidate("m", "adapter", profile, load_point, "observed", rows)


def test_every_limit_is_of_a_column_that_results_have() -> None:
    columns = {column.name for column in BENCHMARK} | {"usd_per_1k"}
    assert set(limit_options().values()) <= columns
    assert len(limit_options()) == 5 * 5 + 13 + 1


def test_the_chance_is_that_of_the_true_mean_given_the_repeats() -> None:
    [verdict] = recommend([candidate("p", ttft_p95_s=[0.3, 0.4, 0.5])], P95)
    # mean 0.4, standard error 0.1 / sqrt(3), so 0.1 is sqrt(3) errors away
    assert verdict.probability == pytest.approx(float(stats.t.cdf(3**0.5, 2)))


def test_limits_that_are_met_beyond_doubt_are_met_as_often_as_that_says() -> None:
    """Of configurations whose true value misses the limit, at most 5 % pass as met."""
    draw = random.Random(5)
    wrongly = 0
    for _ in range(2000):
        values = [draw.gauss(0.5001, 0.05) for _ in range(4)]
        [verdict] = recommend([candidate("p", ttft_p95_s=values)], P95)
        wrongly += verdict.is_met
    assert 0 < wrongly / 2000 < 1.3 * (1 - SURE)


def test_chances_are_added_up_without_assuming_independence() -> None:
    limits = make_limits({"max-p95-ttft": 0.5, "max-mean-e2e": 5.0})
    found = candidate("p", ttft_p95_s=[0.3, 0.4, 0.5], e2e_mean_s=[3.0, 4.0, 5.0])
    [verdict] = recommend([found], limits)
    alone = float(stats.t.cdf(3**0.5, 2))
    assert verdict.probability == pytest.approx(1 - 2 * (1 - alone))


def test_what_meets_the_limits_comes_first_and_the_cheapest_of_it() -> None:
    ranked = recommend(
        [
            candidate("slow", ttft_p95_s=[0.9, 0.9, 0.91], usd_per_hour=1.0),
            candidate("dear", ttft_p95_s=[0.1, 0.1, 0.11], usd_per_hour=4.0),
            candidate("cheap", ttft_p95_s=[0.2, 0.2, 0.21], usd_per_hour=2.0),
            candidate("unsure", ttft_p95_s=[0.3, 0.5, 0.6], usd_per_hour=1.0),
        ],
        P95,
    )
    assert [verdict.candidate.profile for verdict in ranked] == ["cheap", "dear", "unsure", "slow"]
    assert [verdict.is_met for verdict in ranked] == [True, True, False, False]
    assert [verdict.is_missed for verdict in ranked] == [False, False, False, True]


def test_the_load_point_is_the_busiest_that_meets_the_limits() -> None:
    [verdict] = recommend(
        [
            candidate("p", "c1", ttft_p95_s=[0.1, 0.1, 0.11], requests_per_s=1.0),
            candidate("p", "c8", ttft_p95_s=[0.3, 0.3, 0.31], requests_per_s=6.0),
            candidate("p", "c64", ttft_p95_s=[3.0, 3.0, 3.1], requests_per_s=9.0),
        ],
        P95,
    )
    assert verdict.candidate.load_point == "c8"


def sent(hold_s: float, repeats: int = 3, count: int = 64) -> list[dict[str, Any]]:
    """Rows of requests.parquet: answers of exactly one length, the first text after a tenth."""
    return [
        {
            "repeat": repeat,
            "phase": "measure",
            "status": "ok",
            "sent_s": 10.0 * place,
            "first_text_s": 10.0 * place + hold_s / 10,
            "end_s": 10.0 * place + hold_s,
        }
        for repeat in range(repeats)
        for place in range(count)
    ]


def test_a_rate_is_planned_by_a_queue_and_its_replicas_are_paid_for() -> None:
    """Eight slots of 2 s answer 4 requests/s when always full; at that rate the queue is endless.

    Four replicas would be full at 16 requests/s and at 15.9 are nearly so; TTFT must be met too.
    """
    requests = {("k", "adapter", "c8"): sent(2.0)}
    eight = candidate(
        "p", "c8", key="k", concurrency=8, requests_per_s=4.0, usd_per_hour=2.0,
        ttft_p95_s=[0.2, 0.2, 0.2],
    )  # fmt: skip
    [verdict] = recommend([eight], P95, rate=15.9, requests=requests)
    assert verdict.replicas == 5
    assert verdict.usd_per_hour == 10.0
    assert verdict.plan is not None
    assert verdict.plan.utilisation == pytest.approx(15.9 * 2 / 40)
    [check] = verdict.checks
    assert check.value is not None
    assert 0.2 <= check.value <= 0.5
    assert verdict.is_met
    [priced] = recommend([eight], make_limits({"max-usd-per-1k": 1.0}), 15.9, requests)
    assert priced.replicas is not None
    usd, wait = priced.checks
    assert usd.value == pytest.approx(1000 * 2.0 * priced.replicas / (15.9 * 3600))
    assert (wait.limit.column, wait.limit.is_upper, wait.limit.bound) == ("wait_p95_s", True, 2)


def test_no_number_of_replicas_helps_answers_that_are_too_slow() -> None:
    requests = {("k", "adapter", "c8"): sent(6.0)}
    slow = candidate("p", "c8", key="k", concurrency=8, ttft_p95_s=[0.6, 0.6, 0.61])
    [verdict] = recommend([slow], P95, rate=2.0, requests=requests)
    assert (verdict.replicas, verdict.is_missed) == (None, True)
    assert verdict.checks[0].value == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("columns", "requests", "reason"),
    [
        ({"concurrency": 8}, [], "no times of single requests (requests.parquet)"),
        ({"concurrency": 8}, sent(2.0, 1), "one repeat does not show how certain"),
        ({"concurrency": 8}, sent(2.0, 2), "ttft_p95_s needs 130 requests, 128 were measured"),
        ({"rate_rps": 2.0, "arrivals": "constant"}, [], "constant arrivals hide the queue"),
        ({"rate_rps": 2.0, "arrivals": "poisson", "e2e_growth": 0.2}, [], "the queue grows"),
        ({}, [], "a replay has no rate"),
    ],
)
def test_what_cannot_be_planned_is_unknown_with_its_reason(
    columns: dict[str, Any], requests: list[dict[str, Any]], reason: str
) -> None:
    known = candidate("p", key="k", ttft_p95_s=[0.2, 0.2, 0.21], usd_per_hour=1.0, **columns)
    [verdict] = recommend([known], P95, 3.0, {("k", "adapter", "c1"): requests})
    assert (verdict.replicas, verdict.probability, verdict.usd_per_hour) == (None, None, None)
    assert verdict.doubts[0].startswith(f"no plan for the rate: {reason}")


def test_an_open_loop_with_random_arrivals_is_its_own_plan() -> None:
    """What was measured at 2 requests/s holds at 2 requests/s of each replica."""
    measured = candidate(
        "p", "r2-poisson", rate_rps=2.0, arrivals="poisson", ttft_p95_s=[0.2, 0.2, 0.21]
    )
    [verdict] = recommend([measured], P95, rate=5.0)
    assert (verdict.replicas, verdict.is_met) == (3, True)


def test_at_a_rate_the_load_point_with_the_fewest_replicas_is_taken() -> None:
    requests = {("k", "adapter", "c1"): sent(1.0), ("k", "adapter", "c8"): sent(2.0)}
    points = [
        candidate("p", f"c{slots}", key="k", concurrency=slots, requests_per_s=slots / hold)
        for slots, hold in ((1, 1.0), (8, 2.0))
    ]
    [verdict] = recommend(points, P95, 6.0, requests)
    assert verdict.candidate.load_point == "c8"


def test_a_missing_percentile_says_how_many_requests_it_wants() -> None:
    [verdict] = recommend([candidate("p", ttft_p95_s=[None] * 3, ok=24)], P95)
    assert verdict.probability is None
    assert verdict.doubts == ["ttft_p95_s: needs 130 requests per repeat, 24 were measured"]


def test_doubts_name_few_repeats_and_figures_on_the_edge() -> None:
    [verdict] = recommend([candidate("p", ttft_p95_s=[0.4, 0.55])], P95)
    assert verdict.doubts == [
        "2 repeats; at least 3 are needed",
        "ttft_p95_s: too close to its limit to tell",
    ]


def test_the_next_choices_are_the_next_cheaper_and_the_best() -> None:
    ranked = recommend(
        [
            candidate("a", usd_per_hour=3.0, token_f1=0.3, ttft_p95_s=[0.1, 0.1, 0.11]),
            candidate("b", usd_per_hour=2.0, token_f1=0.2, ttft_p95_s=[0.9, 0.9, 0.91]),
            candidate("c", usd_per_hour=1.0, token_f1=0.1, ttft_p95_s=[0.9, 0.9, 0.91]),
            candidate("d", usd_per_hour=9.0, token_f1=0.4, ttft_p95_s=[0.1, 0.1, 0.11]),
        ],
        P95,
    )
    chosen = ranked[0]
    less, more = cheaper(ranked, chosen), better(ranked, chosen)
    assert chosen.candidate.profile == "a"
    assert less is not None
    assert less.candidate.profile == "b"
    assert more is not None
    assert more.candidate.profile == "d"
    cheapest = next(verdict for verdict in ranked if verdict.candidate.profile == "c")
    assert cheaper(ranked, cheapest) is None


def test_a_failure_counts_as_a_request_that_never_ends() -> None:
    """13 of 144 timed out: 9 % of all requests never ended, so p95 of all is infinite."""
    quick = {"ttft_p95_s": [0.1, 0.1, 0.11], "sent": 48}
    [verdict] = recommend([candidate("p", **quick, failed=[13, 0, 0])], P95)
    assert (verdict.probability, verdict.is_missed) == (0.0, True)
    assert verdict.candidate.failed_share == pytest.approx(13 / 144)
    assert verdict.doubts == ["9.03 % of requests failed"]
    [whole] = recommend([candidate("p", **quick, failed=0)], P95)
    assert whole.is_met
    # Nine percent beyond it leave the median of all requests where it was, or nearly.
    half = make_limits({"max-p50-ttft": 0.5})
    figures = {"ttft_p50_s": [0.1, 0.1, 0.11], "ttft_p90_s": [0.2, 0.2, 0.21]}
    [verdict] = recommend([candidate("p", **figures, sent=48, failed=[13, 0, 0])], half)
    assert verdict.is_met


def test_with_failures_a_percentile_is_judged_by_the_next_higher() -> None:
    """Of 200 requests 6 failed: the 95th percentile of all is the 97.9th of those answered."""
    figures = {"ttft_p95_s": [0.4, 0.4, 0.41], "sent": 200, "failed": 6}
    [alone] = recommend([candidate("p", **figures)], P95)
    assert alone.probability is None
    [above] = recommend([candidate("p", **figures, ttft_p99_s=[0.45, 0.45, 0.46])], P95)
    assert above.is_met
    [over] = recommend([candidate("p", **figures, ttft_p99_s=[2.0, 2.0, 2.1])], P95)
    assert (over.is_met, over.is_missed) == (False, False)
    [maximum] = recommend([candidate("p", **figures, ttft_max_s=[0.45, 0.45, 0.46])], P95)
    assert maximum.is_met
    late = {**figures, "ttft_p95_s": [0.9, 0.9, 0.91]}
    assert recommend([candidate("p", **late)], P95)[0].is_missed


def test_what_the_client_limited_decides_nothing() -> None:
    limits = make_limits({"max-p95-ttft": 0.5, "min-token-f1": 0.2})
    figures = {"token_f1": 0.3, "token_f1_low": 0.29, "token_f1_high": 0.31, "usd_per_hour": 2.0}
    limited = candidate(
        "p", ttft_p95_s=[0.1, 0.1, 0.11], requests_per_s=2.0, client_limited=[False, True, None],
        **figures,
    )  # fmt: skip
    [verdict] = recommend([limited], limits, rate=3.0)
    assert [check.probability for check in verdict.checks] == [None, pytest.approx(1.0)]
    assert (verdict.is_met, verdict.is_missed) == (False, False)
    assert (verdict.replicas, verdict.usd_per_hour) == (None, None)
    assert verdict.doubts == ["limited by the client, not the server: only its quality is known"]


@pytest.mark.parametrize("basis", ["emulated", "predicted"])
def test_only_what_was_observed_has_a_price(basis: str) -> None:
    found = replace(
        candidate("p", usd_per_hour=2.0, usd_per_answer=[0.001, 0.001, 0.0011]), basis=basis
    )
    [verdict] = recommend([found], make_limits({"max-usd-per-1k": 2.0}))
    assert verdict.usd_per_hour is None
    assert verdict.probability is None
    assert "no price" in verdict.doubts[0]


def test_what_has_no_price_is_not_the_most_expensive() -> None:
    quick = {"ttft_p95_s": [0.1, 0.1, 0.11]}
    own = candidate("own", token_f1=0.4, **quick)
    rented = candidate("rented", token_f1=0.3, usd_per_hour=2.0, **quick)
    cheap = candidate("cheap", token_f1=0.2, usd_per_hour=1.0, **quick)
    order = [each.candidate.profile for each in recommend([rented, cheap, own], P95)]
    assert order == ["own", "rented", "cheap"]  # by quality
    order = [each.candidate.profile for each in recommend([rented, cheap], P95)]
    assert order == ["cheap", "rented"]


def test_without_limits_some_are_asked_for() -> None:
    with pytest.raises(InputError, match="give at least one limit, such as --max-p95-ttft"):
        recommend_by_basis([], [])


def test_a_mean_with_failures_is_missed_or_not_known() -> None:
    limits = make_limits({"max-mean-ttft": 0.5})
    failing = {"sent": 200, "failed": [1, 0, 0]}
    [quick] = recommend([candidate("p", ttft_mean_s=[0.1, 0.1, 0.11], **failing)], limits)
    assert (quick.probability, quick.is_missed) == (None, False)
    assert quick.doubts == [
        "0.17 % of requests failed",
        "ttft_mean_s: a mean with requests that never ended is not known; limit a percentile",
    ]
    [slow] = recommend([candidate("p", ttft_mean_s=[0.9, 0.9, 0.91], **failing)], limits)
    assert slow.is_missed
    [whole] = recommend([candidate("p", ttft_mean_s=[0.1, 0.1, 0.11], failed=0)], limits)
    assert whole.is_met


@pytest.mark.parametrize(
    ("option", "values", "known"),
    [
        ("max-p95-ttft", [0.1, 0.1, 0.11], True),  # with the client's error it is met
        ("max-p95-ttft", [0.9, 0.9, 0.91], False),
        ("max-mean-itl", [0.1, 0.1, 0.11], False),  # gaps may be shorter by it
    ],
)
def test_what_is_client_error_by_more_than_a_tenth_misses_no_limit(
    option: str, values: list[float], known: bool
) -> None:
    [limit] = make_limits({option: 0.5})
    marked = {"client_error_figures": [None, f"e2e_max_s, {limit.column}", None]}
    [verdict] = recommend([candidate("p", **{limit.column: values}, **marked)], [limit])
    assert (verdict.is_met, verdict.is_missed) == (known, False)
    if not known:
        assert verdict.doubts == [f"{limit.column}: more than a tenth is the client's own error"]
    [unmarked] = recommend([candidate("p", **{limit.column: values})], [limit])
    assert unmarked.is_met is (values[0] < 0.5)
