"""Answers that word overlap takes for right, and rewrites that it takes for wrong."""

import pytest

from medsweep.metrics.agreement import Agreement, agreement


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
