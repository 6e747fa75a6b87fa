import pytest

from medsweep.digits import significant
from medsweep.metrics.statistics import Interval
from medsweep.report.numbers import (
    bounds,
    by_column,
    figure,
    seconds,
    seconds_with_spread,
    share,
    share_spread,
    signed,
    spread,
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


@pytest.mark.parametrize(
    ("interval", "shown"),
    [
        ((115.0, 110.8, 123.4), ("115", "111 to 123")),
        ((0.1023, 0.046, 0.164), ("0.10", "0.05 to 0.16")),
        ((1234.5, 900.0, 1700.0), ("1,200", "900 to 1,700")),
        # The rule's edges: 3.54 as the first digits of the error keep two digits, 3.55 one.
        ((10.0, 9.646, 10.354), ("10.00", "9.65 to 10.35")),
        ((10.0, 9.644, 10.356), ("10.0", "9.6 to 10.4")),
        ((0.02, -0.04, 0.08), ("0.02", "\N{MINUS SIGN}0.04 to 0.08")),
        # At most four digits, and three without an interval or with one of no width.
        ((203.412, 203.40, 203.42), ("203.4", "203.4 to 203.4")),
        ((2.0, 2.0, 2.0), ("2.00", "2.00 to 2.00")),
        ((2.0, None, None), ("2.00", "")),
    ],
)
def test_a_figure_has_the_digits_that_its_interval_bears(
    interval: tuple[float, float | None, float | None], shown: tuple[str, str]
) -> None:
    assert (figure(Interval(*interval)), spread(Interval(*interval))) == shown


def test_two_values_are_shown_in_order() -> None:
    assert spread(Interval(2.575, None, None, (2.62, 2.53))) == "2.53 and 2.62"
    assert seconds_with_spread(Interval(0.5, None, None, (0.6, 0.4))) == "500 ms [400 and 600]"


@pytest.mark.parametrize(
    ("column", "value", "shown"),
    [
        ("ttft_p95_s", 0.30249, "302 ms"),
        ("e2e_mean_s", 12.3456, "12.3 s"),
        ("output_tokens_per_s", 64.987, "65.0"),
        ("requests_per_s", Interval(0.1234, 0.11, 0.13), "0.123"),
        ("token_f1", 0.25949, "0.259"),
        ("token_f1", Interval(0.2595, 0.1, 0.4), "0.26"),
        ("usd_per_1k", 1.23456, "1.23"),
    ],
)
def test_a_figure_is_shown_as_its_column_asks_for(
    column: str, value: float | Interval, shown: str
) -> None:
    assert by_column(column, value) == shown


def test_units_signs_and_missing_values() -> None:
    assert (seconds(0.5), seconds(1.5), seconds(None)) == ("500 ms", "1.50 s", "\N{EN DASH}")
    assert seconds_with_spread(Interval(0.08, 0.075, 0.09)) == "80 ms [75 to 90]"
    assert seconds_with_spread(Interval(2.0, None, None, (1.5, 2.5))) == "2.00 s [1.50 and 2.50]"
    assert seconds_with_spread(Interval(1.0, None, None)) == "1.00 s"
    assert (share(0.25), share(None)) == ("0.250", "\N{EN DASH}")
    wide, narrow = Interval(0.3, 0.2, 0.4), Interval(0.3, 0.2999, 0.3001)
    assert (share(wide), share_spread(wide)) == ("0.30", "0.20 to 0.40")
    assert (share(narrow), share_spread(narrow)) == ("0.300", "0.300 to 0.300")
    assert (signed(0.05), signed(-0.05)) == ("+0.050", "\N{MINUS SIGN}0.050")
    assert (signed(0.051, 2), signed(-0.001, 2)) == ("+0.05", "+0.00")
    assert bounds(0.11, 0.1364) == "0.110 to 0.136"
    assert bounds(-0.01, 0.02, 3) == "\N{MINUS SIGN}0.010 to 0.020"
    assert bounds(None, 0.2) == bounds(0.2, None) == ""


@pytest.mark.parametrize(
    ("error", "shown"),
    [(-0.00031, "< 0.4 ms"), (-0.0021, "< 3 ms"), (-0.0096, "< 10 ms"), (0.0, "0 ms")],
)
def test_no_time_is_negative(error: float, shown: str) -> None:
    assert seconds(error) == shown
