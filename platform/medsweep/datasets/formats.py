"""The formats that question-answer pairs come in: columns, chats and instructions."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from medsweep.errors import DatasetError
from medsweep.json_lines import has_half_surrogate, parse

Format = Literal["columns", "messages", "sharegpt", "alpaca"]

_USERS = frozenset({"user", "human", "prompter"})
_ASSISTANTS = frozenset({"assistant", "gpt", "model", "bot", "chatgpt"})
_SYSTEMS = frozenset({"system", "developer"})

FAULTS = ("not-text", "half-surrogate")
"""Reasons to drop a row beside the cleaning rules."""

MAIN_FIELDS: Mapping[str, str] = {
    "messages": "messages",
    "sharegpt": "conversations",
    "alpaca": "instruction",
}
"""The field that every row of a format has; columns have names of their own."""


@dataclass(frozen=True)
class RawPair:
    """A question and an answer as the row holds them.

    Attributes:
        question: text, or another value that the row holds.
        answer: text, or another value that the row holds.
        turns: how many answers the conversation has.
    """

    question: object
    answer: object
    turns: int = 1

    @property
    def fault(self) -> str | None:
        """Why the row cannot be used, one of `FAULTS`; None if it can, or has nothing in it."""
        given = [part for part in (self.question, self.answer) if part is not None]
        if not all(isinstance(part, str) for part in given):
            return "not-text"
        return "half-surrogate" if any(map(has_half_surrogate, map(str, given))) else None


def fitting(row: Mapping[str, Any], question: str, answer: str) -> list[Format]:
    """Return the formats that a row may have.

    Args:
        row: one row.
        question: the configured column of the question.
        answer: the configured column of the answer.
    """
    fits: list[Format] = []
    if question in row and answer in row:
        fits.append("columns")
    if "messages" in row:
        fits.append("messages")
    if "conversations" in row:
        fits.append("sharegpt")
    if "instruction" in row and "output" in row:
        fits.append("alpaca")
    return fits


def only_format(fits: Sequence[Format], where: str, field: str) -> Format:
    """Return the one format that fits; without any, that of columns.

    Raises:
        DatasetError: several fit.
    """
    if len(fits) > 1:
        raise DatasetError(
            f"{where}: its rows can be read as {' or '.join(fits)}; "
            f"say which with {field}.format (--format)"
        )
    return fits[0] if fits else "columns"


def read_pair(row: Mapping[str, Any], format_: Format, question: str, answer: str) -> RawPair:
    """Return the question and the answer of a row.

    Of a conversation, the first question and the first answer after it; a system message, or the
    instruction of an input, goes before the question.

    Args:
        row: one row.
        format_: its format.
        question: column of the question, for `columns`.
        answer: column of the answer, for `columns`.
    """
    if format_ == "columns":
        return RawPair(plain(row.get(question)), plain(row.get(answer)))
    if format_ == "alpaca":
        parts = [plain(row.get(name)) for name in ("system", "instruction", "input")]
        history = row.get("history")
        turns = 1 + len(history) if isinstance(history, list) else 1
        return RawPair(_joined(*parts), plain(row.get("output")), turns)
    return _conversation(row, row.get(MAIN_FIELDS[format_]))


def _conversation(row: Mapping[str, Any], turns: Any) -> RawPair:
    if isinstance(turns, str):  # a cell of a CSV file
        try:
            turns = parse(turns)
        except ValueError:
            return RawPair(None, None)
    if not isinstance(turns, list):
        return RawPair(None, None)
    system: list[object] = [plain(row.get("system"))]
    question: object = None
    answers: list[object] = []
    for turn in turns:
        if not isinstance(turn, dict):
            return RawPair(None, None)
        role = str(turn.get("role") or turn.get("from")).lower()
        text = plain(_content(turn.get("content", turn.get("value"))))
        if role in _SYSTEMS and question is None:
            system.append(text)
        elif role in _USERS and question is None:
            question = text
        elif role in _ASSISTANTS and question is not None and text:
            answers.append(text)
    asked = _joined(*system, question) if question else None
    return RawPair(asked, answers[0] if answers else None, len(answers))


def _content(content: Any) -> object:
    """Return the text of a message's content, which may be a list of parts."""
    if not isinstance(content, list):
        return content
    parts = [part.get("text") for part in content if isinstance(part, dict)]
    return "\n".join(part for part in parts if isinstance(part, str)) or None


def _joined(*parts: object) -> object:
    """Return the texts among these, one below the other; the last part if there are none."""
    texts = [part for part in parts if isinstance(part, str) and part.strip()]
    return "\n".join(texts) if texts else parts[-1]


def plain(value: object) -> object:
    """Return text for what stands for text in a file: numbers, bytes, a list of one text."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value
    if isinstance(value, list) and len(value) == 1:
        return plain(value[0])
    if isinstance(value, float) and not math.isfinite(value):
        return None  # how tables mark what is missing
    if isinstance(value, int | float) and not isinstance(value, bool):
        return json.dumps(value)
    return value
