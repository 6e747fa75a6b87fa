import numpy as np
import pytest

from made_rows import summarise
from medsweep.errors import InputError
from medsweep.loadgen.objective import Objective, parse_objective


@pytest.mark.parametrize(
    ("text", "objective", "name"),
    [
        ("ttft_p95=0.5s", Objective("ttft", "p95", 0.5), "ttft_p95=0.5s"),
        (" e2e_mean=800ms ", Objective("e2e", "mean", 0.8), "e2e_mean=0.8s"),
        ("tpot_max=50ms", Objective("tpot", "max", 0.05), "tpot_max=0.05s"),
    ],
)
def test_parse(text: str, objective: Objective, name: str) -> None:
    assert parse_objective(text) == objective
    assert objective.name == name


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("ttft_p95", "ttft_p95=0.5s"),
        ("ttft_p95=0.5", "unit"),
        ("ttft_p95=0.5h", "unit"),
        ("tftt_p95=1s", "did you mean 'ttft'"),
        ("ttft_p96=1s", "did you mean 'p9"),
        ("ttft_p95=--s", "not a number"),
        ("ttft_p95=0s", "above 0"),
    ],
)
def test_what_is_no_objective(text: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        parse_objective(text)


@pytest.mark.parametrize("statistic", ["p50", "p90", "p95", "p99", "max"])
@pytest.mark.parametrize("requests", [11, 64, 130, 200, 662, 1001])
def test_hopeless_is_when_no_end_of_the_load_can_help(statistic: str, requests: int) -> None:
    objective = Objective("ttft", statistic, 1.0)
    quantile = {"max": 1.0}.get(statistic) or int(statistic[1:]) / 100
    for late in range(requests + 1):
        # The rest as good as can be: at once.
        best = np.quantile([0.0] * (requests - late) + [1.001] * late, quantile)
        # At best the quantile lies between an early and a late value; above 0 does not tell.
        if objective.hopeless(late, requests):
            assert best == pytest.approx(1.001)
        else:
            assert best < 1.001


def test_met_wants_enough_requests_and_counts_failures() -> None:
    objective = Objective("ttft", "p90", 1.0)
    assert objective.least_requests == 64
    early = summarise([0.5] * 90)
    assert objective.met(early, missed=0, requests=90)
    assert objective.met(early, missed=9, requests=100)
    assert not objective.met(early, missed=11, requests=101)  # failed, so no sample
    # 61 answers are too few for p90, but of 64 requests the 58th in order was answered in time.
    assert objective.met(summarise([0.5] * 61), missed=3, requests=64)
    assert not objective.met(summarise([0.5] * 57), missed=7, requests=64)


@pytest.mark.parametrize(
    ("statistic", "requests", "missed", "met"),
    [
        ("p95", 30, 0, True),  # the maximum is under the limit
        ("p95", 30, 1, None),
        ("p95", 30, 5, None),  # P(Binomial(30, 0.05) >= 5) = 0.0156
        ("p95", 30, 6, False),  # 0.0033
        ("p95", 1, 1, None),
        ("p50", 10, 9, None),  # 11 / 1024
        ("p50", 10, 10, False),  # 1 / 1024
        ("max", 3, 0, True),
        ("max", 3, 1, False),
        ("mean", 3, 1, True),
    ],
)
def test_few_requests_tell_what_they_can(
    statistic: str, requests: int, missed: int, met: bool | None
) -> None:
    summary = summarise([0.058] * (requests - missed) + [1.0] * missed)
    assert Objective("ttft", statistic, 0.5).met(summary, missed, requests) is met


@pytest.mark.parametrize(
    ("statistic", "missed", "unknown", "met"),
    [
        ("p90", 0, 3, True),  # all three may have missed: 97 of 100 met
        ("p90", 0, 20, None),
        ("p90", 12, 20, False),
        ("p90", 0, 100, None),
        ("max", 0, 1, None),
        ("max", 1, 1, False),
        ("mean", 0, 1, None),
    ],
)
def test_a_verdict_is_known_where_the_unknown_cannot_change_it(
    statistic: str, missed: int, unknown: int, met: bool | None
) -> None:
    summary = summarise([0.01] * (100 - unknown))
    assert Objective("tpot", statistic, 0.05).met(summary, missed, 100, unknown) is met
