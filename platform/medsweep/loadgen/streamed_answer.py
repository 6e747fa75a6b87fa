"""One streamed answer: its text, its tokens and their times."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import orjson

from medsweep.loadgen.failures import RequestError

# The most that an integer column of the results can hold.
_MOST_TOKENS = 1 << 53


class StreamedAnswer:
    """Collects the events of one stream, of the chat or of the completions endpoint.

    Attributes:
        prompt_tokens: from the latest `usage`; None if there was none.
        output_tokens: from the latest `usage`; None if there was none.
        finish_reason: the server's word for why it stopped; None before it did.
        done_s: when `[DONE]` came, in seconds on the caller's clock; None before it did.
    """

    def __init__(self) -> None:
        self.prompt_tokens: int | None = None
        self.output_tokens: int | None = None
        self.finish_reason: str | None = None
        self.done_s: float | None = None
        self._pieces: list[str] = []
        self._at_s: list[float] = []
        self._totals: list[int | None] = []

    def take(self, event: bytes, at_s: float) -> None:
        """Add the data of one event.

        Args:
            event: the JSON of a chunk, or `[DONE]`.
            at_s: when it was received, in seconds.

        Raises:
            ValueError: it is neither.
            RequestError: it is an error object.
        """
        if event.strip() == b"[DONE]":
            self.done_s = at_s
            return
        chunk = _decode(event)
        try:
            self._take_chunk(chunk, at_s)
        except (AttributeError, IndexError, KeyError, TypeError):
            raise ValueError("not a completion chunk") from None

    def _take_chunk(self, chunk: dict[str, Any], at_s: float) -> None:
        if error := chunk.get("error"):
            # Its message may quote the prompt, its type does not.
            kind = error.get("type") or error.get("code") if isinstance(error, dict) else None
            raise RequestError("server_error", printable(kind) or "no type given")
        usage = chunk.get("usage") or {}
        if usage:
            self.prompt_tokens = _count(usage.get("prompt_tokens"))
            self.output_tokens = _count(usage.get("completion_tokens"))
        for choice in chunk["choices"]:
            self.finish_reason = printable(choice.get("finish_reason")) or self.finish_reason
            delta = choice.get("delta") or choice
            text = delta.get("content") or choice.get("text")
            if text:
                self._pieces.append(str(text))
            # A model's reasoning is no part of its answer, but it is text, and `usage` counts it.
            if text or delta.get("reasoning_content") or delta.get("reasoning"):
                self._at_s.append(at_s)
                self._totals.append(self.output_tokens if usage else None)

    @property
    def complete(self) -> bool:
        """Whether the server said that the answer has ended."""
        return self.done_s is not None or self.finish_reason is not None

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
        return tuple(after - before for before, after in pairwise([0, *totals]))


def printable(value: object) -> str | None:
    """Return text that can be stored: without half of a surrogate pair."""
    return None if value is None else str(value).encode(errors="replace").decode()


def _decode(event: bytes) -> Any:
    # Hundreds of streams send tens of thousands of events a second: `json` takes twice as long.
    try:
        return orjson.loads(event)
    except ValueError:
        # orjson rejects half of a surrogate pair, which some servers send.
        try:
            return json.loads(event.decode())
        except RecursionError:
            raise ValueError("nested too deeply") from None


def _count(value: object) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or not 0 <= value <= _MOST_TOKENS:
        raise TypeError
    return value
