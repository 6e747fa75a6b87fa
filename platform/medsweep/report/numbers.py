"""Numbers for people: three significant digits, SI units, a dash for a missing value."""

from __future__ import annotations

import math

from medsweep.metrics.statistics import Interval

MISSING = "\N{EN DASH}"


def significant(value: float, digits: int = 3) -> str:
    """Return a number with some significant digits, without an exponent.

    Args:
        value: the number.
        digits: significant digits; an integer keeps all its digits.
    """
    rounded = float(f"{value:.{digits - 1}e}")
    if not math.isfinite(rounded):
        return str(value)
    if rounded == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(rounded))))
    return f"{value:,.{decimals}f}" if decimals == 0 else f"{rounded:.{decimals}f}"


def share(value: float | None) -> str:
    """Return a figure between 0 and 1 with three decimals."""
    return MISSING if value is None else f"{value:.3f}"


def seconds(value: float | None) -> str:
    """Return a time with its unit: milliseconds under a second."""
    if value is None:
        return MISSING
    factor, unit = _time_unit(value)
    return f"{significant(factor * value)} {unit}"


def seconds_with_spread(value: Interval) -> str:
    """Return a time with its unit and its interval in the same: "80.0 ms [75.0 to 90.0]"."""
    factor, _ = _time_unit(value.mean)
    low, high = (None if end is None else factor * end for end in (value.low, value.high))
    both = None if value.both is None else (factor * value.both[0], factor * value.both[1])
    ends = spread(Interval(factor * value.mean, low, high, both))
    return f"{seconds(value.mean)} [{ends}]" if ends else seconds(value.mean)


def _time_unit(value: float) -> tuple[int, str]:
    return (1000, "ms") if abs(value) < 1 else (1, "s")


def signed(value: float) -> str:
    """Return a difference with three decimals and its sign."""
    return f"{value:+.3f}".replace("-", "\N{MINUS SIGN}")


def spread(value: Interval) -> str:
    """Return an interval in words, or both values where there are two; else an empty text."""
    if value.both is not None:
        return " and ".join(significant(each) for each in value.both)
    return bounds(value.low, value.high)


def percent_bounds(low: float, high: float) -> str:
    """Return an interval of shares such as "3 to 9 %"."""
    return f"{100 * low:.0f} to {100 * high:.0f} %"


def bounds(low: float | None, high: float | None, decimals: int | None = None) -> str:
    """Return an interval such as "0.110 to 0.136", or an empty text without one.

    Args:
        low: lower end.
        high: upper end.
        decimals: digits after the point; None takes three significant digits.
    """
    if low is None or high is None:
        return ""
    ends = [significant(end) if decimals is None else f"{end:.{decimals}f}" for end in (low, high)]
    return " to ".join(end.replace("-", "\N{MINUS SIGN}") for end in ends)
