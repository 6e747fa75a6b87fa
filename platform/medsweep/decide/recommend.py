"""Rank configurations by the probability that they meet the limits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from medsweep.decide.assessment import Assessment, assess
from medsweep.decide.candidates import LATENCY, QUALITY, Candidate, candidates
from medsweep.decide.limits import Limit
from medsweep.decide.queueing import COLUMNS
from medsweep.errors import InputError
from medsweep.results.aggregate import BASES, Row, group_by_columns
from medsweep.results.reader import Results


def recommend(
    candidates: Sequence[Candidate],
    limits: Sequence[Limit],
    rate: float | None = None,
    requests: Mapping[tuple[object, ...], Sequence[Row]] | None = None,
) -> list[Assessment]:
    """Return one assessment per configuration: those that meet the limits first, then by price.

    At equal prices higher quality comes first, then lower latency. Prices order those that meet
    the limits, those that miss them and the undecided only where all of them have one: what has no
    price is neither the cheapest nor the most expensive.

    Args:
        candidates: of one basis.
        limits: what must be met.
        rate: requests per second that all replicas together must answer.
        requests: rows of `requests.parquet` by cell key, variant and load point; a rate is
            planned from them.
    """
    best: dict[tuple[str, str, str], Assessment] = {}
    for candidate in candidates:
        assessment = assess(candidate, limits, rate, requests or {})
        known = best.get(candidate.configuration)
        if known is None or _suitability(assessment) > _suitability(known):
            best[candidate.configuration] = assessment
    unpriced = {each.standing for each in best.values() if each.usd_per_hour is None}
    return sorted(best.values(), key=lambda each: _rank(each, priced=each.standing not in unpriced))


def recommend_by_basis(
    results: Results, limits: Sequence[Limit], rate: float | None = None
) -> dict[str, list[Assessment]]:
    """Return the assessments of each basis; configurations of different bases are never compared.

    Args:
        results: of a sweep or of `medsweep bench`.
        limits: what must be met.
        rate: requests per second that all replicas together must answer.

    Raises:
        InputError: there are no limits.
    """
    if not limits:
        raise InputError(
            "give at least one limit, such as --max-p95-ttft 500ms, --min-token-f1 0.25 or "
            "--max-usd-per-1k 2: without limits every configuration meets them"
        )
    measured = candidates(results.rows)
    requests: dict[tuple[object, ...], list[Row]] = {}
    if rate is not None:
        requests = group_by_columns(results.requests(COLUMNS), "key", "variant", "load_point")
    return {
        basis: recommend([each for each in measured if each.basis == basis], limits, rate, requests)
        for basis in BASES
        if any(each.basis == basis for each in measured)
    }


def cheaper(ranked: Sequence[Assessment], chosen: Assessment) -> Assessment | None:
    """Return the most expensive configuration that costs less than the chosen one, or None."""
    price = chosen.usd_per_hour
    below = [
        other
        for other in ranked
        if price is not None and other.usd_per_hour is not None and other.usd_per_hour < price
    ]
    return max(below, key=lambda other: other.usd_per_hour or 0.0, default=None)


def better(ranked: Sequence[Assessment], chosen: Assessment) -> Assessment | None:
    """Return the configuration with the best quality if it exceeds the chosen one's, or None."""
    own = chosen.candidate.mean(QUALITY)
    above = [
        (quality, index)
        for index, other in enumerate(ranked)
        if (quality := other.candidate.mean(QUALITY)) is not None
        and own is not None
        and quality > own
    ]
    return ranked[max(above)[1]] if above else None


def _suitability(assessment: Assessment) -> tuple[bool, float, float]:
    """Return a sorting key of load points: that limits are met, their probability, throughput.

    At a required rate the fewest replicas take the place of throughput.
    """
    if assessment.plan is None:
        room = assessment.candidate.speed("requests_per_s") or 0.0
    else:
        room = -math.inf if assessment.replicas is None else -assessment.replicas
    return (
        assessment.is_met,
        0.0 if assessment.is_met else assessment.probability or 0.0,
        room,
    )


def _rank(assessment: Assessment, *, priced: bool) -> tuple[int, float, float, float]:
    price, quality = assessment.usd_per_hour, assessment.candidate.mean(QUALITY)
    latency = assessment.candidate.speed(LATENCY)
    return (
        assessment.standing,
        price if priced and price is not None else 0.0,
        -(quality or 0.0),
        math.inf if latency is None else latency,
    )
