"""Numbers in messages and tables: significant digits, percentages, p-values."""

from __future__ import annotations

import math

# A smaller p-value is shown as less than this one: more digits say nothing.
_LEAST_P = 0.0001


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


def percent(share: float, places: int = 0, *, signed: bool = False) -> str:
    """Return a share as a percentage such as "95 %".

    Args:
        share: 1 is all.
        places: decimals of the percentage.
        signed: whether a change has its sign if it is positive, too.
    """
    # Adding 0 turns -0 into 0.
    return f"{round(100 * share, places) + 0.0:{'+' if signed else ''}.{places}f} %"


def probability(p_value: float) -> str:
    """Return a p-value for a table, with two significant digits: "0.0045", or "< 0.0001"."""
    return f"< {_LEAST_P}" if p_value < _LEAST_P else significant(p_value, 2)


def p_relation(p_value: float) -> str:
    """Return a p-value for a sentence: "p = 0.0045", or "p < 0.0001"."""
    shown = probability(p_value)
    return "p " + (shown if shown.startswith("<") else f"= {shown}")
