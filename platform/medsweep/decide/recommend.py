"""Rank configurations by the chance that they meet what is asked of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from medsweep.decide.candidates import Candidate
from medsweep.decide.limits import USD_PER_1K, Limit
from medsweep.metrics.statistics import percentile_floor

SURE = 0.95
"""From this chance on a limit counts as met, and below its complement as missed."""

FEWEST_REPEATS = 3
"""With fewer an interval says little; the rules of measurement ask for as many."""

QUALITY = "token_f1"
LATENCY = "e2e_mean_s"


@dataclass(frozen=True)
class Check:
    """One limit held against one candidate.

    Attributes:
        limit: the limit.
        value: measured mean; None where there is none.
        probability: that the true mean meets the limit; None where it cannot be told.
    """

    limit: Limit
    value: float | None
    probability: float | None


@dataclass(frozen=True)
class Verdict:
    """One candidate with its checks.

    Attributes:
        candidate: the configuration, at the load point that suits it best.
        checks: one a limit.
        replicas: that the wanted rate needs; None where no rate was given or none measured.
    """

    candidate: Candidate
    checks: tuple[Check, ...]
    replicas: int | None

    @property
    def probability(self) -> float | None:
        """Least chance that all limits are met (Bonferroni: no independence is assumed)."""
        missed = 0.0
        for check in self.checks:
            if check.probability is None:
                return None
            missed += 1 - check.probability
        return max(0.0, 1 - missed)

    @property
    def is_met(self) -> bool:
        """Whether all limits are met beyond doubt."""
        return self.probability is not None and self.probability >= SURE

    @property
    def is_missed(self) -> bool:
        """Whether some limit is missed beyond doubt."""
        return any(
            check.probability is not None and check.probability <= 1 - SURE for check in self.checks
        )

    @property
    def usd_per_hour(self) -> float | None:
        """Price of all replicas, or of one where no rate is wanted."""
        price = self.candidate.mean("usd_per_hour")
        return None if price is None else price * (self.replicas or 1)

    @property
    def doubts(self) -> list[str]:
        """Reasons why the evidence is thin; empty where it is not."""
        found = []
        repeats = len(self.candidate.rows)
        if repeats < FEWEST_REPEATS:
            found.append(f"{repeats} repeat{'s' if repeats > 1 else ''}; {FEWEST_REPEATS} wanted")
        for check in self.checks:
            if check.value is None:
                found.append(_missing(self.candidate, check.limit))
            elif check.probability is None:
                found.append(f"{check.limit.column}: no interval")
            elif 1 - SURE < check.probability < SURE:
                found.append(
                    f"{check.limit.column}: {check.value:.3g} is too close to "
                    f"{check.limit.bound:g} to tell"
                )
        return found


def recommend(
    found: Sequence[Candidate], limits: Sequence[Limit], rate: float | None = None
) -> list[Verdict]:
    """Return one verdict a configuration: those that meet the limits first, cheapest first.

    Among equal prices, or without any, the better quality comes first and then the faster.

    Args:
        found: candidates of one basis.
        limits: what must be met.
        rate: requests a second that all replicas together must answer.
    """
    best: dict[tuple[str, str, str], Verdict] = {}
    for candidate in found:
        verdict = Verdict(
            candidate,
            tuple(_check(candidate, limit) for limit in limits),
            _replicas(candidate, rate),
        )
        known = best.get(candidate.configuration)
        if known is None or _suits(verdict) > _suits(known):
            best[candidate.configuration] = verdict
    return sorted(best.values(), key=_rank)


def cheaper(verdicts: Sequence[Verdict], chosen: Verdict) -> Verdict | None:
    """Return the dearest of what costs less than the chosen; None where nothing does."""
    price = chosen.usd_per_hour
    below = [
        verdict
        for verdict in verdicts
        if price is not None and verdict.usd_per_hour is not None and verdict.usd_per_hour < price
    ]
    return max(below, key=lambda verdict: verdict.usd_per_hour or 0.0, default=None)


def better(verdicts: Sequence[Verdict], chosen: Verdict) -> Verdict | None:
    """Return what answers best, where that is better than the chosen; else None."""
    mine = chosen.candidate.mean(QUALITY)
    above = [
        (quality, index)
        for index, verdict in enumerate(verdicts)
        if (quality := verdict.candidate.mean(QUALITY)) is not None
        and mine is not None
        and quality > mine
    ]
    return verdicts[max(above)[1]] if above else None


def _check(candidate: Candidate, limit: Limit) -> Check:
    value = candidate.mean(limit.column)
    error = candidate.standard_error(limit.column)
    if value is None:
        return Check(limit, None, None)
    room = limit.bound - value if limit.is_upper else value - limit.bound
    if error is None:
        return Check(limit, value, None)
    if error == 0:
        return Check(limit, value, 1.0 if room >= 0 else 0.0)
    from scipy import stats

    # Over repeats Student's t; over questions there are many, and t is the normal distribution.
    repeats = len(candidate.values(limit.column))
    freedom = repeats - 1 if limit.column == USD_PER_1K or limit.column.endswith("_s") else 10_000
    return Check(limit, value, float(stats.t.cdf(room / error, freedom)))


def _replicas(candidate: Candidate, rate: float | None) -> int | None:
    answered = candidate.mean("requests_per_s")
    return math.ceil(rate / answered) if rate and answered else None


def _suits(verdict: Verdict) -> tuple[bool, float, float]:
    """Return a key of the load points of one configuration: sure ones, then the busiest."""
    return (
        verdict.is_met,
        0.0 if verdict.is_met else verdict.probability or 0.0,
        verdict.candidate.mean("requests_per_s") or 0.0,
    )


def _rank(verdict: Verdict) -> tuple[int, float, float, float]:
    price, quality = verdict.usd_per_hour, verdict.candidate.mean(QUALITY)
    latency = verdict.candidate.mean(LATENCY)
    return (
        0 if verdict.is_met else 2 if verdict.is_missed else 1,
        math.inf if price is None else price,
        -(quality or 0.0),
        math.inf if latency is None else latency,
    )


def _missing(candidate: Candidate, limit: Limit) -> str:
    """Say why a figure is missing, and what would give it."""
    _, _, statistic = limit.column.removesuffix("_s").rpartition("_")
    if limit.column == USD_PER_1K:
        return "no price: the profile has none, or the hardware was not the one it is for"
    if not statistic.startswith("p"):
        return f"{limit.column}: not measured"
    needed = percentile_floor(int(statistic[1:]) / 100)
    sent = max((row.get("ok") or 0) for row in candidate.rows)
    return f"{limit.column}: wants {needed} requests a repeat, {sent} were measured"
