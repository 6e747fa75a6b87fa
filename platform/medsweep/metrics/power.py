"""The smallest difference that a test could have seen."""

from __future__ import annotations

POWER = 0.8
"""Probability with which a test finds the smallest difference that it can see."""


def smallest_visible(error: float, freedom: float | None, alpha: float) -> float:
    """Return the true difference that a two-sided t test finds in 80 % of cases.

    Args:
        error: standard error of the difference, in any unit.
        freedom: degrees of freedom of this error; None takes the normal distribution.
        alpha: p-value from which the test finds a difference.

    Returns:
        The noncentrality of Student's t at which P(t > critical value) is 0.8, times the error
        (Cohen 1988); in the error's unit.
    """
    if error == 0:
        return 0.0
    from scipy import optimize, stats

    if freedom is None:
        return error * float(stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(POWER))
    critical = float(stats.t.ppf(1 - alpha / 2, freedom))

    def missing(noncentrality: float) -> float:
        return float(stats.nct.sf(critical, freedom, noncentrality)) - POWER

    return error * float(optimize.brentq(missing, 0.0, 20 * critical + 10))
