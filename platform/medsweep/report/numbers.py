"""Numbers for people: the digits that an interval bears, SI units, a dash for what is missing."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Protocol

from medsweep.digits import significant
from medsweep.metrics.statistics import Interval
from medsweep.results.schema import QUALITIES

MISSING = "\N{EN DASH}"

_MOST_DIGITS = 4
_SHARE_PLACES = 3


class Estimate(Protocol):
    """A mean with its interval."""

    @property
    def mean(self) -> float:
        """The mean."""

    @property
    def low(self) -> float | None:
        """Lower end of the interval; None without one."""

    @property
    def high(self) -> float | None:
        """Upper end; None in the same case."""


def places_of(value: Estimate) -> int | None:
    """Return after how many decimals a figure ends, given its interval; None without one.

    Half of the interval is 3.55 to 35.5 units of the last digit: the rule of the Particle Data
    Group for a value with its error (Review of Particle Physics, introduction). At most four
    significant digits are shown. Below 0 the figure is rounded to tens, hundreds and so on.
    """
    if value.low is None or value.high is None or value.low >= value.high:
        return None
    places = -math.floor(math.log10((value.high - value.low) / 2 / 3.55))
    largest = max(abs(value.low), abs(value.high))
    return min(places, _MOST_DIGITS - 1 - math.floor(math.log10(largest)))


def figure(value: Interval) -> str:
    """Return a mean with the digits that its interval bears, or three without one."""
    places = places_of(value)
    return significant(value.mean) if places is None else _rounded(value.mean, places)


def spread(value: Interval) -> str:
    """Return an interval in words; of two values both, the lower first; else an empty text."""
    if value.both is not None:
        return " and ".join(significant(each) for each in sorted(value.both))
    return bounds(value.low, value.high, places_of(value))


def share_places(value: Estimate) -> int:
    """Return the decimals of a figure between 0 and 1: three, or fewer if its interval is wide."""
    places = places_of(value)
    return _SHARE_PLACES if places is None else max(0, min(places, _SHARE_PLACES))


def share(value: float | Estimate | None, places: int = _SHARE_PLACES) -> str:
    """Return a figure between 0 and 1.

    Args:
        value: with an interval it is shown with the decimals that this bears.
        places: decimals of a figure without an interval.
    """
    if value is None:
        return MISSING
    if isinstance(value, float | int):
        return _rounded(value, places)
    return _rounded(value.mean, share_places(value))


def share_spread(value: Estimate) -> str:
    """Return the interval of a figure between 0 and 1, or an empty text without one."""
    return bounds(value.low, value.high, share_places(value))


def scaled(value: Interval, factor: float) -> Interval:
    """Return an interval in another unit."""
    low, high = (None if end is None else factor * end for end in (value.low, value.high))
    both = None if value.both is None else (factor * value.both[0], factor * value.both[1])
    return Interval(factor * value.mean, low, high, both)


def time_unit(seconds: Iterable[float]) -> tuple[int, str]:
    """Return in what unit times are shown that stand together, as in a column or on an axis.

    Args:
        seconds: the times.

    Returns:
        The unit's number in a second, and its name: milliseconds if at least half of the times are
        under a second.
    """
    ordered = sorted(map(abs, seconds))
    return (1000, "ms") if ordered and ordered[len(ordered) // 2] < 1 else (1, "s")


def seconds(value: float | Interval | None) -> str:
    """Return a time with its unit: milliseconds under a second.

    Args:
        value: in seconds. A client's error can be measured as less than 0, which no time is:
            it is then shown as less than a bound, "< 0.4 ms".
    """
    if value is None:
        return MISSING
    known = value if isinstance(value, Interval) else Interval(value, None, None)
    factor, unit = time_unit([known.mean])
    return f"{duration(scaled(known, factor))} {unit}"


def duration(value: Interval) -> str:
    """Return a time in any unit; one below 0 as less than its amount, rounded up to a digit."""
    if value.mean >= 0:
        return figure(value)
    unit = 10.0 ** math.floor(math.log10(-value.mean))
    return f"< {significant((math.floor(-value.mean / unit) + 1) * unit, 1)}"


def by_column(column: str, value: float | Interval) -> str:
    """Return a figure as its column asks for: a time with its unit, a share, or a plain number.

    Args:
        column: of `benchmark.parquet`, or a figure made from one.
        value: in the column's unit.
    """
    if column.endswith("_s") and not column.endswith("_per_s"):
        return seconds(value)
    if column in QUALITIES:
        return share(value)
    return figure(value) if isinstance(value, Interval) else significant(value)


def seconds_with_spread(value: Interval) -> str:
    """Return a time with its unit and its interval in the same: "80 ms [75 to 90]"."""
    ends = spread(scaled(value, time_unit([value.mean])[0]))
    return f"{seconds(value)} [{ends}]" if ends else seconds(value)


def signed(value: float, places: int = _SHARE_PLACES) -> str:
    """Return a difference with its sign."""
    return f"{round(value, places) + 0.0:+.{places}f}".replace("-", "\N{MINUS SIGN}")


def percent_bounds(low: float, high: float) -> str:
    """Return an interval of shares such as "3 to 9 %"."""
    return f"{100 * low:.0f} to {100 * high:.0f} %"


def bounds(low: float | None, high: float | None, places: int | None = None) -> str:
    """Return an interval such as "0.110 to 0.136", or an empty text without one.

    Args:
        low: lower end.
        high: upper end.
        places: decimals, as of `places_of`; None takes three significant digits.
    """
    if low is None or high is None:
        return ""
    ends = [significant(end) if places is None else _rounded(end, places) for end in (low, high)]
    return " to ".join(ends)


def _rounded(value: float, places: int) -> str:
    # Adding 0 turns -0 into 0.
    return f"{round(value, places) + 0.0:,.{max(0, places)}f}".replace("-", "\N{MINUS SIGN}")
