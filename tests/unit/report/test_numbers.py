import pytest

from medsweep.metrics.statistics import Interval
from medsweep.report.numbers import (
    bounds,
    seconds,
    seconds_with_spread,
    share,
    signed,
    significant,
)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.1234, "0.123"),
        (12.34, "12.3"),
        (9.999, "10.0"),
        (0.00012, "0.000120"),
        (123456.0, "123,456"),
        (0.0, "0"),
        (-0.0456, "-0.0456"),
        (float("inf"), "inf"),
    ],
)
def test_three_significant_digits(value: float, shown: str) -> None:
    assert significant(value) == shown


def test_units_signs_and_missing_values() -> None:
    assert (seconds(0.5), seconds(1.5), seconds(None)) == ("500 ms", "1.50 s", "\N{EN DASH}")
    assert seconds_with_spread(Interval(0.08, 0.075, 0.09)) == "80.0 ms [75.0 to 90.0]"
    assert seconds_with_spread(Interval(2.0, None, None, (1.5, 2.5))) == "2.00 s [1.50 and 2.50]"
    assert seconds_with_spread(Interval(1.0, None, None)) == "1.00 s"
    assert (share(0.25), share(None)) == ("0.250", "\N{EN DASH}")
    assert (signed(0.05), signed(-0.05)) == ("+0.050", "\N{MINUS SIGN}0.050")
    assert bounds(0.11, 0.1364) == "0.110 to 0.136"
    assert bounds(-0.01, 0.02, 3) == "\N{MINUS SIGN}0.010 to 0.020"
    assert bounds(None, 0.2) == bounds(0.2, None) == ""
