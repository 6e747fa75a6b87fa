"""OpenAI's HTTP API: bodies of requests and responses."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)
from pydantic_core import PydanticCustomError

from medsweep.models.templates import Message
from medsweep.serving.protocol import Delta, Generation

DEFAULT_OUTPUT_TOKENS = 256

DONE = b"data: [DONE]\n\n"

MAX_FIELDS = 64
"""Most fields of one object. Without this limit, each of 100,000 unknown fields is a fault."""

MAX_MESSAGES = 2048
"""Most messages of a conversation and parts of their contents; no model's context holds more. They
are counted before the first one is validated, because other requests wait meanwhile."""

MAX_FAULTS = 10
MAX_NAME_LENGTH = 60
"""Most faults in one message, and most characters of a field's name; the client chooses both."""

MAX_MODEL_NAME = 256
"""Most characters of a name; the error about an unknown name repeats it."""

REFUSED_FIELDS = {
    "logprobs": "this server gives no log-probabilities; leave it out",
    "top_logprobs": "this server gives no log-probabilities; leave it out",
    "n": "a request gets one answer; send another request for more",
    "best_of": "a request gets one answer; send another request for more",
}
"""Messages for well-known fields that this server refuses, instead of the validator's."""


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise PydanticCustomError("half_character", "holds half of a surrogate pair") from None
    return text


Text = Annotated[str, AfterValidator(_encodable)]
"""JSON can hold half of a surrogate pair, which no tokenizer accepts."""


