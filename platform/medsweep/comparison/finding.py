"""One figure before and after, and whether the difference is beyond noise."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from medsweep.metrics.power import smallest_visible
from medsweep.metrics.significance import ALPHA, holm
from medsweep.results.aggregate import Row

_AGAINST = " against "

Verdict = Literal["better", "worse", "different", "no clear difference", "not tested"]


@dataclass(frozen=True)
class Finding:
    """One comparison.

    Attributes:
        subject: what is compared, such as `llama-3-8b@host adapter at 4 clients`.
        figure: column of `benchmark.parquet`.
        before: of the first, in the column's unit.
        after: of the second.
        low: lower bound of the 95 % interval of the difference; None where not tested.
        high: upper bound; None in the same case.
        p_value: of there being no difference; None in the same case.
        error: standard error of the difference; None where there is none.
        freedom: degrees of freedom of the error; None takes the normal distribution.
        could_see: the smallest true difference that the test finds in 80 % of cases at the number
            of tests in the family, in the column's unit; None where not tested or not known.
        deployments: of before and after, for a figure of speed: with one on a side, the difference
            may be one of deployments alone; None for answers, which do not depend on it.
        p_adjusted: the same after Holm's correction over the family; None in the same case.
        better: 1 if more is better, -1 if less is, 0 if neither.
        test: test that gave the p-value, or why there is none.
        changed: answers or questions that are not the same; None without pairs.
        pairs: pairs compared; None in the same case.
        basis: what the figures are, `observed` or `emulated`; `emulated against observed` where
            the sides differ, which is never tested.
    """

    subject: str
    figure: str
    before: float
    after: float
    low: float | None
    high: float | None
    p_value: float | None
    better: Literal[-1, 0, 1]
    test: str
    changed: int | None = None
    pairs: int | None = None
    basis: str = "observed"
    error: float | None = None
    freedom: float | None = None
    could_see: float | None = None
    deployments: tuple[int, int] | None = None
    p_adjusted: float | None = None

    @property
    def change(self) -> float | None:
        """After over before, less 1; None where before is 0."""
        return self.after / self.before - 1 if self.before else None

    @property
    def verdict(self) -> Verdict:
        """Whether and how the figure changed."""
        if self.p_adjusted is None:
            return "not tested"
        if self.p_adjusted > ALPHA or self.after == self.before:
            return "no clear difference"
        if not self.better:
            return "different"
        return "better" if (self.after > self.before) == (self.better > 0) else "worse"

    @property
    def could_see_share(self) -> float | None:
        """`could_see` as a share of the value before; None where either is not known."""
        return None if self.could_see is None or not self.before else self.could_see / self.before

    @property
    def is_of_deployments(self) -> bool:
        """Whether a side was deployed once, so that other deployments may not differ."""
        return self.deployments is not None and min(self.deployments) < 2

    @property
    def is_clear(self) -> bool:
        """Whether the difference is beyond noise."""
        return self.verdict in ("better", "worse", "different")

    def is_regression(self, tolerance: float) -> bool:
        """Return whether it is worse beyond noise and by more than a share of the value before.

        Args:
            tolerance: share, such as 0.05; a change from 0 exceeds any share.
        """
        return self.verdict == "worse" and (self.change is None or abs(self.change) > tolerance)


def corrected(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings with Holm's correction over all of one basis that were tested."""
    every = list(findings)
    families: dict[str, list[float]] = {}
    for each in every:
        if each.p_value is not None:
            families.setdefault(each.basis, []).append(each.p_value)
    adjusted = {basis: iter(holm(p_values)) for basis, p_values in families.items()}
    return [
        each
        if each.p_value is None
        else replace(
            each,
            p_adjusted=next(adjusted[each.basis]),
            could_see=_could_see(each, len(families[each.basis])),
        )
        for each in every
    ]


def _could_see(finding: Finding, tests: int) -> float | None:
    """Return the smallest visible difference if the finding had the smallest p-value."""
    # Without any spread nothing tells how large a difference chance could hide.
    if not finding.error:
        return None
    return smallest_visible(finding.error, finding.freedom, ALPHA / tests)


def basis_of(*sides: Iterable[Row]) -> str:
    """Return the basis of rows of `benchmark.parquet`: `emulated against observed` if mixed."""
    return _AGAINST.join(sorted({str(row["basis"]) for side in sides for row in side}))


def is_mixed(basis: str) -> bool:
    """Return whether figures of two bases are compared, so that no test makes sense."""
    return _AGAINST in basis


def resamples_for(tests: int) -> int:
    """Return how many draws a family of tests needs.

    The p-value of drawn signs cannot be below 1 / (draws + 1), and Holm multiplies the smallest
    one by the number of tests: with too few draws no difference could ever be significant.
    """
    return max(2000, round(2 * tests / ALPHA))


def worst_first(findings: Sequence[Finding]) -> list[Finding]:
    """Return the findings by p-value, those not tested last."""
    return sorted(findings, key=lambda each: (each.p_adjusted is None, each.p_adjusted or 0.0))
