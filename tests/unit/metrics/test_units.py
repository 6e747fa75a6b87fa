import pytest

from medsweep.metrics.units import scale, unit_at


@pytest.mark.parametrize(
    ("unit", "dimension", "of_one"),
    [
        ("milligram", "[mass]", 1e-6),
        ("pound", "[mass]", 0.45359237),
        ("milligram / deciliter", "[mass] / [length] ** 3", 0.01),
        ("inch", "[length]", 0.0254),
        ("kilocalorie", "[mass] * [length] ** 2 / [time] ** 2", 4184.0),
        ("percent", "dimensionless", 0.01),
        ("millisievert", "[length] ** 2 / [time] ** 2", 1e-3),
        ("milliequivalent / liter", "[charge_equivalent] / [length] ** 3", 1.0),
    ],
)
def test_units_are_converted_to_si(unit: str, dimension: str, of_one: float) -> None:
    converted = scale(unit)
    assert (converted.dimension, converted.offset) == (dimension, 0.0)
    assert converted.factor == pytest.approx(of_one, rel=1e-9)


def test_degrees_have_an_offset() -> None:
    celsius, fahrenheit = scale("degC"), scale("degF")
    assert (celsius.factor, celsius.offset) == pytest.approx((1.0, 273.15))
    assert fahrenheit.factor * 212 + fahrenheit.offset == pytest.approx(373.15)


def test_the_longest_spelling_counts_and_case_only_where_it_matters() -> None:
    assert unit_at(["mm", "Hg"], 0) == ("mmHg", 2)
    assert unit_at(["mm", "wide"], 0) == ("millimeter", 1)
    assert (unit_at(["mM"], 0), unit_at(["MG"], 0)) == (("millimolar", 1), ("milligram", 1))
    assert unit_at(["tree"], 0) is None
    assert unit_at([], 0) is None


def test_every_unit_is_known_to_pint() -> None:
    from medsweep.metrics.units import SPELLINGS

    assert len(SPELLINGS) > 70
    assert all(scale(unit).factor > 0 for unit in SPELLINGS)
