import pytest

from medsweep.metrics.polarity import MOST, OPPOSITES, polarity_clash, sentences


@pytest.mark.parametrize(
    ("text", "negated", "affirmed"),
    [
        # NegEx' own examples, and MedQuAD's manner of writing.
        ("The patient denies chest pain.", {"chest", "pain"}, {"patient"}),
        ("No fever or cough, but fatigue.", {"fever", "cough"}, {"fatigue"}),
        ("Pneumonia was ruled out.", {"pneumonia"}, set()),
        ("It doesn't cause pain.", {"cause", "pain"}, set()),
        ("Without treatment; rest helps.", {"treatment"}, {"rest", "helps"}),
        ("Aspirin is safe.", set(), {"aspirin", "safe"}),
        ("There is no increase in risk.", set(), {"risk", "increase"}),
        ("Not only adults have asthma.", set(), {"adults", "asthma"}),
        ("Lack of iron causes anemia.", {"iron"}, set()),
        ("Gram-negative bacteria", set(), {"bacteria"}),
    ],
)
def test_what_a_negation_reaches(text: str, negated: set[str], affirmed: set[str]) -> None:
    [sentence] = sentences(text)
    assert negated <= sentence.negated
    assert affirmed <= sentence.affirmed
    if not negated:
        assert not sentence.negated


@pytest.mark.parametrize(
    ("reference", "answer", "clash"),
    [
        ("Aspirin is safe in pregnancy.", "Aspirin is not safe in pregnancy.", True),
        ("Aspirin isn't safe in pregnancy.", "Aspirin is safe in pregnancy.", True),
        ("The left lung is smaller.", "The right lung is smaller.", True),
        ("It is autosomal recessive.", "It is autosomal dominant.", True),
        ("Both left and right lungs.", "The right lung.", False),
        ("No cure is known.", "No cure is known today.", False),
        ("Aspirin is safe.", "Aspirin is safe.", False),
    ],
)
def test_a_clash_is_a_denial_or_an_opposite(reference: str, answer: str, clash: bool) -> None:
    [first], [second] = sentences(reference), sentences(answer)
    assert polarity_clash(first, second) is clash
    assert polarity_clash(second, first) is clash


def test_opposites_are_pairs_of_different_single_words() -> None:
    assert len(OPPOSITES) > 25
    assert all(one != other and " " not in one + other for one, other in OPPOSITES)
    assert len(set(map(frozenset, OPPOSITES))) == len(OPPOSITES)


def test_sentences_say_where_they_stand_and_end_at_a_limit() -> None:
    text = "Rest. Drink water!\nSleep well."
    assert [text[each.start : each.end] for each in sentences(text)] == [
        "Rest.",
        "Drink water!",
        "Sleep well.",
    ]
    assert len(sentences("One two. " * 1000)) == MOST
