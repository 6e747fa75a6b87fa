"""Prompts and time stamps from files."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from medsweep.errors import InputError
from medsweep.json_lines import has_half_surrogate, numbered_lines, parse
from medsweep.loadgen.spec import Prompt

# Names of the prompt in a line of JSON, in the order in which they are looked for.
FIELDS = ("prompt", "question", "text")
TIME_FIELDS = ("timestamp", "time")
_USERS = ("user", "human")
# Units of numbers: name, how many are a second, and the limit up to which a number is one. The year
# 5000 is 1e11 seconds after 1970, and 1e11 milliseconds are March 1973.
_UNITS = (
    ("seconds", 1.0, 1e11),
    ("milliseconds", 1e3, 1e14),
    ("microseconds", 1e6, 1e17),
    ("nanoseconds", 1e9, math.inf),
)


def read_prompts(path: Path) -> tuple[Prompt, ...]:
    """Read one prompt per line: JSON objects with `prompt`, `question` or `text`, or plain text.

    Of a chat (`messages`) or a ShareGPT conversation it is the first message of the user.

    Raises:
        InputError: there is no such file, no prompt in it, or a line that is neither.
    """
    prompts = []
    for number, line in _lines(path):
        text: Any = line
        if line.startswith("{"):
            fields = _object(path, number, line)
            text = next((fields[name] for name in FIELDS if fields.get(name)), None)
            text = text if text is not None else _first_question(fields)
            if not isinstance(text, str):
                raise InputError(
                    f"{path}: line {number}: no text in {', '.join(FIELDS)}, and no user's message"
                )
            if has_half_surrogate(text):
                raise InputError(f"{path}: line {number}: half of a surrogate pair in the text")
        prompts.append(Prompt(f"line-{number}", text))
    if not prompts:
        raise InputError(f"{path}: no prompts in it; write one per line")
    return tuple(prompts)


def read_replay(path: Path, tell: Callable[[str], None] = lambda _: None) -> tuple[float, ...]:
    """Read when requests were made: one time stamp per line, in any order.

    A line holds seconds, a date and time as in ISO 8601, or a JSON object with either as
    `timestamp`. Numbers too great for seconds since 1970 are milli-, micro- or nanoseconds.

    Args:
        path: the file.
        tell: called with a sentence about numbers that are not seconds.

    Returns:
        Ascending seconds from the first.

    Raises:
        InputError: there is no such file, no time stamp in it, or a line that is none.
    """
    read = [_time(path, number, line) for number, line in _lines(path)]
    greatest = max((abs(value) for value, is_number in read if is_number), default=0.0)
    unit, factor = next(each for each in _UNITS if greatest < each[2])[:2]
    if factor != 1:
        tell(f"{path}: its time stamps are taken for {unit} since 1970, which their size suggests")
    times = sorted(value / factor if is_number else value for value, is_number in read)
    if not times:
        raise InputError(
            f"{path}: no time stamps in it; write one per line, in seconds or ISO 8601"
        )
    return tuple(time_s - times[0] for time_s in times)


def _time(path: Path, number: int, line: str) -> tuple[float, bool]:
    """Return a time, and whether it is a number of a unit that is not known yet."""
    value: Any = line
    if line.startswith("{"):
        fields = _object(path, number, line)
        value = next((fields[name] for name in TIME_FIELDS if name in fields), None)
    with contextlib.suppress(TypeError, ValueError, OverflowError):
        time_s = float(value)
        if math.isfinite(time_s) and not isinstance(value, bool):
            return time_s, True
        value = None  # `fromisoformat` takes long numbers for dates
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError, OverflowError):
        raise InputError(
            f"{path}: line {number}: no time stamp; write seconds, or 2026-01-31T12:00:00Z"
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp(), False


def _object(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        value = parse(line)
    except ValueError as error:
        raise InputError(f"{path}: line {number} {error}") from None
    return value if isinstance(value, dict) else {}


def _first_question(fields: dict[str, Any]) -> object:
    turns = fields.get("messages") or fields.get("conversations")
    for turn in turns if isinstance(turns, list) else ():
        if isinstance(turn, dict) and (turn.get("role") or turn.get("from")) in _USERS:
            return turn.get("content") or turn.get("value")
    return None


def _lines(path: Path) -> list[tuple[int, str]]:
    try:
        with path.open("rb") as file:
            return [(number, line.decode()) for number, line in numbered_lines(file)]
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file in UTF-8") from None
