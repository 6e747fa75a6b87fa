"""Grades predictions from any source: lines of JSON with a prediction and a reference."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from medsweep.json_lines import has_half_surrogate, numbered_lines, parse
from medsweep.metrics.bounds import Cut
from medsweep.metrics.choice import chosen
from medsweep.metrics.choice_rows import ChoiceQuestion, choice_question
from medsweep.metrics.choice_tally import ChoiceTally
from medsweep.metrics.confidence import probability_of
from medsweep.metrics.quality import DEFAULT_GRADER, Grader
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


Choose = Callable[[str, Sequence[str]], tuple[int, float]]
"""Returns the place of the chosen option, from 0, and the probability that the model gives it."""

Also = Callable[[str, str, str], None]


def grade_lines(
    lines: Iterable[bytes],
    choose: Choose | None = None,
    *,
    also: Also = lambda *_: None,
    cut: Cut | None = None,
    by: Sequence[str] = (),
    grader: Grader = DEFAULT_GRADER,
) -> Graded:
    """Grade line by line, skipping blank lines.

    Args:
        lines: JSON objects with `prediction` and either `reference`, optionally with `id` (answers
            with the same id belong to one question), `finish_reason` and `token_logprobs`; or
            `options` and `answer` (the right option's text, letter or index from 0), or a row of
            MedQA, MedMCQA or PubMedQA, optionally with `confidence` or `option_logprobs`. Fields
            that `by` does not name are ignored.
        choose: chooses among the options of a line's `question` if the line has neither
            `prediction` nor `option_logprobs`.
        also: called with each free-text answer, its reference and its question, empty without one.
        cut: cuts a reference at the longest allowed answer; None if that is not known.
        grader: what the answers are graded by.
        by: fields with texts, numbers or flags by which the questions are grouped.
    """
    graded = Graded(AnswerTally(cut, grader), ChoiceTally(), [])
    for number, line in numbered_lines(lines):
        try:
            row = _object(line)
            graded.columns.update(dict.fromkeys(row))
            if (question := choice_question(row)) is not None:
                graded.choices.add(*_choice(row, question, choose))
            else:
                answer = _answer(row)
                graded.texts.add(*answer, _labels(row, by), _mean_logprob(row))
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


def _choice(
    row: dict[str, Any], question: ChoiceQuestion, choose: Choose | None
) -> tuple[int | None, ChoiceQuestion, float | None]:
    """Return which option a line chooses, of what, and how sure it is."""
    options, place = question.options, None
    logprobs, confidence = _numbers(row, "option_logprobs"), _confidence(row)
    if logprobs is not None and len(logprobs) != len(options):
        raise ValueError(
            f"`option_logprobs` has {len(logprobs)} numbers for {len(options)} options"
        )
    if "prediction" not in row and logprobs is not None:
        place = logprobs.index(max(logprobs))
    elif "prediction" not in row and choose is not None:
        asked = _text({"question": question.question}, "question")
        place, confidence = choose(asked, options)
    else:
        place = chosen(_text(row, "prediction"), options)
    if confidence is None and logprobs is not None and place is not None:
        confidence = probability_of(logprobs, place)
    return place, question, confidence


def _confidence(row: dict[str, Any]) -> float | None:
    value = row.get("confidence")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError("`confidence` is not a number from 0 to 1")
    return float(value)


def _mean_logprob(row: dict[str, Any]) -> float | None:
    """Return the mean log-probability of an answer's tokens; None where the line has none."""
    logprobs = _numbers(row, "token_logprobs")
    return sum(logprobs) / len(logprobs) if logprobs else None


def _numbers(row: dict[str, Any], name: str) -> list[float] | None:
    """Return a list of numbers; the first token of a prompt has null, which is left out."""
    if row.get(name) is None:
        return None
    values = row[name]
    if not isinstance(values, list) or not all(
        each is None or (isinstance(each, int | float) and not isinstance(each, bool))
        for each in values
    ):
        raise ValueError(f"`{name}` is not a list of numbers")
    return [float(each) for each in values if each is not None]


def _text(row: dict[str, Any], name: str) -> str:
    if name not in row:
        raise ValueError(f"has no field `{name}`")
    value = row[name]
    if not isinstance(value, str):
        raise ValueError(f"`{name}` is {_KINDS[type(value)]}, not a text")
    if has_half_surrogate(value):
        raise ValueError(f"`{name}` holds half of a surrogate pair")
    return value
