"""OpenAI's HTTP API: bodies of requests, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from medsweep.models.templates import Message
from medsweep.serving.protocol import Generation

DEFAULT_OUTPUT_TOKENS = 256

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

MAX_PROMPT_IDS = 1 << 17
MAX_LOGPROBS = 20
"""Most tokens of a prompt that is given as tokens, and most likeliest tokens beside each."""

REFUSED_FIELDS = {
    "logprobs": "this server gives no log-probabilities of chats; /v1/completions does",
    "top_logprobs": "this server gives no log-probabilities of chats; /v1/completions does",
    "n": "a request gets one answer; send another request for more",
    "best_of": "a request gets one answer; send another request for more",
}
"""Messages for well-known fields that this server refuses, instead of the validator's."""


# Fields of OpenAI's API that many clients always send, with the values that change nothing here.
_NO_OPS: Mapping[str, Sequence[object]] = {
    "audio": (),
    "best_of": (1,),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "logit_bias": ({},),
    "modalities": (["text"],),
    "name": (),
    "parallel_tool_calls": (True, False),
    "prediction": (),
    "reasoning_effort": (),
    "refusal": (),
    "response_format": ({"type": "text"},),
    "service_tier": ("auto", "default"),
    "store": (False,),
    "suffix": ("",),
    "tool_calls": ([],),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "top_logprobs": (),
    "verbosity": (),
    "web_search_options": (),
}
# Labels of the client's own; what they hold is not looked at.
_LABELS: Mapping[str, type] = {"metadata": dict, "prompt_cache_key": str, "safety_identifier": str}


def _changes_nothing(name: str, value: object) -> bool:
    """Whether a field can be left out: null, or a value that asks for nothing."""
    if name in _LABELS:
        return value is None or isinstance(value, _LABELS[name])
    return name in _NO_OPS and (
        value is None or any(type(value) is type(each) and value == each for each in _NO_OPS[name])
    )


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
    """Fields of both routes. OpenAI's other fields are refused by name unless they ask nothing."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _not_too_many(cls, data: object) -> object:
        if not isinstance(data, dict):
            return data
        if len(data) > MAX_FIELDS:
            raise PydanticCustomError("too_many_fields", f"more than {MAX_FIELDS} fields")
        return {name: value for name, value in data.items() if not _changes_nothing(name, value)}


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
            max_tokens=DEFAULT_OUTPUT_TOKENS if self.output_limit is None else self.output_limit,
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


def _no_number(value: object) -> object:
    """Refuse 0, which a validator takes for False."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise PydanticCustomError("number", "not true or false")
    return value


class ChatRequest(_Sampling):
    """Body of `/v1/chat/completions`."""

    messages: Annotated[
        list[ChatMessage],
        Field(min_length=1, max_length=MAX_MESSAGES, fail_fast=True),
        BeforeValidator(_not_too_long),
    ]
    max_completion_tokens: Tokens | None = None
    logprobs: Annotated[Literal[False] | None, BeforeValidator(_no_number)] = False

    @property
    def output_limit(self) -> int | None:
        """Requested limit of output tokens; the newer name of the field takes precedence."""
        return self.max_completion_tokens or self.max_tokens

    def generation(self) -> Generation:
        """Return the request to the engine."""
        return self._generation(tuple(message.message() for message in self.messages), None)


def _one_prompt(prompt: object) -> object:
    """Return a text or a tuple of tokens; clients send either, or a list of one of them."""
    if isinstance(prompt, list) and prompt and isinstance(prompt[0], str | list):
        if len(prompt) > 1:
            raise PydanticCustomError("several_prompts", "give one prompt in a request")
        prompt = prompt[0]
    if not isinstance(prompt, list):
        return prompt
    if not 1 <= len(prompt) <= MAX_PROMPT_IDS:
        raise PydanticCustomError("tokens", f"not a list of 1 to {MAX_PROMPT_IDS} tokens")
    prompt = [_integer(token) for token in prompt]
    if not all(type(token) is int and 0 <= token < 1 << 31 for token in prompt):
        raise PydanticCustomError("tokens", "not a text, nor a list of token numbers")
    return tuple(prompt)


_PROMPT_IDS = {
    "type": "array",
    "items": {"type": "integer", "minimum": 0, "exclusiveMaximum": 1 << 31},
    "minItems": 1,
    "maxItems": MAX_PROMPT_IDS,
}
_PROMPTS = ({"type": "string"}, _PROMPT_IDS)
_PROMPT_SCHEMA = {
    "anyOf": [
        *_PROMPTS,
        {"type": "array", "items": {"anyOf": _PROMPTS}, "minItems": 1, "maxItems": 1},
    ]
}


class CompletionRequest(_Sampling):
    """Body of `/v1/completions`.

    Attributes:
        logprobs: how many likeliest tokens to give beside the log-probability of each token.
        echo: put the prompt before the answer; then `max_tokens` may be 0, which scores the prompt.
    """

    prompt: Annotated[
        Text | tuple[int, ...], BeforeValidator(_one_prompt), WithJsonSchema(_PROMPT_SCHEMA)
    ]
    # The document says 1: JSON Schema's way to say "0 with `echo` alone" is not widely understood.
    max_tokens: (
        Annotated[int, Field(ge=0, json_schema_extra={"minimum": 1}), BeforeValidator(_integer)]
        | None
    ) = None
    logprobs: Annotated[int, Field(ge=0, le=MAX_LOGPROBS), BeforeValidator(_integer)] | None = None
    echo: bool | None = False

    @model_validator(mode="after")
    def _fit(self) -> CompletionRequest:
        if self.max_tokens == 0 and not self.echo:
            raise PydanticCustomError("nothing", "max_tokens: 0 gives nothing without `echo`")
        if self.stream and (self.echo or self.logprobs is not None):
            raise PydanticCustomError("streamed", "stream: `logprobs` and `echo` are not streamed")
        return self

    def generation(self) -> Generation:
        """Return the request to the engine."""
        text = self.prompt if isinstance(self.prompt, str) else None
        return replace(
            self._generation(None, text),
            prompt_ids=None if isinstance(self.prompt, str) else self.prompt,
            logprobs=self.logprobs,
            echo=bool(self.echo),
        )


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
        elif field in REFUSED_FIELDS and fault["type"] in ("literal_error", "extra_forbidden"):
            text = REFUSED_FIELDS[field]
        elif fault["type"] == "extra_forbidden":
            text = "this server does not know the field; leave it out"
        else:
            text = fault["msg"]
        words[f"{field or 'body'}: {text}"] = None
        if len(words) > MAX_FAULTS:
            return "; ".join([*list(words)[:MAX_FAULTS], "and more"])
    return "; ".join(words)


def first_param(faults: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the field of the first fault, as OpenAI's `param`; None if it is the whole body."""
    fault = faults[0]
    field = ".".join(map(str, fault["loc"][1:]))[:MAX_NAME_LENGTH]
    if fault["type"] in ("nothing", "streamed"):
        return str(fault["msg"]).partition(":")[0]
    return None if fault["type"] == "json_invalid" else field or None
