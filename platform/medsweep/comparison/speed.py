"""Latency, throughput and failures of two load points, compared by deployments or by repeats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from medsweep.comparison.finding import Finding, basis_of, is_mixed
from medsweep.digits import probability
from medsweep.metrics.significance import (
    least_permutation_p,
    permutation_p,
    unpaired_difference,
)
from medsweep.results.aggregate import Row, average, distinct, independent_values

TESTED: dict[str, Literal[-1, 1]] = {
    "ttft_mean_s": -1,
    "tpot_mean_s": -1,
    "e2e_mean_s": -1,
    "output_tokens_per_s": 1,
}
"""What is tested, and whether more or less is better. Every test costs the others power;
percentiles are left out because most repeats have too few requests for them."""


def compare_speed(subject: str, before: Sequence[Row], after: Sequence[Row]) -> list[Finding]:
    """Compare the repeats of one load point.

    Args:
        subject: what is compared.
        before: rows of `benchmark.parquet`, one per repeat.
        after: rows of `benchmark.parquet`, one per repeat.

    Returns:
        One finding per figure that both sides have, and one for the share of failed requests.
    """
    basis = basis_of(before, after)
    findings = []
    for figure, better in TESTED.items():
        first, second = (independent_values(side, figure) for side in (before, after))
        if not first or not second:
            continue
        difference = unpaired_difference(first, second)
        if is_mixed(basis):
            test, p_value = basis, None
        elif difference.p_value is None:
            test, p_value = "a single repeat has no spread", None
        else:
            test, p_value = f"Welch, {_samples(before, after)}", difference.p_value
        middle = average(first)
        findings.append(
            Finding(
                subject=subject,
                figure=figure,
                before=middle,
                after=middle + difference.mean,
                low=difference.low,
                high=difference.high,
                p_value=p_value,
                better=better,
                test=test,
                basis=basis,
                error=difference.error,
                freedom=difference.freedom,
                deployments=(_deployments(before), _deployments(after)),
            )
        )
    return [*findings, *_failures(subject, basis, before, after)]


def _failures(
    subject: str, basis: str, before: Sequence[Row], after: Sequence[Row]
) -> list[Finding]:
    """Compare the shares of failed requests, since failures of one repeat come together.

    A repeat, or a deployment of several, is one value: a server that stalls once fails many
    requests, and a test that took each for an independent event would call that a difference.
    """
    first, second = (_failed_shares(rows) for rows in (before, after))
    if not first or not second:
        return []
    p_value = None
    if is_mixed(basis):
        test = basis
    elif not any((*first, *second)):
        # Without a failure the p-value could only be 1, and would cost the other tests power.
        test = "no request failed"
    else:
        p_value = permutation_p(first, second)
        test = f"permutation, {_samples(before, after)}"
        if p_value is None:
            least = least_permutation_p(len(first), len(second))
            test = f"too few: {_samples(before, after)}: p is at least {probability(least)}"
    return [
        Finding(
            subject=subject,
            figure="failed",
            before=average(first),
            after=average(second),
            low=None,
            high=None,
            p_value=p_value,
            better=-1,
            test=test,
            basis=basis,
            deployments=(_deployments(before), _deployments(after)),
        )
    ]


def _failed_shares(rows: Sequence[Row]) -> list[float]:
    shares = [{**row, "share": (row["failed"] or 0) / row["sent"]} for row in rows if row["sent"]]
    return independent_values(shares, "share")


def _deployments(rows: Sequence[Row]) -> int:
    """Return how often the cell was deployed; a server that ran already counts as once."""
    return max(1, len(distinct(rows, "deployment")))


def _samples(before: Sequence[Row], after: Sequence[Row]) -> str:
    """Return what the independent values of both sides are: `3 repeats and 4 deployments`."""
    sizes = []
    for rows in (before, after):
        deployments = _deployments(rows)
        sizes.append(f"{deployments} deployments" if deployments > 1 else f"{len(rows)} repeats")
    if sizes[0].split()[1] == sizes[1].split()[1]:
        sizes[0] = sizes[0].split()[0]
    return " and ".join(sizes)
