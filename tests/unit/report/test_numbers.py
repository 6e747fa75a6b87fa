import pytest

from medsweep.report.numbers import bounds, seconds, share, signed, significant


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
    assert (seconds(0.5), seconds(None)) == ("0.500 s", "\N{EN DASH}")
    assert (share(0.25), share(None)) == ("0.250", "\N{EN DASH}")
    assert (signed(0.05), signed(-0.05)) == ("+0.050", "\N{MINUS SIGN}0.050")
    assert bounds(0.11, 0.1364) == "0.110 to 0.136"
    assert bounds(-0.01, 0.02, 3) == "\N{MINUS SIGN}0.010 to 0.020"
    assert bounds(None, 0.2) == bounds(0.2, None) == ""
