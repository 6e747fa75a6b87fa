"""One answer of the mock server as it goes over the wire: what is written when, and how it ends."""

from __future__ import annotations

import functools
import json
import random
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal

from medsweep.loadgen.mock.answer import Fail, MockTiming, answer_events

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
        return Script(((0.0, _whole(int(fail.removeprefix("http_")), b"{}", "application/json")),))
    if fail == "model_refused":
        return Script(((0.0, _whole(404, _NOT_FOUND, "application/json")),))
    if fail == "html":
        return Script(((0.0, _whole(200, b"<html></html>", "text/html")),))
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


def whole_answer(content: bytes) -> bytes:
    """Return an answer of status 200 that holds JSON."""
    return _whole(200, content, "application/json")


BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"


def _whole(status: int, content: bytes, kind: str) -> bytes:
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
