"""Predictions from anywhere: lines of JSON with a prediction and its reference, graded in turn."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

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
        number: counted from 1.
        problem: what is wrong with it; nothing of its text.
    """

    number: int
    problem: str


def grade_lines(lines: Iterable[bytes]) -> tuple[AnswerTally, list[BadLine]]:
    """Grade line by line; blank lines are passed over.

    Args:
        lines: JSON objects with `prediction` and `reference`, and where known `id` (answers with
            one id are one question) and `finish_reason`; other fields do not matter.

    Returns:
        The figures of the good lines, and the bad ones.
    """
    tally, bad = AnswerTally(), []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            tally.add(*_fields(line))
        except ValueError as error:
            bad.append(BadLine(number, str(error)))
    return tally, bad


def _fields(line: bytes) -> tuple[str, str, str | None, str | None]:
    try:
        row: Any = json.loads(line)
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8") from None
    except (json.JSONDecodeError, RecursionError):
        raise ValueError("is not JSON") from None
    if not isinstance(row, dict):
        raise ValueError(f"is {_KINDS[type(row)]}, not an object")
    found = []
    for name in ("prediction", "reference"):
        if name not in row:
            raise ValueError(f"has no field `{name}`")
        if not isinstance(row[name], str):
            raise ValueError(f"`{name}` is {_KINDS[type(row[name])]}, not a text")
        found.append(row[name])
    id_, reason = row.get("id"), row.get("finish_reason")
    if not isinstance(id_, str | int | None):
        raise ValueError(f"`id` is {_KINDS[type(id_)]}, not a text or a number")
    if not isinstance(reason, str | None):
        raise ValueError(f"`finish_reason` is {_KINDS[type(reason)]}, not a text")
    return found[0], found[1], None if id_ is None else str(id_), reason
