"""Errors that servers report in the body of an answer, in the shapes that are in use.

OpenAI, vLLM, SGLang `{"error": {"message", "type", "param", "code"}}`; older vLLM
`{"object": "error", "message", "type"}`; TGI `{"error": "...", "error_type"}`; FastChat
`{"text", "error_code"}`; FastAPI `{"detail": "..." or [{"loc", "msg"}]}`; gateways
`{"message", "code"}`; Gemini `[{"error": {...}}]`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

_LONGEST_MESSAGE = 300
_MESSAGE_KEYS = ("message", "msg", "detail", "details", "error_description", "reason", "text")
_KIND_KEYS = ("type", "code", "error_type", "error_code", "status")
_ERROR_KEYS = ("error", "errors", "error_code", "error_message", "error_type", "exception")
# Keys that hold the word `error` where the object is one.
_SAYING_KEYS = ("object", "type", "status", "event")
# Words of every language about APIs: an error that shares them with a prompt does not quote it.
_COMMON_WORDS = """
a an and are as at be by can cannot does for from has have in is it its must not of on only or s t
than that the this to was with you your
"""
_COMMON = frozenset(_COMMON_WORDS.split())
_PREFIX = re.compile(r"^\[?error\]?\s*[:=]?\s*(?=\S)", re.IGNORECASE)
_ESCAPES = re.compile(r"\\u([0-9a-fA-F]{4})|\\[nrt]")
# Scripts without spaces between words are compared character by character.
_WORD = re.compile(r"[\u0e00-\u0eff\u2e80-\U0010ffff]|[^\W_\u0e00-\u0eff\u2e80-\U0010ffff]+")


@dataclass(frozen=True)
class ReportedError:
    """What a server says about a failure.

    Attributes:
        kind: its type or code; None if it gives none.
        message: in the server's words, which may quote the prompt; None if it gives none.
        names: type, code and parameter, to compare with.
    """

    kind: str | None
    message: str | None
    names: frozenset[str]


def find_error(value: Any) -> ReportedError | None:
    """Return the error that a decoded JSON value reports; None if it reports none.

    Args:
        value: a chunk of a stream, or the body of an answer with status 200.
    """
    if isinstance(value, list):
        return next(filter(None, map(find_error, value[:1])), None)
    if not isinstance(value, dict):
        return None
    saying = any(str(value.get(key)).lower() == "error" for key in _SAYING_KEYS)
    naming = any(value.get(key) for key in _ERROR_KEYS)
    # Without choices it is no chunk, so that a message is not one of an answer.
    gateway = "choices" not in value and (
        value.get("detail") or ("message" in value and {"code", "status"} & value.keys())
    )
    return describe(value) if saying or naming or gateway else None


def describe(error: Any) -> ReportedError:
    """Return type and message of something that is known to be an error."""
    if isinstance(error, str):
        return ReportedError(None, _line(error), frozenset())
    if isinstance(error, list):
        parts = [describe(each) for each in error[:3]]
        messages = [part.message for part in parts if part.message]
        names = frozenset[str]().union(*(part.names for part in parts))
        return ReportedError(parts[0].kind if parts else None, "; ".join(messages) or None, names)
    if not isinstance(error, dict):
        return ReportedError(None, None, frozenset())
    inner = error.get("error") or error.get("errors")
    nested = describe(inner) if inner else ReportedError(None, None, frozenset())
    kinds = [error[key] for key in _KIND_KEYS if _is_name(error.get(key))]
    values = [error[key] for key in _MESSAGE_KEYS if error.get(key)]
    message = nested.message or (describe(values[0]).message if values else None)
    if message and isinstance(error.get("loc"), list):
        message = f"{'.'.join(map(str, error['loc'][:6]))}: {message}"
    kind = nested.kind or (printable(kinds[0]) if kinds else None)
    named = {str(error.get(key)) for key in ("type", "code", "param")}
    return ReportedError(kind, message, nested.names | named)


def describe_bytes(data: bytes) -> ReportedError:
    """Return type and message of a body or an event that is known to be an error."""
    text = _PREFIX.sub("", data.decode(errors="replace").strip())
    try:
        return describe(json.loads(text))
    except (ValueError, RecursionError):
        # A web page says nothing that the status does not say.
        return describe("" if text.startswith("<") else text)


def without_quotes(message: str, private: Iterable[str]) -> str:
    """Return a server's message with every word left out that it could have from a prompt.

    Args:
        message: in the server's words.
        private: texts that must not be told: the prompt and the answer.
    """
    words = {word for text in private for word in _WORD.findall(text.casefold())}
    told: list[str] = []
    end, quoting = 0, False
    for match in _WORD.finditer(message):
        word = match.group().casefold()
        # A quotation that is cut off ends within a word.
        quoting = (word in words and (quoting or word not in _COMMON)) or (
            quoting and any(each.startswith(word) for each in words)
        )
        told += [message[end : match.start()], "…" if quoting else match.group()]
        end = match.end()
    told.append(message[end:])
    return re.sub(r"…(?:[^\w…]*…)+", "…", "".join(told))


def printable(value: object) -> str | None:
    """Return text that can be stored: without half of a surrogate pair."""
    return None if value is None else str(value).encode(errors="replace").decode()


def _is_name(value: object) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool) and value not in ("", 0)


def _line(text: str) -> str | None:
    plain = _ESCAPES.sub(lambda m: chr(int(m[1], 16)) if m[1] else " ", text[:4000])
    return printable(" ".join(plain.split())[:_LONGEST_MESSAGE]) or None
