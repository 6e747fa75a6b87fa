from collections import Counter
from typing import Any

import pytest

from medsweep.datasets import embedded
from medsweep.datasets.load import load_sources
from medsweep.datasets.spec import DatasetSpec
from medsweep.datasets.split import normalise_question


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return [row for _, row in embedded.rows()]


def test_size(rows: list[dict[str, Any]]) -> None:
    assert len(rows) >= 600
    assert len({row["focus"] for row in rows}) >= 100


def test_every_question_is_its_type_s(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        assert row["question"] == embedded.QUESTIONS[row["question_type"]].format(row["focus"])
    assert {row["question_type"] for row in rows} == set(embedded.QUESTIONS)


def test_no_question_stands_twice(rows: list[dict[str, Any]]) -> None:
    counts = Counter(normalise_question(row["question"]) for row in rows)
    assert [question for question, count in counts.items() if count > 1] == []
    assert len({row["answer"] for row in rows}) == len(rows)


def test_answers_are_short_plain_ascii(rows: list[dict[str, Any]]) -> None:
    words = {row["question"]: len(row["answer"].split()) for row in rows}
    assert {question: n for question, n in words.items() if not 20 <= n <= 60} == {}
    assert all(f"{row['question']} {row['answer']}".isascii() for row in rows)
    assert all("\n" not in row["answer"] for row in rows)


def test_every_row_says_where_it_stands() -> None:
    places = [where for where, _ in embedded.rows()]
    assert len(set(places)) == len(places)
    assert "respiratory.yaml: Asthma, symptoms" in places


def test_the_loader_drops_none_of_it(rows: list[dict[str, Any]]) -> None:
    [loaded] = load_sources(DatasetSpec())
    assert len(loaded.pairs) == loaded.rows == len(rows)
    assert loaded.summary() == f"{len(rows)} pairs of {len(rows)} rows"
