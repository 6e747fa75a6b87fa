import random
from typing import Any

import pytest
from scipy import stats

from medsweep.decide.candidates import Candidate
from medsweep.decide.limits import limit_options, make_limits
from medsweep.decide.recommend import SURE, better, cheaper, recommend
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
    assert len(limit_options()) == 5 * 5 + 7 + 1


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


def test_a_rate_takes_as_many_replicas_as_it_needs_and_they_are_paid_for() -> None:
    [verdict] = recommend([candidate("p", requests_per_s=1.5, usd_per_hour=2.0)], [], rate=4.0)
    assert verdict.replicas == 3
    assert verdict.usd_per_hour == 6.0


def test_a_missing_percentile_says_how_many_requests_it_wants() -> None:
    [verdict] = recommend([candidate("p", ttft_p95_s=[None] * 3, ok=24)], P95)
    assert verdict.probability is None
    assert verdict.doubts == ["ttft_p95_s: needs 130 requests per repeat, 24 were measured"]


def test_doubts_name_few_repeats_and_figures_on_the_edge() -> None:
    [verdict] = recommend([candidate("p", ttft_p95_s=[0.4, 0.55])], P95)
    assert verdict.doubts == [
        "2 repeats; at least 3 are needed",
        "ttft_p95_s: 0.475 is too close to 0.5 to tell",
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