def _integer(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


# JSON and some clients do not distinguish 5 from 5.0; beyond 2^53 not all integers are exact.
Tokens = Annotated[int, Field(ge=1), BeforeValidator(_integer)]
Seed = Annotated[int, Field(ge=0, le=2**53 - 1), BeforeValidator(_integer)]


class _Request(BaseModel):
    """Fields of both routes. OpenAI's other fields are refused by name."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _not_too_many(cls, data: object) -> object:
        if isinstance(data, dict) and len(data) > MAX_FIELDS:
            raise PydanticCustomError("too_many_fields", f"more than {MAX_FIELDS} fields")
        return data


class StreamOptions(_Request):
    """What a stream contains besides text.

    Attributes:
        include_usage: send a last event with the token counts.
        continuous_usage_stats: send the counts so far with every event (vLLM's extension).
    """

    include_usage: bool = False
    continuous_usage_stats: bool = False


class TextPart(_Request):
    """One part of a message's content; only text is supported."""

    type: Literal["text"]
    text: Text


class ChatMessage(_Request):
    """One message of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | Annotated[list[TextPart], Field(min_length=1, fail_fast=True)]

    def message(self) -> Message:
        """Return the message for templates; parts are joined by line ends."""
        parts = [self.content] if isinstance(self.content, str) else [p.text for p in self.content]
        # `developer` is the newer name of the same role.
        role = "system" if self.role == "developer" else self.role
        return {"role": role, "content": "\n".join(parts)}


class _Sampling(_Request):
    model: Annotated[str, Field(max_length=MAX_MODEL_NAME), AfterValidator(_encodable)]
    max_tokens: Tokens | None = None
    temperature: float | None = Field(default=1.0, ge=0, le=2)
    top_p: float | None = Field(default=1.0, gt=0, le=1)
    n: Annotated[Literal[1] | None, BeforeValidator(_integer)] = 1
    stop: Text | Annotated[list[Text], Field(max_length=16, fail_fast=True)] | None = None
    seed: Seed | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    user: str | None = None
    # Many clients always send these; only what changes nothing is taken.
    frequency_penalty: float | None = Field(default=0, ge=0, le=0)
    presence_penalty: float | None = Field(default=0, ge=0, le=0)

    @property
    def output_limit(self) -> int | None:
        """Requested limit of output tokens."""
        return self.max_tokens

    def _generation(self, messages: tuple[Message, ...] | None, prompt: str | None) -> Generation:
        stop = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        return Generation(
            model=self.model,
            messages=messages,
            prompt=prompt,
            max_tokens=self.output_limit or DEFAULT_OUTPUT_TOKENS,
            temperature=1.0 if self.temperature is None else self.temperature,
            top_p=1.0 if self.top_p is None else self.top_p,
            stop=tuple(text for text in stop if text),
            seed=self.seed,
        )


def _not_too_long(messages: object) -> object:
    if isinstance(messages, list):
        few = messages[: MAX_MESSAGES + 1]
        contents = [each.get("content") for each in few if isinstance(each, dict)]
        parts = sum(len(content) for content in contents if isinstance(content, list))
        if len(few) + parts > MAX_MESSAGES:
            text = f"more than {MAX_MESSAGES} messages and parts of messages"
            raise PydanticCustomError("too_many_messages", text)
    return messages


class ChatRequest(_Sampling):
    """Body of `/v1/chat/completions`."""

    messages: Annotated[
        list[ChatMessage],
        Field(min_length=1, max_length=MAX_MESSAGES, fail_fast=True),
        BeforeValidator(_not_too_long),
    ]
    max_completion_tokens: Tokens | None = None
    logprobs: Literal[False] | None = False

    @property
    def output_limit(self) -> int | None:
        """Requested limit of output tokens; the newer name of the field takes precedence."""
        return self.max_completion_tokens or self.max_tokens

    def generation(self) -> Generation:
        """Return the request to the engine."""
        return self._generation(tuple(message.message() for message in self.messages), None)


class CompletionRequest(_Sampling):
    """Body of `/v1/completions`."""

    prompt: Text

    def generation(self) -> Generation:
        """Return the request to the engine."""
        return self._generation(None, self.prompt)


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
        choice |= (
            {"message": {"role": "assistant", "content": text}} if self._chat else {"text": text}
        )
        kind = "chat.completion" if self._chat else "text_completion"
        return {**self._head, "object": kind, "choices": [choice], "usage": _usage(last)}

    def _event(self, choice: dict[str, Any] | None, counted: Delta | None) -> bytes:
        kind = "chat.completion.chunk" if self._chat else "text_completion"
        event = {**self._head, "object": kind, "choices": [choice] if choice else []}
        return sse({**event, "usage": _usage(counted)} if counted else event)


def sse(body: object) -> bytes:
    """Return one event of a stream."""
    return b"data: %b\n\n" % json.dumps(body, separators=(",", ":")).encode()


def model_list(names: Sequence[str]) -> dict[str, Any]:
    """Return the answer of `/v1/models`."""
    entries = [
        {"id": name, "object": "model", "created": 0, "owned_by": "medsweep"} for name in names
    ]
    return {"object": "list", "data": entries}


def faults_in_words(faults: Iterable[Mapping[str, Any]]) -> str:
    """Return the first faults of a request by field, without values, which can be patient data.

    Args:
        faults: pydantic's errors; each location begins with `body`.
    """
    words: dict[str, None] = {}
    for fault in faults:
        field = ".".join(map(str, fault["loc"][1:]))
        if len(field) > MAX_NAME_LENGTH:
            field = f"{field[:MAX_NAME_LENGTH]}..."
        if fault["type"] == "json_invalid":
            field, text = "body", "not JSON"
        elif fault["type"] == "model_attributes_type" and not field:
            text = "not a JSON object, or sent without the header `content-type: application/json`"
        elif field in REFUSED_FIELDS:
            text = REFUSED_FIELDS[field]
        elif fault["type"] == "extra_forbidden":
            text = "this server does not know the field; leave it out"
        else:
            text = fault["msg"]
        words[f"{field or 'body'}: {text}"] = None
        if len(words) > MAX_FAULTS:
            return "; ".join([*list(words)[:MAX_FAULTS], "and more"])
    return "; ".join(words)


def _usage(delta: Delta) -> dict[str, int]:
    return {
        "prompt_tokens": delta.prompt_tokens,
        "completion_tokens": delta.output_tokens,
        "total_tokens": delta.prompt_tokens + delta.output_tokens,
    }
