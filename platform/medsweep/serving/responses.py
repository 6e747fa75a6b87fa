"""OpenAI's HTTP API: bodies of responses."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import Any

import orjson

from medsweep.serving.openai import ChatRequest, CompletionRequest, StreamOptions
from medsweep.serving.protocol import Delta, TokenScores

DONE = b"data: [DONE]\n\n"


class ResponseWriter:
    """Writes the objects that answer one request.

    Args:
        request: body of the request.
    """

    def __init__(self, request: ChatRequest | CompletionRequest) -> None:
        self._chat = isinstance(request, ChatRequest)
        options = request.stream_options or StreamOptions()
        self._final_usage = options.include_usage
        self._running_usage = options.continuous_usage_stats
        self._head = {
            "id": f"{'chatcmpl' if self._chat else 'cmpl'}-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": request.model,
        }

    def first_event(self) -> bytes:
        """Return the event with only the role; empty for plain completions."""
        if not self._chat:
            return b""
        return self._event({"index": 0, "delta": {"role": "assistant", "content": ""}}, None)

    def event(self, delta: Delta) -> bytes:
        """Return the event for one piece of the answer."""
        choice: dict[str, Any] = {"index": 0, "finish_reason": delta.finish_reason}
        choice |= {"delta": {"content": delta.text}} if self._chat else {"text": delta.text}
        return self._event(choice, delta if self._running_usage else None)

    def last_events(self, last: Delta) -> bytes:
        """Return the end of a stream: the token counts, if requested, and the end mark."""
        return (self._event(None, last) if self._final_usage else b"") + DONE

    def complete(self, deltas: Sequence[Delta]) -> dict[str, Any]:
        """Return the answer to a request that did not ask for a stream."""
        text, last = "".join(delta.text for delta in deltas), deltas[-1]
        choice: dict[str, Any] = {"index": 0, "finish_reason": last.finish_reason}
        if self._chat:
            choice["message"] = {"role": "assistant", "content": text}
        else:
            choice |= {"text": last.prompt_text + text, "logprobs": _logprobs(last.scores)}
        kind = "chat.completion" if self._chat else "text_completion"
        return {**self._head, "object": kind, "choices": [choice], "usage": _usage(last)}

    def _event(self, choice: dict[str, Any] | None, counted: Delta | None) -> bytes:
        kind = "chat.completion.chunk" if self._chat else "text_completion"
        event = {**self._head, "object": kind, "choices": [choice] if choice else []}
        return sse({**event, "usage": _usage(counted)} if counted else event)


def sse(body: object) -> bytes:
    """Return one event of a stream."""
    return b"data: %b\n\n" % orjson.dumps(body)


def model_list(names: Sequence[str]) -> dict[str, Any]:
    """Return the answer of `/v1/models`."""
    entries = [
        {"id": name, "object": "model", "created": 0, "owned_by": "medsweep"} for name in names
    ]
    return {"object": "list", "data": entries}


def _logprobs(scores: TokenScores | None) -> dict[str, Any] | None:
    if scores is None:
        return None
    return {
        "tokens": scores.tokens,
        "token_logprobs": scores.log_probs,
        "top_logprobs": scores.tops,
        "text_offset": scores.offsets,
    }


def _usage(delta: Delta) -> dict[str, int]:
    return {
        "prompt_tokens": delta.prompt_tokens,
        "completion_tokens": delta.output_tokens,
        "total_tokens": delta.prompt_tokens + delta.output_tokens,
    }
