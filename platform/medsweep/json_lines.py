"""JSON from others: one value, or one on each line of a file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

_DEEPEST = 100
_SURROGATE = re.compile("[\ud800-\udfff]")
_BOM = b"\xef\xbb\xbf"


class _RepeatedField(ValueError):
    pass


def parse(text: str | bytes) -> Any:
    """Return the value of a JSON text; NaN and infinities, which are not JSON, become None.

    Raises:
        ValueError: it is not JSON, has a field twice, or is nested more than 100 deep; says what is
            wrong without any of the text.
    """
    try:
        value = json.loads(text, parse_constant=lambda _: None, object_pairs_hook=_object)
    except _RepeatedField:
        raise ValueError("has a field twice") from None
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8") from None
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    except ValueError:  # also an integer of more digits than Python reads
        raise ValueError("is not JSON") from None
    content = text.encode(errors="replace") if isinstance(text, str) else text
    if content.count(b"[") + content.count(b"{") > _DEEPEST and _is_deep(value):
        raise ValueError("is nested too deeply")
    return value


def numbered_lines(file: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    r"""Yield the lines of a binary file that are not blank, each with its number from 1.

    Only `\n` ends a line: U+2028, NEL and form feed are text, at which `str.splitlines` splits.
    """
    for number, line in enumerate(file, start=1):
        content = (line.removeprefix(_BOM) if number == 1 else line).strip(b" \t\r\n")
        if content:
            yield number, content


def has_half_surrogate(text: str) -> bool:
    """Whether a text holds half of a surrogate pair, which no file and no server takes."""
    return not text.isascii() and _SURROGATE.search(text) is not None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise _RepeatedField
    return fields


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(_DEEPEST):
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
    return bool(level)
