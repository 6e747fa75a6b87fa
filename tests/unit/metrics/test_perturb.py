"""Errors and rewrites of sentences, each worked out by hand."""

import random

import pytest

from medsweep.metrics.perturb import ERRORS, HARMLESS, Subject, perturbed, term_of


def changed(rule: str, text: str) -> str | None:
    return {**ERRORS, **HARMLESS}[rule](text, random.Random(1), Subject())


@pytest.mark.parametrize(
    ("rule", "text", "wrong"),
    [
        ("dose x 10", "Take 1.5 mg.", "Take 15 mg."),
        ("dose x 10", "Take 20-30 mg.", "Take 200-300 mg."),
        ("dose x 10", "Take 1,500 mg.", "Take 15000 mg."),
        ("dose / 10", "Take 15 mg.", "Take 1.5 mg."),
        ("dose / 10", "for 2 weeks", "for 0.2 weeks"),
        ("unit swapped", "Take 15 mg.", "Take 15 g."),
        ("unit swapped", "for 3 days", "for 3 weeks"),
        ("comparison turned", "less than 5 mg", "more than 5 mg"),
        ("comparison turned", "a pressure of at least 90 mmHg", "a pressure of at most 90 mmHg"),
        ("comparison turned", "65 years or older", "65 years or younger"),
        ("comparison turned", "<5 mg", ">5 mg"),
        ("negation added", "Aspirin is safe.", "Aspirin is not safe."),
        ("negation dropped", "Aspirin is not safe.", "Aspirin is safe."),
        ("negation dropped", "There is no cure.", "There is cure."),
        ("negation dropped", "It cannot spread.", "It can spread."),
        ("left for right", "The left lung.", "The right lung."),
        ("left for right", "Right-sided pain", "Left-sided pain"),
        ("dominant for recessive", "Autosomal recessive.", "Autosomal dominant."),
        ("adult for child", "Children have it.", "Adults have it."),
        ("contraindication dropped", "It helps. Do not take it when pregnant.", "It helps."),
        # "e.g." ends no sentence, and a line does.
        (
            "contraindication dropped",
            "It helps. Avoid salt, e.g. in bread. Rest.",
            "It helps. Rest.",
        ),
        ("contraindication dropped", "Uses:\nAvoid alcohol\nRest", "Uses:\nRest"),
        ("contraindication dropped", "Avoid 1.5 mg. Rest  well.", "Rest  well."),
        ("lower case", "Aspirin", "aspirin"),
        ("list in other order", "Fever, cough, and rash.", "Fever, rash, and cough."),
        ("synonym", "A heart attack.", "A myocardial infarction."),
        ("unit spelt out", "Take 5 mg.", "Take 5 milligrams."),
        ("unit spelt out", "20% of people", "20 percent of people"),
    ],
)
def test_by_hand(rule: str, text: str, wrong: str) -> None:
    assert changed(rule, text) == wrong


@pytest.mark.parametrize("rule", [*ERRORS, *HARMLESS])
def test_what_does_not_apply_changes_nothing(rule: str) -> None:
    assert changed(rule, "rest and drink") is None
    assert changed(rule, "") is None


def test_a_text_of_one_sentence_keeps_its_warning() -> None:
    assert changed("contraindication dropped", "Avoid salt, e.g. in bread.\n") is None


def test_sides_are_not_the_right_amount() -> None:
    assert changed("left for right", "The right amount was left over.") is None


def test_the_term_of_a_question_is_replaced_by_another_s() -> None:
    assert term_of("What are the symptoms of Gaucher disease ?") == "Gaucher disease"
    assert term_of("What is (are) gout?") == "gout"
    assert term_of("Help") == ""
    texts = ["Gout is painful. Gout hurts.", "Asthma narrows the airways."]
    questions = ["What is gout?", "What is asthma?"]
    wrong = [pair[0] for pair in perturbed("term of another question", texts, questions, 0)]
    assert wrong == ["asthma is painful. asthma hurts.", "gout narrows the airways."]
    assert perturbed("term of another question", texts, ["", ""], 0) == []


def test_a_seed_changes_the_same_places_again() -> None:
    texts = ["Give 1 mg, then 2 mg, then 3 mg, then 4 mg, then 5 mg."] * 20
    once, again, other = (perturbed("dose x 10", texts, [""] * 20, seed) for seed in (1, 1, 2))
    assert once == again
    assert once != other
    assert len({wrong for wrong, _ in once}) > 2, "each reference has its own place"
    assert all(before == texts[0] != wrong for wrong, before in once)
