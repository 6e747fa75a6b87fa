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
        "I am not qualified to give medical advice.",
        "Unfortunately, I'm not licensed to provide a diagnosis.",
        "I am unable to answer this question.",
        "It would not be appropriate for me to diagnose this.",
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
        "A nurse who is not qualified to give an injection must not do so.",
        "It is not safe for pregnant women to take it.",
    ],
)
def test_answers_are_not_refusals(answer: str) -> None:
    assert not is_refusal(answer)


def test_white_space_is_no_answer() -> None:
    assert is_empty("")
    assert is_empty(" \n\t")
    assert not is_empty(" .")
