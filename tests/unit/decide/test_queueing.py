"""Replicas for a rate: the simulated queue against formulas, and how often its plans hold."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from medsweep.decide.limits import Limit, make_limits
from medsweep.decide.queueing import (
    ServiceTimes,
    plan_replicas,
    probabilities_at,
    service_times,
    simulated_waits,
)

Times = NDArray[np.float64]


def measured(slots: int, *repeats: Sequence[float], first_s: float = 0.2) -> ServiceTimes:
    """Service times of which every answer begins after `first_s`."""
    return ServiceTimes(
        slots, tuple(np.column_stack([np.full(len(each), first_s), each, each]) for each in repeats)
    )


def erlang_c(slots: int, load: float) -> float:
    """Share of requests that wait in M/M/c (Erlang 1917), by his recursion for B."""
    blocked = 1.0
    for each in range(1, slots + 1):
        blocked = load * blocked / (each + load * blocked)
    return blocked / (1 - load / slots * (1 - blocked))


def waits_p95(rate: float, slots: int, mean_s: float) -> float:
    """95th percentile of the wait in M/M/c: P(wait > t) = C exp(-(c - load) t / mean)."""
    load = rate * mean_s
    if load >= slots:
        return math.inf
    share = erlang_c(slots, load)
    return max(0.0, math.log(share / 0.05) * mean_s / (slots - load))


@pytest.mark.parametrize(("slots", "utilisation"), [(1, 0.5), (1, 0.8), (8, 0.7), (32, 0.9)])
def test_waits_are_those_of_erlang(slots: int, utilisation: float) -> None:
    service = np.random.default_rng(0).exponential(2.0, 20_000)
    mean_s = float(service.mean())
    rate = utilisation * slots / mean_s
    waits = simulated_waits(rate, slots, service, 200_000, seed=1)
    share = erlang_c(slots, rate * mean_s)
    assert (waits > 0).mean() == pytest.approx(share, rel=0.06)
    assert waits.mean() == pytest.approx(share * mean_s / (slots - rate * mean_s), rel=0.12)
    assert np.quantile(waits, 0.95) == pytest.approx(waits_p95(rate, slots, mean_s), rel=0.12)


@pytest.mark.parametrize("spread", [0.0, 0.5, 1.0])
def test_one_slot_waits_as_pollaczek_and_khinchine_say(spread: float) -> None:
    """Mean wait in M/G/1: load / (1 - load) (1 + cv^2) / 2 of a service time."""
    draw = np.random.default_rng(0)
    service = 2.0 * np.exp(draw.normal(0, spread, 20_000))
    mean_s, cv = float(service.mean()), float(service.std() / service.mean())
    waits = simulated_waits(0.7 / mean_s, 1, service, 300_000, seed=2)
    assert waits.mean() == pytest.approx(0.7 / 0.3 * (1 + cv**2) / 2 * mean_s, rel=0.1)


def test_a_plan_leaves_room_for_the_queue() -> None:
    """Replicas of 8 slots and 2 s an answer, 16 requests/s: four are full, and wait for ever."""
    draw = np.random.default_rng(3)
    service = measured(8, *(draw.exponential(2.0, 256) for _ in range(4)))
    [limit] = make_limits({"max-p95-ttft": 0.5})
    plan = plan_replicas(service, 16.0, [limit], 0.95)
    assert plan.replicas is not None
    right = next(k for k in range(4, 20) if 0.2 + waits_p95(16.0, 8 * k, service.held_s) <= 0.5)
    assert right <= plan.replicas <= right + 1  # the mean of 1024 answers is uncertain to 3 %
    expected = 0.2 + waits_p95(16.0, 8 * plan.replicas, service.held_s)
    assert plan.figures[limit].value == pytest.approx(expected, abs=0.1)
    fewer = probabilities_at(service, 16.0, plan.replicas - 1, [limit])
    assert fewer[limit] < 0.95


def test_a_failed_request_never_ends_and_holds_its_slot() -> None:
    answered = {"phase": "measure", "status": "ok", "sent_s": 5.0, "first_text_s": 5.5}
    failed = {**answered, "status": "timeout", "first_text_s": None}
    rows = [
        {**(answered if place % 20 else failed), "end_s": 7.0, "repeat": 1 + place % 2}
        for place in range(400)
    ]
    rows.append({**rows[1], "phase": "warmup", "end_s": 99.0})
    service = service_times(rows, 4, {1: 1, 2: 1})
    assert service.held_s == pytest.approx(2.0)
    assert service.log_error == 0.0
    p95, p90, mean = make_limits({"max-p95-ttft": 9.0, "max-p90-ttft": 9.0, "max-mean-e2e": 9.0})
    # 5 % failed, in a bootstrap sample now more and now fewer: p95 is about even, p90 finite.
    chances = probabilities_at(service, 1.0, 1, [p95, p90, mean])
    assert 0.2 < chances[p95] < 0.8
    assert (chances[p90], chances[mean]) == (1.0, 1.0)


def test_repeats_of_one_deployment_are_one_sample_where_there_are_several() -> None:
    rows = [
        {
            "phase": "measure",
            "repeat": repeat,
            "status": "ok",
            "sent_s": 0.0,
            "first_text_s": 0.1,
            "end_s": took_s,
        }
        for repeat, took_s in ((1, 1.0), (2, 1.0), (3, 2.0), (4, 2.0))
    ]
    # Two deployments whose logarithms are ln 2 apart: the standard error is half of that.
    nested = service_times(rows, 1, {1: 1, 2: 1, 3: 2, 4: 2})
    assert len(nested.repeats) == 2
    assert nested.log_error == pytest.approx(math.log(2) / 2)
    assert len(service_times(rows, 1, dict.fromkeys((1, 2, 3, 4), 1)).repeats) == 4


def test_too_fast_arrivals_meet_nothing() -> None:
    [limit] = make_limits({"max-mean-e2e": 1000.0})
    service = measured(2, [2.0] * 50, [2.0] * 50)
    assert probabilities_at(service, 1.1, 1, [limit]) == {limit: 0.0}
    assert probabilities_at(service, 0.9, 1, [limit]) == {limit: 1.0}


@pytest.mark.slow
def test_of_what_is_called_80_percent_80_percent_holds() -> None:
    """Plans of random limits and rates from 3 to 5 noisy repeats; the truth is M/M/c.

    docs/statistics.md has the figures of 3,000 plans.
    """
    draw = np.random.default_rng(11)
    said: list[float] = []
    held: list[bool] = []
    for trial in range(400):
        slots, replicas = int(draw.choice([1, 4, 8])), int(draw.integers(1, 5))
        rate = float(draw.uniform(0.5, 0.97)) * replicas * slots / 2.0
        repeats: list[Times] = []
        for _ in range(int(draw.integers(3, 6))):
            speed = math.exp(draw.normal(0, 0.04))
            repeats.append(draw.exponential(2.0 * speed, 64))
        right_s = 0.2 + waits_p95(rate, replicas * slots, 2.0)
        limit = Limit("", "ttft_p95_s", True, right_s * math.exp(draw.uniform(-1, 1)))
        service = measured(slots, *repeats)
        said.append(probabilities_at(service, rate, replicas, [limit], seed=trial)[limit])
        held.append(right_s <= limit.bound)
    for low, high in ((0.0, 0.1), (0.1, 0.4), (0.4, 0.7), (0.7, 0.9), (0.9, 1.01)):
        band = [place for place, each in enumerate(said) if low <= each < high]
        expected = float(np.mean([said[place] for place in band]))
        share = float(np.mean([held[place] for place in band]))
        error = 3 * math.sqrt(max(expected * (1 - expected), 0.02) / len(band))
        assert len(band) >= 30
        assert share == pytest.approx(expected, abs=error + 0.06)
