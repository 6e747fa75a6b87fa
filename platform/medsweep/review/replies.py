"""What a judge's replies say. They are checked, and not stored: they may quote the answers."""

from __future__ import annotations

from typing import Any

from medsweep.json_lines import parse
from medsweep.metrics.faulty_answers import is_refusal
from medsweep.review.rubric import Rubric

NEITHER = "neither"


def read_ratings(text: str, rubric: Rubric) -> dict[str, int]:
    """Return the ratings of a reply, from 0 for the worst option.

    Raises:
        ValueError: what is wrong with it, without any of its text.
    """
    given = _object(text)
    names = [axis.name for axis in rubric.axes]
    if missing := [name for name in names if name not in given]:
        raise ValueError(f"the reply does not rate {', '.join(missing)}")
    if len(given) > len(names):
        raise ValueError("the reply rates what was not asked")
    ratings = {}
    for axis in rubric.axes:
        value = given[axis.name]
        if type(value) is not int or not 1 <= value <= len(axis.options):
            raise ValueError(f"{axis.name} is no whole number from 1 to {len(axis.options)}")
        ratings[axis.name] = value - 1
    return ratings


def read_choice(text: str) -> str:
    """Return which answer a reply prefers: A, B or neither.

    Raises:
        ValueError: what is wrong with it, without any of its text.
    """
    given = _object(text)
    if list(given) != ["better"] or given["better"] not in ("A", "B", NEITHER):
        raise ValueError('the reply is not {"better": ...} with A, B or neither')
    return str(given["better"])


def _object(text: str) -> dict[str, Any]:
    """Return the JSON object in a reply; what stands before and after it is ignored."""
    start, end = text.find("{"), text.rfind("}")
    if start < 0 or end < start:
        raise ValueError(
            "the judge declines to judge" if is_refusal(text) else "the reply holds no JSON object"
        )
    try:
        value = parse(text[start : end + 1])
    except ValueError as error:
        raise ValueError(f"the reply {error}") from None
    if not isinstance(value, dict):
        raise ValueError("the reply holds no JSON object")
    return value
