import pytest

from medsweep.metrics.sentences import sentence_spans


def split(text: str) -> list[str]:
    return [text[start:end] for start, end in sentence_spans(text)]


@pytest.mark.parametrize(
    "text",
    [
        "Take 1.5 mg of it daily.",
        "Analgesics, e.g. Aspirin, lower fever.",
        "Analgesics (e.g. Aspirin) lower fever.",
        "Ask Dr. Smith or Mrs. Jones about it.",
        "St. John's wort interacts with it, i.e. Do not combine them.",
        "It is given b.i.d. with water.",
        "Fruit, vegetables, etc. are good.",
        "Smith et al. found none.",
        "Approx. 5 of 10, see Fig. 2.",
        "The U.S. Food and Drug Administration approved it.",
        "See no. 5 of the list.",
        "1. Rest and drink water.",
    ],
)
def test_a_full_stop_inside_a_sentence_does_not_end_it(text: str) -> None:
    assert split(text) == [text]


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Rest. Drink water! Why? So.", ["Rest.", "Drink water!", "Why?", "So."]),
        ("He has MS. It is chronic.", ["He has MS.", "It is chronic."]),
        ("It takes 5 ms. Then rest.", ["It takes 5 ms.", "Then rest."]),
        ("Is it contagious? No. It is not.", ["Is it contagious?", "No.", "It is not."]),
        ("Take it at 8 p.m. Then sleep.", ["Take it at 8 p.m.", "Then sleep."]),
        ('He said "rest." She left.', ['He said "rest."', "She left."]),
        ("Hepatitis B. The virus.", ["Hepatitis B.", "The virus."]),
        ("Rest\n\n- Water\n2. Sleep", ["Rest", "- Water", "2. Sleep"]),
        ("A dose of 15. Then 20.", ["A dose of 15.", "Then 20."]),
        ("", [""]),
    ],
)
def test_sentences_end(text: str, sentences: list[str]) -> None:
    assert split(text) == sentences
