"""Prompts and time stamps from files."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from medsweep.errors import InputError
from medsweep.loadgen.spec import Prompt

# Names of the prompt in a line of JSON, in the order in which they are looked for.
FIELDS = ("prompt", "question", "text")
TIME_FIELDS = ("timestamp", "time")


def read_prompts(path: Path) -> tuple[Prompt, ...]:
    """Read one prompt per line: JSON objects with `prompt`, `question` or `text`, or plain text.

    Raises:
        InputError: there is no such file, no prompt in it, or a line that is neither.
    """
    prompts = []
    for number, line in _lines(path):
        text: Any = line
        if line.startswith("{"):
            fields = _object(path, number, line)
            text = next((fields[name] for name in FIELDS if fields.get(name)), None)
            if not isinstance(text, str):
                raise InputError(f"{path}: line {number}: no text in {', '.join(FIELDS)}")
        prompts.append(Prompt(f"line-{number}", text))
    if not prompts:
        raise InputError(f"{path}: no prompts in it; write one per line")
    return tuple(prompts)


def read_replay(path: Path) -> tuple[float, ...]:
    """Read when requests were made: one time stamp per line, in any order.

    A line holds seconds, a date and time as in ISO 8601, or a JSON object with either as
    `timestamp`.

    Returns:
        Ascending seconds from the first.

    Raises:
        InputError: there is no such file, no time stamp in it, or a line that is none.
    """
    times = sorted(_time(path, number, line) for number, line in _lines(path))
    if not times:
        raise InputError(
            f"{path}: no time stamps in it; write one per line, in seconds or ISO 8601"
        )
    return tuple(time_s - times[0] for time_s in times)


def _time(path: Path, number: int, line: str) -> float:
    value: Any = line
    if line.startswith("{"):
        fields = _object(path, number, line)
        value = next((fields[name] for name in TIME_FIELDS if name in fields), None)
    try:
        time_s = float(value)
        if math.isfinite(time_s):
            return time_s
    except (TypeError, ValueError):
        pass
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise InputError(
            f"{path}: line {number}: no time stamp; write seconds, or 2026-01-31T12:00:00Z"
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _object(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise InputError(f"{path}: line {number}: not JSON: {error}") from None
    return value if isinstance(value, dict) else {}


def _lines(path: Path) -> list[tuple[int, str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file in UTF-8") from None
    lines = enumerate(text.splitlines(), start=1)
    return [(number, line.strip()) for number, line in lines if line.strip()]
