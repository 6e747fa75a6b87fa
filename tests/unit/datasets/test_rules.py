import pytest

from medsweep.datasets.rules import Draft, fold, rules

TABLE = (
    "The Human Phenotype Ontology provides the following list of signs and symptoms for X. If the "
    "information is available, the table below includes how often the symptom is seen. Signs and "
    "Symptoms Approximate number of patients (when available) Cleft palate 90% Iris coloboma 50%"
)


def apply(name: str, draft: Draft, limit: int | None = None) -> Draft | None:
    [rule] = rules([name], limit)
    return rule.apply(draft)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("What is  X ?", "What is X?"),
        ("What is X ? ?", "What is X??"),
        (" Why ? Because\n of \t Y. ", "Why? Because of Y."),
        (None, ""),
        (3.5, ""),
    ],
)
def test_fold(given: object, expected: str) -> None:
    assert fold(given) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [("What is X??", "What is X?"), ("What is X?", "What is X?"), ("Why?? Y", "Why?? Y")],
)
def test_question_marks(given: str, expected: str) -> None:
    assert apply("question-marks", Draft(given, "A")) == Draft(expected, "A")


def test_a_frequency_table_is_cut_and_prose_is_kept() -> None:
    prose = "Most people have a cleft palate, about 90% of them."
    assert apply("frequency-tables", Draft("Q?", prose)) == Draft("Q?", prose)
    assert apply("frequency-tables", Draft("Q?", f"{prose} {TABLE}")) == Draft("Q?", prose)
    assert apply("frequency-tables", Draft("Q?", TABLE)) is None
    alone = f"What are the signs and symptoms of X? {TABLE}"
    assert apply("frequency-tables", Draft("Q?", alone)) is None


def test_empty() -> None:
    assert apply("empty", Draft("Q?", "")) is None
    assert apply("empty", Draft("", "A")) is None
    assert apply("empty", Draft("Q?", "A")) is not None


def test_over_long() -> None:
    assert apply("over-long", Draft("Q?", "one two three"), 3) is not None
    assert apply("over-long", Draft("Q?", "one two three four"), 3) is None
    assert apply("over-long", Draft("Q?", "word " * 9999)) is not None


def test_duplicate_remembers() -> None:
    [rule] = rules(["duplicate"], None)
    kept = [rule.apply(Draft("Q?", answer)) is not None for answer in ("A", "B", "A", "A")]
    assert kept == [True, True, False, False]


def test_an_answer_is_empty_after_its_table_was_cut() -> None:
    # The order of the rules does not follow the order in which they are named.
    names = ["empty", "frequency-tables", "question-marks"]
    assert [rule.name for rule in rules(names, None)] == [
        "question-marks",
        "frequency-tables",
        "empty",
    ]
