"""Answers that word overlap takes for right, and rewrites that it takes for wrong."""

import pytest

from medsweep.metrics.agreement import Agreement, agreement
from medsweep.metrics.quantities import quantities


@pytest.mark.parametrize(
    ("answer", "reference", "expected"),
    [
        ("Take 1.5 mg of aspirin.", "Take 15 mg of aspirin.", Agreement(contradict=1)),
        ("20-30 mg", "2.0-3.0 mg", Agreement(contradict=1)),
        ("pH 74", "pH 7.4", Agreement(contradict=1)),
        ("Sugar above 70 mg/dL", "Sugar below 70 mg/dL", Agreement(contradict=1)),
        ("fewer than 5 drinks", "fewer than 50 drinks", Agreement(contradict=1)),
        ("10 mg twice a day", "10 mg four times a day", Agreement(agree=1, contradict=1)),
        ("10 mg", "10 mg twice a day", Agreement(agree=1, missing=1)),
        ("10 mg twice a day", "10 mg", Agreement(agree=1, added=1)),
        ("", "Take 5 mg daily.", Agreement(missing=2)),
        ("Rest.", "Rest.", Agreement()),
        # Other spellings and units of one value.
        ("1500 mcg", "1.5 mg", Agreement(agree=1)),
        ("0.5 milligrams", "½ mg", Agreement(agree=1)),
        ("12 months", "one year", Agreement(agree=1)),
        ("99.5 °F", "37.5 °C", Agreement(agree=1)),
        ("45 kg", "100 pounds", Agreement(agree=1)),
        ("1 in 5 people", "20 percent", Agreement(agree=1)),
        ("every 12 hours", "twice daily", Agreement(agree=1)),
        # The same value in two units is one value.
        (
            "Her weight should be 100 pounds or 45 kg.",
            "The weight should be 45 kg.",
            Agreement(agree=1),
        ),
        ("Fever is 100.4 °F or 38 °C.", "Fever is 38 °C.", Agreement(agree=1)),
        ("Take it every 12 hours or twice a day.", "Take it twice a day.", Agreement(agree=1)),
        ("between 2 and 3 weeks", "14-21 days", Agreement(agree=1)),
        # Degrees are not equal within 1 % of their kelvins.
        ("102 °F", "37.5 °C", Agreement(contradict=1)),
        # In one unit there is no tolerance.
        ("100.5 mg", "100 mg", Agreement(contradict=1)),
        # A value inside a range is neither right nor wrong; outside it is wrong.
        ("25 mg", "20-30 mg", Agreement(missing=1, added=1)),
        ("35 mg", "20-30 mg", Agreement(contradict=1)),
        # Of other things: they are not compared.
        (
            "Ibuprofen needs 10 mg at night.",
            "Aspirin helps after 5 mg were swallowed.",
            Agreement(missing=1, added=1),
        ),
        # A subject in common is not enough: more of the words around them must be the same.
        (
            "Breast cancer can return 5 years after surgery and radiation.",
            "Survivors of breast cancer should wait 2 years before becoming pregnant.",
            Agreement(missing=1, added=1),
        ),
        # An age is no duration, and a year no number.
        (
            "Screening after age 50 is advised.",
            "Screening for 10 years is advised.",
            Agreement(missing=1, added=1),
        ),
        # A limit in years may be an age.
        (
            "The vaccine is for people over 65 years.",
            "The vaccine is for people 65 years or older.",
            Agreement(agree=1),
        ),
        (
            "The vaccine is for people over 70 years.",
            "The vaccine is for people 65 years or older.",
            Agreement(contradict=1),
        ),
        (
            "Screening at ages 50 to 75.",
            "Screening between 50 and 75 years.",
            Agreement(agree=1),
        ),
        (
            "Screening at ages 50 to 74.",
            "Screening between 50 and 75 years.",
            Agreement(missing=1, added=1),
        ),
        ("Discovered in 1997.", "Discovered 6 genes.", Agreement(missing=1, added=1)),
        ("Walk 2000 steps a day.", "Walk 5000 steps a day.", Agreement(contradict=1)),
        # A wrong dose and a wrong frequency do not excuse each other.
        (
            "Take 500 mg once a day. Take 5 g twice a day.",
            "Take 500 mg once a day.",
            Agreement(contradict=2),
        ),
        (
            "Take 500 mg twice a day (10 g a day).",
            "Take 500 mg twice a day.",
            Agreement(agree=1, contradict=1, added=1),
        ),
        # The right value is denied.
        (
            "Take not 1.5 mg but 15 mg daily.",
            "Take 1.5 mg daily.",
            Agreement(agree=1, contradict=1),
        ),
        (
            "Take 15 mg of it a day, not 1.5 mg.",
            "Take 1.5 mg of it a day.",
            Agreement(contradict=1),
        ),
        ("Take 5 mg, not 50 mg.", "Take 5 mg, not 50 mg.", Agreement(agree=2)),
        ("A test is not 100 % sure.", "No test is 100 % sure.", Agreement(agree=1)),
        (
            "The cause is not known, and 5 % of them inherit it.",
            "About 5 % of them inherit it.",
            Agreement(agree=1),
        ),
        (
            "Screening starts at age 50.",
            "Screening starts at 40 years of age.",
            Agreement(contradict=1),
        ),
        ("A 3-D picture is made.", "A picture is made in 5 days.", Agreement(missing=1, added=1)),
        # Statements.
        ("Aspirin is not safe in pregnancy.", "Aspirin is safe in pregnancy.", Agreement(denied=1)),
        (
            "It is inherited in a dominant manner.",
            "It is inherited in a recessive manner.",
            Agreement(denied=1),
        ),
        ("Insulin does not cure diabetes.", "Aspirin is safe in early pregnancy.", Agreement()),
        # The same statement elsewhere in the answer counts.
        (
            "Aspirin is not safe in pregnancy. Aspirin is safe in pregnancy.",
            "Aspirin is safe in pregnancy.",
            Agreement(),
        ),
    ],
)
def test_by_hand(answer: str, reference: str, expected: Agreement) -> None:
    assert agreement(answer, reference) == expected


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("Take 1.5 mg or 15 mg daily.", "Take 1.5 mg daily."),
        ("1.5 mg. 15 mg.", "1.5 mg"),
        (
            "The usual dose of lisinopril is 10 mg. The recommended dose is 100 mg.",
            "The usual starting dose of lisinopril is 10 mg.",
        ),
        (
            "The usual dose is 10 mg. The usual dose of lisinopril is 100 mg.",
            "Adults take 10 mg of lisinopril.",
        ),
        (
            "Chew one 325 mg aspirin. Chew one 3250 mg aspirin.",
            "Chew one 325 mg aspirin while you wait for the ambulance.",
        ),
        (
            "Fever is a temperature above 38 °C. Fever is a temperature above 48 °C.",
            "Fever is a temperature above 38 °C.",
        ),
        (
            "Children get 250 mg of amoxicillin, adults 500 mg, and children 25 mg.",
            "Children get 250 mg of amoxicillin, adults 500 mg.",
        ),
        (
            "Take ibuprofen every 6 hours. Take ibuprofen every 2 hours.",
            "Take ibuprofen every 6 hours.",
        ),
        (
            "Take paracetamol once a day. Take paracetamol twice daily.",
            "Take paracetamol once daily.",
        ),
        ("Day 1: 500 mg. Day 1: 5000 mg.", "Day 1: 500 mg."),
        ("Children of 2 years: 5 mL. Children of 2 years: 50 mL.", "Children of 2 years: 5 mL."),
    ],
)
def test_a_wrong_quantity_beside_the_right_one_contradicts(answer: str, reference: str) -> None:
    counts = agreement(answer, reference)
    total = len({(each.dimension, each.low) for each in quantities(reference)})
    assert (counts.contradict, counts.agree, counts.added) == (1, total - 1, 0)
    assert not counts.consistent


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("The dose is 500 mg for adults and 250 mg for children.", "Adults take 500 mg."),
        ("Amoxicillin: adults 500 mg; children 250 mg.", "The dose for adults is 500 mg."),
        ("The usual dose is 500 mg. For children, 250 mg.", "The usual dose is 500 mg."),
        ("Adults: 500 mg. Children: 250 mg.", "Adults should take 500 mg."),
        ("Take 500 mg on the first day, then 250 mg.", "Take 500 mg on the first day."),
        ("Start with 5 mg and increase to 10 mg after a week.", "Start with 5 mg."),
        ("Take 5 mg in the morning and 10 mg in the evening.", "Take 5 mg in the morning."),
        ("Take 5 mg before meals. Take 10 mg after meals.", "Take 5 mg before meals."),
        ("Take 5 mg, never more than 40 mg.", "Take 5 mg."),
        ("Take 5 mg, not 50 mg.", "Take 5 mg."),
        ("Normal blood pressure is 120/80 mmHg.", "Systolic pressure should be 120 mmHg."),
        ("Tablets of 5 mg, 10 mg and 20 mg are sold.", "Tablets of 5 mg are sold."),
        ("Metformin 500 mg lowers sugar. Aspirin 75 mg thins blood.", "Metformin 500 mg."),
        ("1. Take 5 mg.\n2. Rest.\n3. Drink water.", "1. Take 5 mg."),
        ("Take 20-30 mg. Take 25 mg.", "Take 20-30 mg."),
        ("Type 1 diabetes needs insulin. So may type 2 diabetes.", "Type 1 diabetes."),
        # Set apart by a number, not by a word.
        (
            "Type 1 diabetes is 5 % of cases. Type 2 diabetes is 90 % of cases.",
            "Type 2 diabetes is 90 % of cases.",
        ),
        ("Stage 1 cancer: 90 % live. Stage 4 cancer: 20 % live.", "Stage 1 cancer: 90 % live."),
        ("Azithromycin. Day 1: 500 mg. Days 2 to 5: 250 mg.", "Azithromycin 500 mg on day 1."),
        ("Week 1: 25 mg. Week 2: 50 mg.", "Week 1: 25 mg."),
        (
            "Children 2 to 5 years: 5 mL. Children 6 to 11 years: 10 mL.",
            "Children 2 to 5 years: 5 mL.",
        ),
        # The daily amount of the dose.
        ("Take 500 mg twice a day (1 g a day).", "Take 500 mg twice a day."),
        ("Take 500 mg, 3 times a day (1.5 g a day).", "Take 500 mg 3 times a day."),
        ("Take 10 mg once a day or 20 mg every other day.", "Take 10 mg once a day."),
    ],
)
def test_a_quantity_of_something_else_does_not(answer: str, reference: str) -> None:
    counts = agreement(answer, reference)
    assert (counts.contradict, counts.missing, counts.share) == (0, 0, 1.0)


def test_share_and_consistency() -> None:
    assert Agreement().share is None
    assert Agreement().consistent
    assert Agreement(agree=1, contradict=1, missing=2, added=9).share == 0.25
    assert Agreement(missing=1, added=1).consistent
    assert not Agreement(contradict=1).consistent
    assert not Agreement(denied=1).consistent
    assert Agreement(1, 2, 3, 4, 5) + Agreement(1, 1, 1, 1, 1) == Agreement(2, 3, 4, 5, 6)


def test_every_text_agrees_with_itself() -> None:
    text = (
        "Take 500 mg every 6 to 8 hours, not more than 4 g a day. About 1 in 5 people under 65 "
        "years do not respond. It is not safe in stage IV disease or with a pH below 7.35."
    )
    same = agreement(text, text)
    assert (same.agree, same.share, same.consistent) == (8, 1.0, True)
