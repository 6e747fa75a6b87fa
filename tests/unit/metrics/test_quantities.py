"""Quantities of sentences whose values were worked out by hand, in SI units."""

import time
from math import inf

import pytest

from medsweep.metrics.quantities import MOST, quantities

DAY = 86_400.0
MG = 1e-6


def read(text: str) -> list[tuple[str, float, float]]:
    return [(each.dimension, each.low, each.high) for each in quantities(text)]


def one(text: str) -> tuple[str, float, float]:
    [only] = read(text)
    return only


@pytest.mark.parametrize(
    ("text", "dimension", "low", "high"),
    [
        ("Take 1.5 mg.", "[mass]", 1.5 * MG, 1.5 * MG),
        ("a 5-mg tablet", "[mass]", 5 * MG, 5 * MG),
        ("5mg", "[mass]", 5 * MG, 5 * MG),
        ("250 mcg", "[mass]", 0.25 * MG, 0.25 * MG),
        ("250 µg", "[mass]", 0.25 * MG, 0.25 * MG),
        ("20-30 mg", "[mass]", 20 * MG, 30 * MG),
        ("20 mg to 30 mg", "[mass]", 20 * MG, 30 * MG),
        ("between 20 and 30 mg", "[mass]", 20 * MG, 30 * MG),
        ("less than 5 mg", "[mass]", -inf, 5 * MG),
        ("no more than 5 mg", "[mass]", -inf, 5 * MG),
        ("not exceeding 5 mg", "[mass]", -inf, 5 * MG),
        ("up to 5 mg", "[mass]", -inf, 5 * MG),
        ("<5 mg", "[mass]", -inf, 5 * MG),
        ("at least 5 mg", "[mass]", 5 * MG, inf),
        ("not less than 5 mg", "[mass]", 5 * MG, inf),
        ("≥ 5 mg", "[mass]", 5 * MG, inf),
        ("65 years or older", "age", 65 * 365.25 * DAY, inf),
        ("a 70-year-old man", "age", 70 * 365.25 * DAY, 70 * 365.25 * DAY),
        ("before 20 years of age", "age", 20 * 365.25 * DAY, 20 * 365.25 * DAY),
        ("after age 50", "age", 50 * 365.25 * DAY, 50 * 365.25 * DAY),
        ("women older than 40 years", "age", 40 * 365.25 * DAY, inf),
        ("between the ages of 5 and 35", "age", 5 * 365.25 * DAY, 35 * 365.25 * DAY),
        ("between 50 and 75 years", "[time]", 50 * 365.25 * DAY, 75 * 365.25 * DAY),
        ("in 1997", "year", 1997.0, 1997.0),
        ("revised March 2010", "year", 2010.0, 2010.0),
        ("1950 calls", "number", 1950.0, 1950.0),
        ("Walk 2000 steps a day.", "number", 2000.0, 2000.0),
        ("Between 6 and 45.", "number", 6.0, 45.0),
        ("Onset is between 5 and 35.", "number", 5.0, 35.0),
        ("one in eight women", "share", 1 / 8, 1 / 8),
        ("one out of five men", "share", 1 / 5, 1 / 5),
        ("3+ years", "[time]", 3 * 365.25 * DAY, inf),
        ("for 6 weeks or less", "[time]", -inf, 42 * DAY),
        ("1,500 mL", "[length] ** 3", 1.5e-3, 1.5e-3),
        ("½ teaspoon", "[length] ** 3", 2.46446e-6, 2.46446e-6),
        ("1 1/2 hours", "[time]", 5400.0, 5400.0),
        ("2½ hours", "[time]", 9000.0, 9000.0),
        ("two to three weeks", "[time]", 14 * DAY, 21 * DAY),
        ("126 mg/dL", "[mass] / [length] ** 3", 1.26, 1.26),
        ("5 mM", "[substance] / [length] ** 3", 5.0, 5.0),
        ("5 mm", "[length]", 0.005, 0.005),
        ("98.6 °F", "[temperature]", 310.15, 310.15),
        ("37 degrees C", "[temperature]", 310.15, 310.15),
        ("10 mg per kg", "ratio", 1e-5, 1e-5),
        ("20%", "share", 0.2, 0.2),
        ("10 to 15 percent", "share", 0.1, 0.15),
        ("1 in 10,000 people", "share", 1e-4, 1e-4),
        ("3 out of 5", "share", 0.6, 0.6),
        ("1 in 1 million newborns", "share", 1e-6, 1e-6),
        ("one in a million", "share", 1e-6, 1e-6),
        ("44 to 57 per 100,000 individuals", "share", 44e-5, 57e-5),
        ("between 2 and 3 per 1,000", "share", 2e-3, 3e-3),
        ("1 in 200,000 to 500,000 people", "share", 1 / 500_000, 1 / 200_000),
        ("one in 10,000 to 1 million people", "share", 1e-6, 1e-4),
        ("5 cases per million people", "share", 5e-6, 5e-6),
        ("1.5 per thousand", "share", 1.5e-3, 1.5e-3),
        ("at least 1 in 60,000 males", "share", 1 / 60_000, inf),
        ("fewer than 1 in 1,000,000 people", "share", -inf, 1e-6),
        ("about 1.5 million people", "[person]", 1.5e6, 1.5e6),
        ("two hundred patients", "[person]", 200.0, 200.0),
        ("twice a day", "frequency", 2 / DAY, 2 / DAY),
        ("3 times daily", "frequency", 3 / DAY, 3 / DAY),
        ("2 to 3 times per week", "frequency", 2 / 7 / DAY, 3 / 7 / DAY),
        ("every 6 to 8 hours", "frequency", 3 / DAY, 4 / DAY),
        ("every other day", "frequency", 0.5 / DAY, 0.5 / DAY),
        ("t.i.d.", "frequency", 3 / DAY, 3 / DAY),
        ("type 2 diabetes", "type", 2.0, 2.0),
        ("stage IV", "stage", 4.0, 4.0),
        ("a pH of 7.4", "ph", 7.4, 7.4),
        ("an INR of 2.0-3.0", "inr", 2.0, 3.0),
        ("a T-score of -2.5", "number", -2.5, -2.5),
        ("60 beats per minute", "[beat] / [time]", 1.0, 1.0),
        ("five patients", "[person]", 5.0, 5.0),
        ("1,500 IU", "[international_unit]", 1500.0, 1500.0),
        ("4 x 10^9 cells", "[cell]", 4e9, 4e9),
    ],
)
def test_one_quantity(text: str, dimension: str, low: float, high: float) -> None:
    kind, least, greatest = one(text)
    assert kind == dimension
    assert (least, greatest) == pytest.approx((low, high), rel=1e-6)


