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
        ("{a", "line 1: not JSON"),
        ('{"prompt": 3}', "line 1: no text"),
    ],
)
def test_bad_prompts(file: Path, text: str, complaint: str) -> None:
    file.write_text(text)
    with pytest.raises(InputError, match=complaint):
        read_prompts(file)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
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
