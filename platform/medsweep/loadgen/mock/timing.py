"""What the mock server answers, and when: a pure function of its timing and of the request."""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal, get_args

from medsweep.errors import InputError, UnknownName

PROMPT_TOKENS = 7
KEEP_ALIVE = b": keep-alive\n\n"
DONE = b"data: [DONE]\n\n"
STAMP = b"0000000000.0000000"
"""Stands where the server writes the moment of sending; as long as that, since chunks say how long
they are."""

Fail = Literal[
    "http_500",
    "http_429",
    "model_refused",
    "html",
    "garbage",
    "not_http",
    "error_event",
    "cut",
    "drop",
    "endless",
    "hang",
]


@dataclass(frozen=True)
class MockTiming:
    """How the mock server answers.

    Attributes:
        ttft_s: from the start of service to the first text, in seconds.
        gap_s: between tokens, in seconds.
        tokens: length of every answer that the request's `max_tokens` does not cut short.
        slots: requests served at a time, the others wait in order of arrival; None for no limit.
        jitter_s: mean of the exponential delay that is added to the first text and to every gap.
        busy_s: processor time burned before every chunk, in seconds; holds up all other answers,
            as a slow CPU does.
        role_only_first: begin with an event that carries a role and no text.
        keep_alive_comments: send a comment half-way before every chunk.
        tokens_per_chunk: a chunk leaves when its first token is due and holds this many.
        usage: count the tokens in a last event, if the request asks for it.
        continuous_usage: count them in every chunk too, if the request asks for it.
        stamps: the text of every chunk is the moment at which it left, in seconds on the server's
            clock, which on one machine is the client's too.
        fail: how requests fail: a status; a model that is not served; a web page; an event that is
            not JSON; an answer that is not HTTP; an error object after the first text; a stream
            that is cut off half-way; a connection dropped without an answer; a stream that never
            ends; a server that never says anything. None for no failure.
        fail_share: share of the requests that fail so, evenly spread over them.

    Raises:
        InputError: a number out of range, or a failure that is not known.
    """

    ttft_s: float = 0.05
    gap_s: float = 0.01
    tokens: int = 32
    slots: int | None = None
    jitter_s: float = 0.0
    busy_s: float = 0.0
    role_only_first: bool = True
    keep_alive_comments: bool = False
    tokens_per_chunk: int = 1
    usage: bool = True
    continuous_usage: bool = True
    stamps: bool = False
    fail: Fail | None = None
    fail_share: float = 1.0

    def __post_init__(self) -> None:
        if self.fail is not None and self.fail not in get_args(Fail):
            raise UnknownName("way to fail", self.fail, get_args(Fail))
        if min(self.ttft_s, self.gap_s, self.jitter_s, self.busy_s, self.tokens) < 0:
            raise InputError("the mock server's times and tokens must not be negative")
        if self.tokens_per_chunk < 1 or (self.slots is not None and self.slots < 1):
            raise InputError("the mock server's tokens per chunk and slots must be at least 1")

    @property
    def service_s(self) -> float:
        """From the start of service to the last chunk, in seconds, without jitter."""
        chunks = -(-self.tokens // self.tokens_per_chunk)
        return self.ttft_s + max(0, chunks - 1) * self.tokens_per_chunk * self.gap_s

    def fails(self, index: int) -> bool:
        """Whether the request of this number, from 0, is one of those that fail."""
        if self.fail is None:
            return False
        return int((index + 1) * self.fail_share) > int(index * self.fail_share)


def stamp(at_s: float) -> bytes:
    """Return a moment in seconds as it is written into a chunk."""
    return b"%018.7f" % at_s


@functools.lru_cache(maxsize=256)
def answer_events(
    timing: MockTiming, *, chat: bool, usage: bool, continuous_usage: bool, max_tokens: int
) -> tuple[tuple[float, bytes], ...]:
    """Return the bytes of one answer, each with its moment.

    Computed once, so that the server spends its time on being punctual.

    Args:
        timing: how the server answers.
        chat: chat chunks; else completion chunks.
        usage: the request asked for a count at the end.
        continuous_usage: the request asked for a count in every chunk.
        max_tokens: what the request allows.

    Returns:
        Pairs of seconds from the start of service, ascending, and what leaves then.
    """
    counts = timing.usage and usage
    return tuple(_events(timing, chat, counts, counts and continuous_usage, max_tokens))


def spoken(text: str, body: dict[str, Any]) -> Script:
    """Return an answer with a given text, which leaves at once.

    Args:
        text: the answer; each word is a token.
        body: of the request.
    """
    tokens = len(text.split())
    counted = (body.get("stream_options") or {}).get("include_usage")
    events = _event(_choice(text, True), None, True)
    events += _event(_choice("", True, finish="stop"), None, True)
    events += (_event(None, tokens, True) if counted else b"") + DONE
    return Script(((0.0, _STREAM + _chunk(events) + _LAST_CHUNK),))


def _events(
    timing: MockTiming, chat: bool, counts: bool, continuous_usage: bool, max_tokens: int
) -> Iterator[tuple[float, bytes]]:
    each = timing.continuous_usage and continuous_usage
    tokens = min(timing.tokens, max_tokens)
    if timing.role_only_first and chat:
        yield 0.0, _event(_choice("", chat, role=True), 0 if each else None, chat)
    before_s = 0.0
    for first in range(0, tokens, timing.tokens_per_chunk):
        size = min(timing.tokens_per_chunk, tokens - first)
        at_s = timing.ttft_s + first * timing.gap_s
        if timing.keep_alive_comments:
            yield (before_s + at_s) / 2, KEEP_ALIVE
        text = f" {STAMP.decode()}" if timing.stamps else " word" * size
        yield at_s, _event(_choice(text, chat), first + size if each else None, chat)
        before_s = at_s
    reason = "length" if max_tokens < timing.tokens else "stop"
    end = _event(_choice("", chat, finish=reason), tokens if each else None, chat)
    count = _event(None, tokens, chat) if counts else b""
    yield before_s if tokens else timing.ttft_s, end + count + DONE


def _choice(
    text: str, chat: bool, *, role: bool = False, finish: str | None = None
) -> dict[str, Any]:
    if not chat:
        return {"index": 0, "text": text, "finish_reason": finish}
    delta = {"role": "assistant", "content": ""} if role else {"content": text} if text else {}
    return {"index": 0, "delta": delta, "finish_reason": finish}


def _event(choice: dict[str, Any] | None, output_tokens: int | None, chat: bool) -> bytes:
    # Some clients take nothing without the word for what it is.
    kind = "chat.completion.chunk" if chat else "text_completion"
    chunk: dict[str, Any] = {"id": "mock", "object": kind, "choices": [choice] if choice else []}
    if output_tokens is not None:
        chunk["usage"] = {
            "prompt_tokens": PROMPT_TOKENS,
            "completion_tokens": output_tokens,
            "total_tokens": PROMPT_TOKENS + output_tokens,
        }
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


_STREAM = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)
_LAST_CHUNK = b"0\r\n\r\n"
_UNLIMITED = 1 << 30