@pytest.mark.parametrize(
    "text",
    [
        *("COVID-19", "vitamin B12", "H1N1", "the 21st century", "$5", "one of them", "a day"),
        *("call 555-123-4567", "", "every day counts", "left alone", "a type of cancer"),
    ],
)
def test_what_is_no_quantity(text: str) -> None:
    assert read(text) == []


def test_a_dose_with_its_frequency_is_two_quantities() -> None:
    dose, frequency = ("[mass]", 500 * MG, 500 * MG), ("frequency", 2 / DAY, 2 / DAY)
    assert read("500 mg twice daily") == [dose, pytest.approx(frequency)]
    for text in ("5 mg/day", "5 mg daily", "5 mg a day", "5 mg per day", "5 mg once a day"):
        (first, second) = read(text)
        assert first[0] == "[mass]"
        assert first[1] == pytest.approx(5 * MG)
        assert second[0] == "frequency"
        assert second[1] == pytest.approx(1 / DAY)
    assert [each[0] for each in read("10 mg/kg/day")] == ["ratio", "frequency"]


@pytest.mark.parametrize(
    ("text", "dimensions"),
    [
        ("3 in 2010", ["number", "year"]),
        ("from 5 to 10 in 1999", ["number", "year"]),
        ("2 in 5 mg tablets", ["number", "[mass]"]),
        ("1 in 4 to 6 weeks", ["number", "[time]"]),
        ("3 patients in 5 hospitals", ["[person]", "number"]),
        ("1 in 10,000 to 1 in 50,000", ["share", "share"]),
    ],
)
def test_what_is_no_share_of_a_total(text: str, dimensions: list[str]) -> None:
    assert [each[0] for each in read(text)] == dimensions


def test_every_0_hours_is_no_frequency() -> None:
    assert read("every 2 to 0 hours") == [("number", 2.0, 2.0), ("[time]", 0.0, 0.0)]


def test_a_blood_pressure_is_two_quantities() -> None:
    mm_hg = 133.322387415
    pressure = [each[1] for each in read("120/80 mmHg")]
    assert pressure == pytest.approx([120 * mm_hg, 80 * mm_hg])


def test_spans_say_where_numbers_units_and_limits_stand() -> None:
    text = "It is less than 20-30 mg of aspirin."
    [only] = quantities(text)
    assert [text[span.start : span.end] for span in only.values] == ["20", "30"]
    assert only.unit_span
    assert text[only.unit_span.start : only.unit_span.end] == "mg"
    assert only.limit_span
    assert text[only.limit_span.start : only.limit_span.end].strip() == "less than"
    assert "aspirin" in only.context


def test_the_context_ends_with_the_sentence() -> None:
    first, second = quantities("Give aspirin 5 mg. Then ibuprofen 10 mg.")
    assert first.context == {"give", "aspirin"}
    assert "ibuprofen" in second.context
    assert "aspirin" not in second.context


def test_the_rest_of_a_long_list_is_ignored() -> None:
    text = " ".join(f"{number} mg" for number in range(5000))
    started = time.process_time()
    assert len(quantities(text)) == MOST
    assert time.process_time() - started < 2
