"""Grades predictions from any source: lines of JSON with a prediction and a reference."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from medsweep.json_lines import has_half_surrogate, numbered_lines, parse
from medsweep.metrics.bounds import Cut
from medsweep.metrics.choice import LETTERS, ChoiceTally, right_place
from medsweep.metrics.concepts import Lexicon
from medsweep.metrics.tally import AnswerTally

_KINDS = {
    type(None): "null",
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "a text",
    list: "a list",
    dict: "an object",
}


@dataclass(frozen=True)
class BadLine:
    """A line that could not be graded.

    Attributes:
        number: number of the line, counted from 1.
        problem: what is wrong, without any of the line's text.
    """

    number: int
    problem: str


@dataclass(frozen=True)
class Graded:
    """The graded lines of a file of predictions.

    Attributes:
        texts: scores of free-text answers.
        choices: scores of answers to multiple-choice questions.
        bad: lines that could not be graded.
        numbers: line of each free-text answer, from 1.
        columns: fields that some line had.
    """

    texts: AnswerTally
    choices: ChoiceTally
    bad: list[BadLine]
    numbers: array[int] = field(default_factory=lambda: array("q"))
    columns: dict[str, None] = field(default_factory=dict)


Choose = Callable[[str, Sequence[str]], int]
Also = Callable[[str, str, str], None]


def grade_lines(
    lines: Iterable[bytes],
    choose: Choose | None = None,
    *,
    also: Also = lambda *_: None,
    cut: Cut | None = None,
    by: Sequence[str] = (),
    lexicon: Lexicon | None = None,
) -> Graded:
    """Grade line by line, skipping blank lines.

    Args:
        lines: JSON objects with `prediction` and either `reference`, optionally with `id` (answers
            with the same id belong to one question) and `finish_reason`; or `options` and `answer`
            (the right option's text, letter or index from 0). Fields that `by` does not name are
            ignored.
        choose: chooses among the options of a line's `question` if the line has no `prediction`;
            returns the index from 0.
        also: called with each free-text answer, its reference and its question, empty without one.
        cut: cuts a reference at the longest allowed answer; None if that is not known.
        lexicon: of the concepts; None takes ICD-10-CM's.
        by: fields with texts, numbers or flags by which the questions are grouped.
    """
    graded = Graded(AnswerTally(cut, lexicon), ChoiceTally(), [])
    for number, line in numbered_lines(lines):
        try:
            row = _object(line)
            graded.columns.update(dict.fromkeys(row))
            if "options" in row and "prediction" not in row and choose is not None:
                options, right = _options(row)
                graded.choices.count(choose(_text(row, "question"), options), right)
            elif "options" in row:
                graded.choices.add(_text(row, "prediction"), *_options(row))
            else:
                answer = _answer(row)
                graded.texts.add(*answer, _labels(row, by))
                graded.numbers.append(number)
                also(*answer[:2], row["question"] if isinstance(row.get("question"), str) else "")
        except ValueError as error:
            graded.bad.append(BadLine(number, str(error)))
    return graded


def _object(line: bytes) -> dict[str, Any]:
    row = parse(line)
    if not isinstance(row, dict):
        raise ValueError(f"is {_KINDS[type(row)]}, not an object")
    return row


def _answer(row: dict[str, Any]) -> tuple[str, str, str | None, str | None]:
    prediction, reference = _text(row, "prediction"), _text(row, "reference")
    id_, reason = row.get("id"), row.get("finish_reason")
    if not isinstance(id_, str | int | None):
        raise ValueError(f"`id` is {_KINDS[type(id_)]}, not a text or a number")
    if not isinstance(reason, str | None):
        raise ValueError(f"`finish_reason` is {_KINDS[type(reason)]}, not a text")
    return prediction, reference, None if id_ is None else str(id_), reason


def _labels(row: dict[str, Any], by: Sequence[str]) -> dict[str, str]:
    return {
        name: str(row[name])
        for name in by
        if isinstance(row.get(name), str | int | float) and row[name] != ""
    }


def _options(row: dict[str, Any]) -> tuple[list[str], int]:
    options = row["options"]
    if (
        not isinstance(options, list)
        or not 2 <= len(options) <= len(LETTERS)
        or not all(isinstance(option, str) and not has_half_surrogate(option) for option in options)
    ):
        raise ValueError(f"`options` is not a list of 2 to {len(LETTERS)} texts")
    return options, right_place(row.get("answer", ""), options)


def _text(row: dict[str, Any], name: str) -> str:
    if name not in row:
        raise ValueError(f"has no field `{name}`")
    value = row[name]
    if not isinstance(value, str):
        raise ValueError(f"`{name}` is {_KINDS[type(value)]}, not a text")
    if has_half_surrogate(value):
        raise ValueError(f"`{name}` holds half of a surrogate pair")
    return value
