import pytest

from medsweep.metrics.faulty_answers import is_empty, is_refusal


@pytest.mark.parametrize(
    "answer",
    [
        "I'm sorry, but I can't help with that.",
        "I\u2019m sorry, I cannot give advice on this.",
        "As an AI language model, I have no body.",
        "Thank you for asking. I am not a doctor, but rest may help.",
        "I cannot provide medical advice.",
        "I'm unable to diagnose you.",
        "I must decline.",
    ],
)
def test_refusals(answer: str) -> None:
    assert is_refusal(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "See your doctor if the fever lasts.",
        "Patients cannot give consent in a coma.",
        "Talk to a health professional; they can help with that.",
        "Glaucoma is a disease of the eye. " * 10 + "I cannot answer more.",
        "Aida cannot help it.",
    ],
)
def test_answers_are_not_refusals(answer: str) -> None:
    assert not is_refusal(answer)


def test_white_space_is_no_answer() -> None:
    assert is_empty("")
    assert is_empty(" \n\t")
    assert not is_empty(" .")
