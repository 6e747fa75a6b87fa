from typing import Any

from made_rows import row
from medsweep.report.table import as_csv
from medsweep.report.tables.breakdown import breakdown_table, worsened_table, worst_table

Rows = list[dict[str, Any]]


def answers(variant: str, right: int, text: str | None = None) -> Rows:
    return [
        {
            "question_id": f"q{n}",
            "variant": variant,
            "load_point": "c2",
            "token_f1": 0.9 if n < right else 0.1,
            "consistency": float(n < right),
            "quantity_agreement": None,
            "reference_words": 20.0,
            "question": None if text is None else f"question {n}",
            "reference": text,
            "answer": text,
        }
        for n in range(30)
    ]


ROWS = [row(key="k", variant="adapter"), row(key="k", variant="base")]
SCORES = {"k": answers("adapter", 10) + answers("base", 20)}
LABELS = {f"q{n}": {"question_type": "easy" if n < 10 else "hard"} for n in range(30)}


def test_groups_of_the_adapter_are_compared_with_the_rest() -> None:
    table = breakdown_table(ROWS, SCORES, LABELS)
    lines = [[cell.text for cell in line] for line in table.rows]
    # All references are of one length, so that only the type has groups.
    assert [line[2:4] for line in lines] == [["question type", "hard"], ["question type", "easy"]]
    assert [line[4] for line in lines] == ["20", "10"]
    assert ["lower than the rest" in line[5].note for line in table.rows] == [True, False]
    assert ["higher than the rest" in line[5].note for line in table.rows] == [False, True]
    assert table.empty[0][0] == "Quantities", "no reference has quantities"
    assert breakdown_table(ROWS, SCORES, {}).rows == ()
    assert breakdown_table(ROWS, {}, LABELS).rows == ()


def test_texts_are_shown_only_where_they_are_given() -> None:
    private = worst_table(ROWS, SCORES)
    assert [line[1].text for line in private.rows] == [f"q{n}" for n in range(10, 20)]
    assert {title for title, _ in private.empty} == {"Reference", "Answer"}
    long = "word " * 200
    public = worst_table(ROWS, {"k": answers("adapter", 10, long)})
    assert public.rows[0][1].text == "question 10"
    assert 200 < len(public.rows[0][3].text) <= 301
    assert public.rows[0][3].text.endswith("word\N{HORIZONTAL ELLIPSIS}")


def test_questions_that_got_worse_are_counted_and_listed() -> None:
    table = worsened_table(ROWS, SCORES)
    assert len(table.rows) == 10
    assert table.rows[0][1].text == "10 / 0 / 30"
    assert [line[2].text for line in table.rows] == [f"q{n}" for n in range(10, 20)]
    assert "q10" in as_csv(table)
    assert worsened_table(ROWS[:1], {"k": answers("adapter", 10)}).rows == ()
