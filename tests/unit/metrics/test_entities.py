import pytest

from medsweep.metrics.entities import left_out, unsupported_entities

QUESTION = "What are the treatments for Lyme disease?"
REFERENCE = "Doxycycline for 14 days. Erythema goes in 1.5 weeks."


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("Lyme disease is treated with Doxycycline for 14 days.", []),
        ("It is treated with Aspirin for 21 days.", ["Aspirin", "21"]),
        ("Rest helps. Water helps too: Sleep as well.", []),  # capitals of sentences
        ("take Aspirin and Aspirin again", ["Aspirin"]),
        ("erythema goes in 1.5 weeks, not 15", ["15"]),
        ("seen by the National Institutes (NIH)", ["National", "Institutes", "NIH"]),
        ("", []),
    ],
)
def test_what_neither_text_mentions_is_found(answer: str, found: list[str]) -> None:
    assert unsupported_entities(answer, QUESTION, REFERENCE) == found


def test_what_the_answer_leaves_out_of_the_reference_is_found() -> None:
    assert left_out("Take doxycycline for 21 days.", QUESTION, REFERENCE) == ["14", "1.5"]
    assert left_out("Lyme", QUESTION, "It is Lyme disease, says the NIH.") == ["NIH"]
    assert left_out(REFERENCE, QUESTION, REFERENCE) == []
