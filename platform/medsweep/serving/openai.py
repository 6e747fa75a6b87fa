"""OpenAI's HTTP API: the requests that are taken and the shapes that are answered."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from medsweep.models.templates import Message
from medsweep.serving.protocol import Delta, Generation

MAX_OUTPUT_TOKENS = 4096
DEFAULT_OUTPUT_TOKENS = 256


class _Request(BaseModel):
    """What both routes share. Fields of OpenAI's that are not here are refused by name."""

    model_config = ConfigDict(extra="forbid")


class StreamOptions(_Request):
    """What a stream says besides text.

    Attributes:
        include_usage: send a last event with the token counts.
        continuous_usage_stats: send the counts so far with every event (vLLM's extension).
    """

    include_usage: bool = False
    continuous_usage_stats: bool = False


class ChatMessage(_Request):
    """One message of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


class _Sampling(_Request):
    model: str
    max_tokens: int | None = Field(default=None, ge=1, le=MAX_OUTPUT_TOKENS)
    temperature: float = Field(default=1.0, ge=0, le=2)
    top_p: float = Field(default=1.0, gt=0, le=1)
    n: Literal[1] = 1
    stop: str | list[str] | None = None
    seed: int | None = Field(default=None, ge=0, lt=2**63)
    stream: bool = False
    stream_options: StreamOptions | None = None
    user: str | None = None

    @property
    def output_limit(self) -> int:
        """Longest answer, in tokens."""
        return self.max_tokens or DEFAULT_OUTPUT_TOKENS

    def _generation(self, messages: tuple[Message, ...] | None, prompt: str | None) -> Generation:
        stop = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        return Generation(
            model=self.model,
            messages=messages,
            prompt=prompt,
            max_tokens=self.output_limit,
            temperature=self.temperature,
            top_p=self.top_p,
            stop=tuple(text for text in stop if text),
            seed=self.seed,
        )


class ChatRequest(_Sampling):
    """Body of `/v1/chat/completions`."""

    messages: list[ChatMessage] = Field(min_length=1)
    max_completion_tokens: int | None = Field(default=None, ge=1, le=MAX_OUTPUT_TOKENS)

    @property
    def output_limit(self) -> int:
        """Longest answer, in tokens; the newer name of the field wins."""
        return self.max_completion_tokens or super().output_limit

    def generation(self) -> Generation:
        """Return the request as engines take it."""
        messages: list[Message] = [
            {"role": message.role, "content": message.content} for message in self.messages
        ]
        return self._generation(tuple(messages), None)


class CompletionRequest(_Sampling):
    """Body of `/v1/completions`."""

    prompt: str

    def generation(self) -> Generation:
        """Return the request as engines take it."""
        return self._generation(None, self.prompt)


class Answers:
    """Writes the objects that answer one request.

    Args:
        request: what was asked.
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

    def first_event(self) -> dict[str, Any] | None:
        """Return the event that carries only the role; None for plain completions."""
        if not self._chat:
            return None
        return self._event({"index": 0, "delta": {"role": "assistant", "content": ""}}, None)

    def event(self, delta: Delta) -> dict[str, Any]:
        """Return the event for one piece of the answer."""
        choice: dict[str, Any] = {"index": 0, "finish_reason": delta.finish_reason}
        choice |= {"delta": {"content": delta.text}} if self._chat else {"text": delta.text}
        return self._event(choice, delta if self._running_usage else None)

    def last_event(self, last: Delta) -> dict[str, Any] | None:
        """Return the event with the token counts, or None where it was not asked for."""
        return self._event(None, last) if self._final_usage else None

    def whole(self, deltas: Sequence[Delta]) -> dict[str, Any]:
        """Return the answer to a request that did not ask for a stream."""
        text, last = "".join(delta.text for delta in deltas), deltas[-1]
        choice: dict[str, Any] = {"index": 0, "finish_reason": last.finish_reason}
        choice |= (
            {"message": {"role": "assistant", "content": text}} if self._chat else {"text": text}
        )
        kind = "chat.completion" if self._chat else "text_completion"
        return {**self._head, "object": kind, "choices": [choice], "usage": _usage(last)}

    def _event(self, choice: dict[str, Any] | None, counted: Delta | None) -> dict[str, Any]:
        kind = "chat.completion.chunk" if self._chat else "text_completion"
        event = {**self._head, "object": kind, "choices": [choice] if choice else []}
        return {**event, "usage": _usage(counted)} if counted else event


def error_body(message: str, kind: str, code: str | None = None) -> dict[str, Any]:
    """Return an error in OpenAI's shape."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def model_list(names: Sequence[str]) -> dict[str, Any]:
    """Return the answer of `/v1/models`."""
    entries = [
        {"id": name, "object": "model", "created": 0, "owned_by": "medsweep"} for name in names
    ]
    return {"object": "list", "data": entries}


def _usage(delta: Delta) -> dict[str, int]:
    return {
        "prompt_tokens": delta.prompt_tokens,
        "completion_tokens": delta.output_tokens,
        "total_tokens": delta.prompt_tokens + delta.output_tokens,
    }
