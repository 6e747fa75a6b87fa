import json
from pathlib import Path

import pytest

from medsweep.errors import InputError
from medsweep.loadgen.questions import read_prompts, read_replay


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "lines.txt"


def test_prompts_of_text_and_json(file: Path) -> None:
    file.write_text('\ufeffWhat is it?\n\n{"question": "Ä?"}\n{"prompt": "p", "text": "t"}\n')
    prompts = read_prompts(file)
    assert [prompt.text for prompt in prompts] == ["What is it?", "Ä?", "p"]
    assert [prompt.question_id for prompt in prompts] == ["line-1", "line-3", "line-4"]


def test_replay_of_every_form_and_in_any_order(file: Path) -> None:
    file.write_text(
        '{"timestamp": "2026-01-31T12:00:02Z"}\n2026-01-31T12:00:00\n2026-01-31T13:00:03+01:00\n'
    )
    assert read_replay(file) == (0.0, 2.0, 3.0)
    file.write_text("1700000000.5\n1700000000\n1e9\n")
    assert read_replay(file) == (0.0, 700000000.0, 700000000.5)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "no prompts"),
        ('a\n{"quastion": "a"}', "line 2: no text in prompt, question, text"),
        ("{a", "line 1 is not JSON"),
        ('{"prompt": 3}', "line 1: no text"),
    ],
)
def test_bad_prompts(file: Path, text: str, complaint: str) -> None:
    file.write_text(text)
    with pytest.raises(InputError, match=complaint):
        read_prompts(file)


@pytest.mark.parametrize(
    ("stamps", "unit", "gap_s"),
    [
        ("1700000000\n1700000002\n", None, 2.0),
        ("0\n1500\n", None, 1500.0),
        ("1700000000000\n1700000002000\n", "milliseconds", 2.0),
        ('{"timestamp": 1700000000000}\n{"timestamp": "1700000002000"}\n', "milliseconds", 2.0),
        ("1700000000000000\n1700000002000000\n", "microseconds", 2.0),
        ("1700000000000000000\n1700000002000000000\n", "nanoseconds", 2.0),
        ("1700000000000\n2023-11-14T22:13:22Z\n", "milliseconds", 2.0),
    ],
)
def test_units_of_time_stamps_are_recognised_by_size_and_told(
    file: Path, stamps: str, unit: str | None, gap_s: float
) -> None:
    file.write_text(stamps)
    told: list[str] = []
    assert read_replay(file, told.append) == pytest.approx((0.0, gap_s))
    assert len(told) == (unit is not None)
    assert all(f"taken for {unit}" in words for words in told)


@pytest.mark.parametrize("break_", ["\u2028", "\u2029", "\x85", "\x0c", "\x0b", "\x1c", "\x1e"])
def test_only_a_newline_ends_a_line(file: Path, break_: str) -> None:
    file.write_bytes(f'one{break_}two\r\n{{"prompt": "a{break_}b"}}\n'.encode())
    if break_ < " ":  # control characters have no place in a string of JSON
        with pytest.raises(InputError, match="line 2 is not JSON"):
            read_prompts(file)
        return
    assert [each.text for each in read_prompts(file)] == [f"one{break_}two", f"a{break_}b"]


def test_the_question_of_a_chat_is_the_first_of_the_user(file: Path) -> None:
    chat = [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]
    share = [{"from": "human", "value": "h"}, {"from": "gpt", "value": "a"}]
    lines = [{"messages": chat}, {"conversations": share}, {"messages": chat, "prompt": "p"}]
    file.write_text("\n".join(map(json.dumps, lines)))
    assert [each.text for each in read_prompts(file)] == ["q", "h", "p"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('{"prompt": ' + "[" * 2000 + "]" * 2000 + "}", "line 1 is nested too deeply"),
        ('{"a": ' + "[" * 200 + "]" * 200 + "}", "line 1 is nested too deeply"),
        ('{"prompt": "half \\ud83d"}', "line 1: half of a surrogate pair"),
        ('{"prompt": "a", "prompt": "b"}', "line 1 has a field twice"),
        ('{"messages": [{"role": "system", "content": "s"}]}', "no user's message"),
        ('{"messages": [3], "prompt": null}', "no user's message"),
    ],
)
def test_prompts_that_no_server_takes(file: Path, text: str, complaint: str) -> None:
    file.write_text(text)
    with pytest.raises(InputError, match=complaint):
        read_prompts(file)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("1" * 400, "line 1: no time stamp"),
        ('{"timestamp": true}', "line 1: no time stamp"),
        ('{"timestamp": ' + "1" * 400 + "}", "line 1: no time stamp"),
        ('{"timestamp": ' + "1" * 5000 + "}", "line 1 is not JSON"),
        ("\n", "no time stamps"),
        ("1.5\nnoon", "line 2: no time stamp"),
        ("nan", "line 1: no time stamp"),
        ('{"at": 3}', "line 1: no time stamp"),
    ],
)
def test_bad_time_stamps(file: Path, text: str, complaint: str) -> None:
    file.write_text(text)
    with pytest.raises(InputError, match=complaint):
        read_replay(file)


def test_files_that_cannot_be_read(file: Path) -> None:
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_prompts(file)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="UTF-8"):
        read_replay(file)