@dataclass(frozen=True)
class Script:
    """What is written, and when.

    Attributes:
        steps: pairs of seconds from the start of service, ascending, and bytes.
        ending: what comes after the last step: the connection stays for the next request, breaks,
            says nothing more, or the last step is repeated for ever.
        every_s: between repetitions of the last step, in seconds.
    """

    steps: tuple[tuple[float, bytes], ...]
    ending: Literal["keep", "break", "silence", "repeat"] = "keep"
    every_s: float = 0.0


def script_of(timing: MockTiming, body: dict[str, Any], index: int) -> Script:
    """Return how one request is answered.

    Args:
        timing: how the server answers.
        body: of the request.
        index: its number, from 0; decides whether it fails, and seeds its jitter.
    """
    options = body.get("stream_options") or {}
    script = _script(
        timing,
        timing.fail if timing.fails(index) else None,
        "messages" in body,
        bool(options.get("include_usage")),
        bool(options.get("continuous_usage_stats")),
        body.get("max_tokens") or _UNLIMITED,
    )
    return _jittered(script, timing.jitter_s, index) if timing.jitter_s else script


@functools.lru_cache(maxsize=256)
def _script(
    timing: MockTiming,
    fail: Fail | None,
    chat: bool,
    usage: bool,
    continuous_usage: bool,
    max_tokens: int,
) -> Script:
    if fail in ("http_500", "http_429"):
        return Script(((0.0, http_answer(int(fail.removeprefix("http_")), b"{}")),))
    if fail == "model_refused":
        return Script(((0.0, http_answer(404, _NOT_FOUND)),))
    if fail == "html":
        return Script(((0.0, http_answer(200, b"<html></html>", "text/html")),))
    if fail == "not_http":
        return Script(((0.0, b"SSH-2.0-mock\r\n"),), "break")
    if fail == "drop":
        return Script((), "break")
    if fail == "hang":
        return Script((), "silence")
    events = answer_events(
        timing,
        chat=chat,
        usage=usage,
        continuous_usage=continuous_usage,
        max_tokens=max_tokens,
    )
    # The header leaves at once, together with an event that is due then.
    steps = [(at_s, _chunk(data)) for at_s, data in events]
    if steps[0][0] == 0:
        steps[0] = (0.0, _STREAM + steps[0][1])
    else:
        steps.insert(0, (0.0, _STREAM))
    if fail == "garbage":
        return Script(((0.0, _STREAM + _chunk(b"data: {not json\n\n") + _LAST_CHUNK),))
    if fail == "error_event":
        return Script((*steps[:2], (timing.ttft_s, _chunk(_ERROR) + _LAST_CHUNK)))
    if fail == "cut":
        return Script(tuple(steps[: len(steps) // 2]), "break")
    if fail == "endless":
        return Script(tuple(steps[:-1]), "repeat", max(timing.gap_s, 0.001))
    at_s, last = steps[-1]
    return Script((*steps[:-1], (at_s, last + _LAST_CHUNK)))


# As vLLM words them.
_NOT_FOUND = json.dumps(
    {
        "error": {
            "message": "The model does not exist.",
            "type": "NotFoundError",
            "param": "model",
            "code": 404,
        }
    }
).encode()
_ERROR = b'data: {"error": {"message": "engine died", "type": "internal_error"}}\n\n'


BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"


def http_answer(status: int, content: bytes, kind: str = "application/json") -> bytes:
    """Return an answer that is no stream, as it goes over the wire."""
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
        f"Content-Type: {kind}\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _jittered(script: Script, jitter_s: float, seed: int) -> Script:
    """Add an exponential delay before every step but the first, which is the header."""
    rng = random.Random(seed)  # noqa: S311 delays, not secrets
    late_s, steps = 0.0, list(script.steps[:1])
    for at_s, data in script.steps[1:]:
        late_s += rng.expovariate(1 / jitter_s)
        steps.append((at_s + late_s, data))
    return Script(tuple(steps), script.ending, script.every_s)
