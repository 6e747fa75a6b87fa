import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from medsweep.datasets.load import Loaded, load_sources
from medsweep.datasets.spec import DatasetSpec
from medsweep.errors import DatasetError

CHAT = [{"role": "user", "content": "Q?"}, {"role": "assistant", "content": "A."}]
SYSTEM = {"role": "system", "content": "Be brief."}
SHARE = [{"from": "human", "value": "Q?"}, {"from": "gpt", "value": "A."}]
MORE = [{"role": "user", "content": "And?"}, {"role": "assistant", "content": "B."}]
ALPACA = {"instruction": "Q?", "input": "", "output": "A."}


def load(folder: Path, *rows: object, **settings: Any) -> Loaded:
    path = folder / "data.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    given = {"name": "local", "path": str(path), "max_unusable_fraction": 1.0, **settings}
    [one] = load_sources(DatasetSpec.model_validate(given))
    return one


@pytest.mark.parametrize(
    ("row", "question", "turns"),
    [
        ({"messages": CHAT}, "Q?", 1),
        ({"messages": [SYSTEM, *CHAT]}, "Be brief. Q?", 1),
        ({"messages": [{**SYSTEM, "role": "developer"}, *CHAT]}, "Be brief. Q?", 1),
        ({"messages": CHAT + MORE}, "Q?", 2),
        ({"messages": json.dumps(CHAT)}, "Q?", 1),  # a cell of a CSV file
        ({"messages": [{"role": "assistant", "content": "Hello."}, *CHAT]}, "Q?", 1),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "Q?"}]}, CHAT[1]]},
            "Q?",
            1,
        ),
        ({"messages": [CHAT[0], {"role": "assistant", "content": None}, CHAT[1]]}, "Q?", 1),
        ({"conversations": SHARE}, "Q?", 1),
        ({"conversations": [{"from": "system", "value": "Be brief."}, *SHARE]}, "Be brief. Q?", 1),
        ({"conversations": SHARE, "system": "Be brief."}, "Be brief. Q?", 1),
        ({"conversations": SHARE * 3}, "Q?", 3),
        ({"conversations": CHAT}, "Q?", 1),
        ({"messages": SHARE}, "Q?", 1),
        (ALPACA, "Q?", 1),
        ({**ALPACA, "instruction": "Answer.", "input": "Q?"}, "Answer. Q?", 1),
        ({**ALPACA, "input": None}, "Q?", 1),
        ({**ALPACA, "history": [["Before?", "B."]]}, "Q?", 2),
        ({**ALPACA, "system": "Be brief."}, "Be brief. Q?", 1),
    ],
)
def test_formats_that_people_have(
    tmp_path: Path, row: dict[str, Any], question: str, turns: int
) -> None:
    one = load(tmp_path, row)
    assert [(pair.question, pair.answer) for pair in one.pairs] == [(question, "A.")]
    assert one.mended == ({"first-turn": 1} if turns > 1 else {})
    assert ("mended 1 first-turn" in one.summary()) == (turns > 1)


@pytest.mark.parametrize(
    "row",
    [
        {"messages": []},
        {"messages": None},
        {"messages": [SYSTEM]},
        {"messages": CHAT[:1]},
        {"messages": CHAT[1:]},
        {"messages": ["Q?", "A."]},
        {"messages": "Q?"},
        {"conversations": {"from": "human"}},
        {"instruction": "", "output": "A."},
        {"instruction": "Q?", "output": ""},
    ],
)
def test_a_conversation_without_question_and_answer_is_empty(
    tmp_path: Path, row: dict[str, Any]
) -> None:
    [first] = (
        [{"messages": CHAT}]
        if "messages" in row
        else [{"conversations": SHARE}]
        if ("conversations" in row)
        else [ALPACA]
    )
    one = load(tmp_path, first, row)
    assert (len(one.pairs), one.dropped) == (1, {"empty": 1})


def test_rows_that_fit_two_formats_need_to_be_told(tmp_path: Path) -> None:
    row = {"messages": CHAT, "question": "Column?", "answer": "C."}
    with pytest.raises(DatasetError, match=r"columns or messages.*dataset\.format \(--format\)"):
        load(tmp_path, row)
    for format_, question in (("messages", "Q?"), ("columns", "Column?")):
        assert load(tmp_path, row, format=format_).pairs[0].question == question
    # Columns that are named are meant.
    columns = {"question": "question", "answer": "answer"}
    assert load(tmp_path, row, columns=columns).pairs[0].question == "Column?"


def test_a_format_that_no_row_has(tmp_path: Path) -> None:
    with pytest.raises(
        DatasetError, match=r"no row has a column 'conversations'.*set dataset\.format"
    ):
        load(tmp_path, {"messages": CHAT}, format="sharegpt")


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"name": "local", "path": "x.csv", "format": "chatml"}, "alpaca"),
        ({"name": "embedded", "format": "messages"}, "`format` is for your own file"),
        (
            {"name": "local", "path": "x", "format": "alpaca", "columns": {"question": "q"}},
            "`columns` is for the format `columns`",
        ),
    ],
)
def test_formats_that_do_not_fit_the_settings(settings: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        DatasetSpec.model_validate(settings)
