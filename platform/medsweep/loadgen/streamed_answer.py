"""One streamed answer: its text, its tokens and their times."""

from __future__ import annotations

import contextlib
import json
import re
from itertools import pairwise
from typing import Any

import orjson

from medsweep.loadgen.failures import RequestError
from medsweep.loadgen.server_errors import (
    ReportedError,
    describe_bytes,
    find_error,
    printable,
)

# The most that an integer column of the results can hold.
_MOST_TOKENS = 1 << 53
# Reasons for which a server ends an answer that is not complete (vLLM, SGLang, OpenRouter,
# DeepSeek). A content filter is none: it is an answer of the service.
_FAILED_REASONS = """
error errored abort aborted cancel cancelled canceled failed failure internal_error server_error
insufficient_system_resource
"""
_FAILED = frozenset(_FAILED_REASONS.split())

_SHORT = 32
_ERROR_TEXT = re.compile(rb"\s*\[?error\b", re.IGNORECASE)


class StreamedAnswer:
    """Collects the events of one stream, of the chat or of the completions endpoint.

    Attributes:
        finish_reason: the server's word for why it stopped; None before it did.
        done_s: when `[DONE]` came, in seconds on the caller's clock; None before it did.
    """

    def __init__(self) -> None:
        self.finish_reason: str | None = None
        self.done_s: float | None = None
        self._prompt_tokens: int | None = None
        self._output_tokens: int | None = None
        self._chunks = self._others = 0
        self._pieces: list[str] = []
        self._at_s: list[float] = []
        self._totals: list[int | None] = []

    def take(self, data: bytes, at_s: float, form: str = "message") -> None:
        """Add one event.

        Args:
            data: the JSON of a chunk, or `[DONE]`.
            at_s: when it was received, in seconds.
            form: as in `sse.Event`.

        Raises:
            ValueError: it is neither.
            RequestError: it is an error, or says that the answer was given up.
        """
        if form != "message":
            _raise_reported(data, form)
            return
        if len(data) < _SHORT:
            bare = data.strip()
            if bare == b"[DONE]":
                self.done_s = at_s
            if bare in (b"", b"[DONE]"):
                return
        try:
            chunk = _decode(data)
        except ValueError:
            if _ERROR_TEXT.match(data):
                raise _server_error(describe_bytes(data)) from None
            raise
        if chunk is None:
            return
        try:
            self._take_chunk(chunk, at_s)
        except (AttributeError, IndexError, KeyError, TypeError):
            raise ValueError("not a completion chunk") from None

    def _take_chunk(self, chunk: dict[str, Any], at_s: float) -> None:
        choices = chunk.get("choices") if isinstance(chunk, dict) else None
        if not choices or "error" in chunk or "error_code" in chunk:
            _raise_error(chunk)
        usage = chunk.get("usage") or {}
        if usage:
            self._prompt_tokens = _count(usage.get("prompt_tokens"))
            self._output_tokens = _count(usage.get("completion_tokens"))
        self._chunks += bool(usage) or isinstance(choices, list)
        self._others += not (usage or "choices" in chunk)
        for choice in choices or ():
            if "error" in choice:
                _raise_error(choice)
            self.finish_reason = printable(choice.get("finish_reason")) or self.finish_reason
            delta = choice.get("delta") or choice
            text = _text(delta.get("content") or choice.get("text"))
            if text:
                self._pieces.append(text)
            # A model's reasoning is no part of its answer, but it is text, and `usage` counts it.
            if text or delta.get("reasoning_content") or delta.get("reasoning"):
                self._at_s.append(at_s)
                self._totals.append(self._output_tokens if usage else None)
        if (self.finish_reason or "").lower() in _FAILED:
            raise RequestError("server_error", f"finish_reason {self.finish_reason}")

    @property
    def complete(self) -> bool:
        """Whether the server said that the answer has ended."""
        return self.done_s is not None or self.finish_reason is not None

    @property
    def is_foreign(self) -> bool:
        """Whether there were events, and none of them was a completion chunk."""
        return self._others > 0 and not self._chunks

    @property
    def prompt_tokens(self) -> int | None:
        """From the latest `usage`; None if there was none, or if it counts 0 of a prompt."""
        return self._prompt_tokens or None

    @property
    def output_tokens(self) -> int | None:
        """From the latest `usage`; None if there was none, or if it counts 0 beside text."""
        return None if self._output_tokens == 0 and self._at_s else self._output_tokens

    @property
    def text(self) -> str:
        """The text so far, with surrogate pairs that were split over two chunks put together."""
        joined = "".join(self._pieces)
        return joined.encode("utf-16", "surrogatepass").decode("utf-16", "replace")

    @property
    def first_text_s(self) -> float | None:
        """When the first chunk with text came, in seconds; None if none did."""
        return self._at_s[0] if self._at_s else None

    @property
    def chunk_gaps_s(self) -> tuple[float, ...]:
        """Gaps between successive text chunks, in seconds."""
        return tuple(after - before for before, after in pairwise(self._at_s))

    @property
    def chunk_tokens(self) -> tuple[int, ...] | None:
        """Tokens that each text chunk held; None unless the server counted up in every one."""
        totals = [total for total in self._totals if total is not None]
        if not totals or len(totals) < len(self._totals) or totals != sorted(totals):
            return None
        if totals[0] == 0:  # a count that is only filled in at the end
            return None
        return tuple(after - before for before, after in pairwise([0, *totals]))


def _server_error(error: ReportedError) -> RequestError:
    # Its message may quote the prompt, its type does not.
    return RequestError("server_error", error.kind or "no type given", error.message)


def _raise_error(value: Any) -> None:
    """Raise the error that a decoded value reports, if it does."""
    if error := find_error(value):
        raise _server_error(error)


def _raise_reported(data: bytes, form: str) -> None:
    """Raise an error event, or the error that a comment or a bare line of JSON reports, if any."""
    if form == "error" or not data.lstrip().startswith(b"{"):
        raise _server_error(describe_bytes(data))
    with contextlib.suppress(ValueError):
        _raise_error(_decode(data))


def _text(content: Any) -> str | None:
    """Return the text of a delta's content, which is a string or a list of parts."""
    if isinstance(content, list):
        return "".join(part["text"] for part in content if part.get("type") == "text")
    if content is not None and not isinstance(content, str):
        raise TypeError
    return content


def _decode(event: bytes) -> Any:
    # Hundreds of streams send tens of thousands of events a second: `json` takes twice as long.
    try:
        return orjson.loads(event)
    except ValueError:
        # orjson rejects half of a surrogate pair, which some servers send, and invalid UTF-8, which
        # the standard replaces.
        try:
            return json.loads(event.decode(errors="replace"))
        except RecursionError:
            raise ValueError("nested too deeply") from None


def _count(value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is not int or not 0 <= value <= _MOST_TOKENS:
        raise TypeError
    return value
