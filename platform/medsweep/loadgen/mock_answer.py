"""What the mock server says, and at which moment: a pure function of its timing."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

PROMPT_TOKENS = 7
KEEP_ALIVE = b": keep-alive\n\n"
DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True)
class MockTiming:
    """How the mock server answers.

    Attributes:
        ttft_s: from the start of service to the first text, in seconds.
        gap_s: between tokens, in seconds.
        tokens: length of every answer.
        slots: requests served at a time, the others wait in order of arrival; None for no limit.
        role_only_first: begin with an event that carries a role and no text.
        keep_alive_comments: send a comment half-way before every chunk.
        tokens_per_chunk: a chunk leaves when its first token is due and holds this many.
        usage: count the tokens in a last event, if the request asks for it.
        continuous_usage: count them in every chunk too, if the request asks for it.
        fail: how every request fails: a status, a stream that is cut off half-way, an event that
            is not JSON, or a web page. None for no failure.
    """

    ttft_s: float = 0.05
    gap_s: float = 0.01
    tokens: int = 32
    slots: int | None = None
    role_only_first: bool = True
    keep_alive_comments: bool = False
    tokens_per_chunk: int = 1
    usage: bool = True
    continuous_usage: bool = True
    fail: Literal["http_500", "http_429", "cut", "garbage", "html"] | None = None

    @property
    def service_s(self) -> float:
        """From the start of service to the last chunk, in seconds."""
        chunks = -(-self.tokens // self.tokens_per_chunk)
        return self.ttft_s + max(0, chunks - 1) * self.tokens_per_chunk * self.gap_s


@functools.cache
def answer_events(
    timing: MockTiming, *, chat: bool, usage: bool, continuous_usage: bool
) -> tuple[tuple[float, bytes], ...]:
    """Return the bytes of one answer, each with its moment.

    Computed once, so that the server spends its time on being punctual.

    Args:
        timing: how the server answers.
        chat: chat chunks; else completion chunks.
        usage: the request asked for a count at the end.
        continuous_usage: the request asked for a count in every chunk.

    Returns:
        Pairs of seconds from the start of service, ascending, and what leaves then.
    """
    counts = timing.usage and usage
    return tuple(_events(timing, chat, counts, counts and continuous_usage))


def _events(
    timing: MockTiming, chat: bool, counts: bool, continuous_usage: bool
) -> Iterator[tuple[float, bytes]]:
    each = timing.continuous_usage and continuous_usage
    if timing.fail == "garbage":
        yield 0.0, b"data: {not json\n\n"
        return
    if timing.role_only_first and chat:
        yield 0.0, _event(_choice("", chat, role=True), 0 if each else None)
    before_s = 0.0
    for first in range(0, timing.tokens, timing.tokens_per_chunk):
        if timing.fail == "cut" and first >= timing.tokens / 2:
            return
        size = min(timing.tokens_per_chunk, timing.tokens - first)
        at_s = timing.ttft_s + first * timing.gap_s
        if timing.keep_alive_comments:
            yield (before_s + at_s) / 2, KEEP_ALIVE
        yield at_s, _event(_choice(" word" * size, chat), first + size if each else None)
        before_s = at_s
    end = _event(_choice("", chat, finish="stop"), timing.tokens if each else None)
    count = _event(None, timing.tokens) if counts else b""
    yield timing.service_s, end + count + DONE


def _choice(
    text: str, chat: bool, *, role: bool = False, finish: str | None = None
) -> dict[str, Any]:
    if not chat:
        return {"index": 0, "text": text, "finish_reason": finish}
    delta = {"role": "assistant", "content": ""} if role else {"content": text} if text else {}
    return {"index": 0, "delta": delta, "finish_reason": finish}


def _event(choice: dict[str, Any] | None, output_tokens: int | None) -> bytes:
    chunk: dict[str, Any] = {"id": "mock", "choices": [choice] if choice else []}
    if output_tokens is not None:
        chunk["usage"] = {
            "prompt_tokens": PROMPT_TOKENS,
            "completion_tokens": output_tokens,
            "total_tokens": PROMPT_TOKENS + output_tokens,
        }
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"
