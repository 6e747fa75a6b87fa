"""Attributes turned around in other words: answers of models, and texts written by hand."""

import pytest

from medsweep.metrics.agreement import agreement
from medsweep.metrics.attributes import turned_attributes

DOMINANT = (
    "This condition is inherited in an autosomal dominant pattern, which means one copy of the "
    "altered gene in each cell is sufficient to cause the disorder."
)
RECESSIVE = (
    "This condition is inherited in an autosomal recessive pattern, which means both copies of the "
    "gene in each cell have mutations."
)
SPORADIC = (
    "Is Tietze syndrome inherited? Tietze syndrome is not thought to be inherited. Most cases "
    "occur sporadically in people with no family history of the condition."
)


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        (RECESSIVE, DOMINANT),
        (DOMINANT, RECESSIVE),
        ("It is inherited in an X-linked manner.", DOMINANT),
        ("The trait is recessive.", "Inheritance of this syndrome is autosomal dominant."),
        (RECESSIVE, SPORADIC),
        (SPORADIC, RECESSIVE),
        ("It is a non-hereditary condition of the skin.", RECESSIVE),
        ("Pain begins in the left kidney.", "A stone of the right kidney hurts most."),
        ("It is a chronic leukemia of old age.", "Doctors call this acute leukemia."),
        ("Give the adult dose of it.", "What the patient needs is the child dose."),
        ("They form benign tumors.", "A malignant tumor grows fast."),
    ],
)
def test_an_opposite_is_seen_in_other_words(answer: str, reference: str) -> None:
    assert not agreement(answer, reference).consistent


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        (DOMINANT, DOMINANT),
        (f"{DOMINANT} Rarely, it is autosomal recessive.", RECESSIVE),
        (RECESSIVE, f"{DOMINANT} In some families it is inherited in a recessive manner."),
        ("It is not inherited in an autosomal recessive pattern.", DOMINANT),
        (RECESSIVE, "In about 1 in 4 cases the mutation is not inherited."),
        ("Is it inherited in an autosomal recessive pattern?", DOMINANT),
        ("An early sign of autosomal recessive PKD is an enlarged kidney.", DOMINANT),
        ("Chronic kidney disease follows.", "Patients have acute pain."),
        ("The left ventricle pumps.", "The right lung collapses."),
        ("Blood leaves the upper left chamber.", "Blood enters the lower right chamber."),
        ("Stroke weakens the left arm or the right arm.", "Then the right arm is weak."),
        ("Nothing is left to do.", "It is right to do it."),
        ("", DOMINANT),
    ],
)
def test_what_is_no_opposite_is_no_contradiction(answer: str, reference: str) -> None:
    assert turned_attributes(answer, reference) == set()


def test_each_sentence_is_denied_once() -> None:
    changed = DOMINANT.replace("dominant", "recessive")
    assert agreement(changed, DOMINANT).denied == 1
    twice = f"{DOMINANT} The acute form begins early."
    assert agreement(f"{changed} There is a chronic form.", twice).denied == 2
