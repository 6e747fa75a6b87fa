import random

import pytest

from medsweep.metrics.concepts import Lexicon, concept_f1
from medsweep.metrics.quality import Grader, score_and_count

TERMS = [
    ("HF", "heart failure"),
    ("CHF", "congestive heart failure"),
    ("FEVER", "fever"),
    ("FEVER", "pyrexia"),
    ("ASTHMA", "asthma"),
    ("OTHER", "fever"),
]
LEXICON = Lexicon(TERMS)


@pytest.mark.parametrize(
    ("text", "concepts"),
    [
        ("Heart failures and fever.", {("HF", False), ("FEVER", False)}),
        ("Congestive heart failure, not heart failure.", {("CHF", False), ("HF", True)}),
        ("No pyrexia was seen, but asthma was.", {("FEVER", True), ("ASTHMA", False)}),
        ("Fever. There is no fever.", {("FEVER", False), ("FEVER", True)}),
        ("Fever asthma", {("FEVER", False), ("ASTHMA", False)}),
        ("Feverish asthmatics", set()),
        ("Asthma is ruled out.", {("ASTHMA", True)}),
        ("It isn't asthma.", {("ASTHMA", True)}),
        ("", set()),
    ],
)
def test_concepts_of_a_text(text: str, concepts: set[tuple[str, bool]]) -> None:
    assert LEXICON.concepts(text) == concepts


def test_the_longest_term_counts_whatever_overlaps() -> None:
    """Against a search that tries every term at every word."""
    rng = random.Random(1)
    words = ["aaaa", "bbbb", "cccc"]
    for _ in range(300):
        terms = {tuple(rng.choices(words, k=rng.randint(1, 4))) for _ in range(6)}
        lexicon = Lexicon([(" ".join(term), " ".join(term)) for term in terms])
        text = rng.choices([*words, "dddd"], k=12)
        expected, place = set(), 0
        while place < len(text):
            sizes = [len(t) for t in terms if tuple(text[place : place + len(t)]) == t]
            if sizes:
                expected.add((" ".join(text[place : place + max(sizes)]), False))
            place += max(sizes, default=1)
        assert lexicon.concepts(" ".join(text)) == expected, (terms, text)


def test_f1_takes_negated_and_affirmed_for_different_concepts() -> None:
    reference = LEXICON.concepts("Fever and asthma.")
    assert concept_f1(LEXICON.concepts("Asthma with pyrexia."), reference) == 1.0
    assert concept_f1(LEXICON.concepts("Asthma without pyrexia."), reference) == 0.5
    assert concept_f1(LEXICON.concepts("Asthma."), reference) == pytest.approx(2 / 3)
    assert concept_f1(frozenset(), reference) == 0.0
    assert concept_f1(reference, LEXICON.concepts("Rest.")) is None
    score, *_ = score_and_count("No fever.", "Fever.", Grader(LEXICON))
    assert score.concept_f1 == 0.0


def test_abbreviations_and_long_names_are_no_terms() -> None:
    lexicon = Lexicon([("A", "TIA"), ("B", "one two three four five six seven eight nine")])
    assert len(lexicon) == 0
    assert lexicon.concepts("TIA") == frozenset()
    assert lexicon.sha256 != LEXICON.sha256
