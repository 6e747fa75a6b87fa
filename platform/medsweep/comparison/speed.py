"""Latency, throughput and failures of two load points, compared by their repeats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from medsweep.comparison.finding import Finding
from medsweep.metrics.significance import share_difference, unpaired_difference
from medsweep.results.aggregate import Row, average, values

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
    bases = {str(row["basis"]) for row in (*before, *after)}
    mixed = " against ".join(sorted(bases)) if len(bases) > 1 else None
    findings = []
    for figure, better in TESTED.items():
        first, second = values(before, figure), values(after, figure)
        if not first or not second:
            continue
        difference = unpaired_difference(first, second)
        if mixed or difference.p_value is None:
            test, p_value = mixed or "a single repeat has no spread", None
        else:
            test, p_value = f"Welch, {len(first)} and {len(second)} repeats", difference.p_value
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
            )
        )
    return [*findings, *_failures(subject, before, after)]


def _failures(subject: str, before: Sequence[Row], after: Sequence[Row]) -> list[Finding]:
    bad_first, first, bad_second, second = (
        sum(values(rows, name)) for rows in (before, after) for name in ("failed", "sent")
    )
    if not first or not second:
        return []
    # Without a failure the p-value could only be 1, and would cost the other tests power.
    any_failed = bad_first or bad_second
    return [
        Finding(
            subject=subject,
            figure="failed",
            before=bad_first / first,
            after=bad_second / second,
            low=None,
            high=None,
            p_value=share_difference(bad_first, first, bad_second, second) if any_failed else None,
            better=-1,
            test=f"Fisher, {first} and {second} requests" if any_failed else "no request failed",
        )
    ]
