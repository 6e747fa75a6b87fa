import sys
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from medsweep.serving.openai import (
    DEFAULT_OUTPUT_TOKENS,
    MAX_MESSAGES,
    ChatRequest,
    CompletionRequest,
    faults_in_words,
    first_param,
)
from medsweep.serving.protocol import Generation

CHAT = {"model": "m", "messages": [{"role": "user", "content": "Why?"}]}


def chat(**fields: Any) -> ChatRequest:
    return ChatRequest(**(CHAT | fields))


def test_a_request_becomes_a_generation() -> None:
    generation = chat(max_tokens=9, temperature=0.5, top_p=0.9, stop="\n", seed=3).generation()
    assert generation.messages == ({"role": "user", "content": "Why?"},)
    assert generation.prompt is None
    assert (generation.max_tokens, generation.temperature, generation.top_p) == (9, 0.5, 0.9)
    assert (generation.stop, generation.seed, generation.model) == (("\n",), 3, "m")
    plain = CompletionRequest(model="m", prompt="Why", stop=["a", "", "b"]).generation()
    assert (plain.messages, plain.prompt, plain.stop) == (None, "Why", ("a", "b"))
    # OpenAI's defaults.
    assert (plain.temperature, plain.top_p, plain.seed) == (1.0, 1.0, None)


@pytest.mark.parametrize(
    ("fields", "limit"),
    [
        ({}, DEFAULT_OUTPUT_TOKENS),
        ({"max_tokens": None}, DEFAULT_OUTPUT_TOKENS),
        ({"max_tokens": 5}, 5),
        ({"max_tokens": 5.0}, 5),
        ({"max_completion_tokens": 6}, 6),
        ({"max_tokens": 5, "max_completion_tokens": 6}, 6),
    ],
)
def test_the_longest_answer(fields: dict[str, int], limit: int) -> None:
    assert chat(**fields).generation().max_tokens == limit


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 2},
        {"logprobs": True},
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"tool_choice": "required"},
        {"response_format": {"type": "json_object"}},
        {"logit_bias": {"50256": -100}},
        {"top_logprobs": 2},
        {"store": True},
        {"metadata": "x"},
        {"parallel_tool_calls": 1},
        {"best_of": 2},
        {"unknown": None},
        {"messages": []},
        {"messages": [{"role": "tool", "content": "x"}]},
        {"messages": [{"role": "user", "content": "x", "name": "y"}]},
        {"max_tokens": 0},
        {"max_tokens": "5"},
        {"max_tokens": 5.5},
        {"max_tokens": True},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "text": "x"}]}]},
        {"messages": [{"role": "user", "content": []}]},
        {"messages": [{"role": "user", "content": "\ud800"}]},
        {"presence_penalty": 0.5},
        {"stop": ["a"] * 17},
        {"temperature": float("nan")},
        {"temperature": 2.1},
        {"top_p": 0},
        {"seed": -1},
        {"seed": 2**53},
        {"stream_options": {"include_usage": True, "more": 1}},
    ],
)
def test_what_is_not_supported_is_refused_by_name(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refused:
        chat(**fields)
    assert refused.value.errors()[0]["loc"][0] == next(iter(fields))


def test_what_changes_nothing_is_taken() -> None:
    neutral = {
        "n": 1,
        "logprobs": False,
        "frequency_penalty": 0.0,
        "presence_penalty": 0,
        "user": "u",
    }
    unset = dict.fromkeys(("stream", "temperature", "top_p", "stop", "seed", "n", "logprobs"))
    plain = chat().generation()
    assert chat(**neutral).generation() == plain
    assert chat(**unset).generation() == plain


def test_content_in_parts_and_the_newer_name_of_the_system_role() -> None:
    parts = [{"type": "text", "text": "Why"}, {"type": "text", "text": "not?"}]
    messages = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": parts}]
    assert chat(messages=messages).generation().messages == (
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Why\nnot?"},
    )


def python_calls(function: Callable[[], object]) -> int:
    """Return how many functions written in Python it calls."""
    calls = 0

    def count(_: object, event: str, __: object) -> None:
        nonlocal calls
        calls += event == "call"

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        function()
    finally:
        sys.setprofile(before)
    return calls


@pytest.mark.parametrize("many", ["messages", "parts"])
def test_too_many_messages_are_refused_before_they_are_validated(many: str) -> None:
    """The attack: 25,000 messages in one body, while all other clients wait."""

    def work(number: int) -> int:
        parts = [{"type": "text", "text": "a"}] * number
        message = {"role": "user", "content": parts if many == "parts" else "a"}
        messages = [message] if many == "parts" else [message] * number

        def refused() -> None:
            with pytest.raises(ValidationError, match="more than 2048 messages and parts"):
                chat(messages=messages)

        return python_calls(refused)

    # Validating one message calls two of them.
    assert work(50_000) < 1000
    assert work(MAX_MESSAGES + 1) < 1000
    longest = [{"role": "user", "content": "a"}] * (MAX_MESSAGES - 2)
    assert len(chat(messages=longest).messages) == MAX_MESSAGES - 2
    pair = {"role": "user", "content": [{"type": "text", "text": "a"}]}
    assert len(chat(messages=[*longest, pair]).messages) == MAX_MESSAGES - 1


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": None},
        {"tools": [], "tool_choice": "auto", "parallel_tool_calls": None},
        {"parallel_tool_calls": False},
        {"response_format": {"type": "text"}},
        {"response_format": None},
        {"logit_bias": None},
        {"logit_bias": {}},
        {"metadata": None},
        {"metadata": {"team": "ward 3"}},
        {"logprobs": None, "top_logprobs": None},
        {"functions": [], "function_call": None},
        {"store": False, "service_tier": "auto"},
        {"modalities": ["text"], "audio": None, "prediction": None},
        {"reasoning_effort": None, "verbosity": None, "web_search_options": None},
        {"prompt_cache_key": "k", "safety_identifier": "s"},
        {"messages": [{"role": "user", "content": "Why?", "name": None}]},
        {"messages": [{"role": "user", "content": "Why?", "tool_calls": [], "refusal": None}]},
    ],
)
def test_fields_that_ask_for_nothing_are_left_out(fields: dict[str, Any]) -> None:
    """Clients send all their fields, most of them null."""
    assert chat(**fields).generation() == chat().generation()


@pytest.mark.parametrize(
    "nulls", [{"suffix": None}, {"suffix": ""}, {"best_of": 1}, {"echo": None}]
)
def test_completions_leave_out_theirs(nulls: dict[str, Any]) -> None:
    plain = CompletionRequest(model="m", prompt="Why").generation()
    assert CompletionRequest(model="m", prompt="Why", **nulls).generation() == plain


@pytest.mark.parametrize(
    ("prompt", "text", "ids"),
    [
        ("Why", "Why", None),
        (["Why"], "Why", None),
        ([1, 2], None, (1, 2)),
        ([[1, 2]], None, (1, 2)),
    ],
)
def test_a_prompt_of_text_or_tokens(prompt: Any, text: str | None, ids: Any) -> None:
    made = CompletionRequest(model="m", prompt=prompt, max_tokens=0, echo=True, logprobs=1)
    assert made.generation() == Generation(
        "m", None, text, 0, 1.0, 1.0, prompt_ids=ids, logprobs=1, echo=True
    )


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"prompt": ["a", "b"]}, "prompt", "one prompt"),
        ({"prompt": [[1], [2]]}, "prompt", "one prompt"),
        ({"prompt": []}, "prompt", "list of 1 to"),
        ({"prompt": [[]]}, "prompt", "list of 1 to"),
        ({"prompt": [1, -1]}, "prompt", "token numbers"),
        ({"prompt": [1, "a"]}, "prompt", "token numbers"),
        ({"prompt": [True]}, "prompt", "token numbers"),
        ({"prompt": 3}, "prompt", "valid"),
        ({"max_tokens": 0}, "max_tokens", "nothing without `echo`"),
        ({"max_tokens": -1, "echo": True}, "max_tokens", "greater"),
        ({"logprobs": 21}, "logprobs", "less than or equal to 20"),
        ({"logprobs": True}, "logprobs", "valid integer"),
        ({"logprobs": 1, "stream": True}, "stream", "not streamed"),
        ({"echo": True, "stream": True}, "stream", "not streamed"),
        ({"suffix": "x"}, "suffix", "does not know"),
        ({"model": None}, "model", "valid string"),
    ],
)
def test_faults_of_completions_name_their_param(
    fields: dict[str, Any], param: str, words: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        CompletionRequest(**{"model": "m", "prompt": "Why", **fields})
    faults = [{**each, "loc": ("body", *each["loc"])} for each in refused.value.errors()]
    assert (first_param(faults) or "").partition(".")[0] == param
    assert words in faults_in_words(faults)


def test_faults_name_the_field_and_never_the_value() -> None:
    with pytest.raises(ValidationError) as refused:
        chat(logprobs=True, n=4, tools=["private"], max_tokens="private", seed=-1)
    faults = [{**fault, "loc": ("body", *fault["loc"])} for fault in refused.value.errors()]
    words = faults_in_words(faults)
    assert "logprobs: this server gives no log-probabilities" in words
    assert "n: a request gets one answer" in words
    assert "tools: this server does not know the field" in words
    assert "max_tokens: Input should be a valid integer" in words
    assert "seed: Input should be greater than or equal to 0" in words
    assert "private" not in words
    assert faults_in_words([{"loc": ("body", 3), "type": "json_invalid", "msg": "private"}]) == (
        "body: not JSON"
    )


def test_numbers_are_numbers_and_truths_are_truths() -> None:
    """As JSON Schema says: 7.0 is an integer, and 0 is not false."""
    assert CompletionRequest(model="m", prompt=[[7.0]]).prompt == (7,)
    with pytest.raises(ValidationError, match="not true or false"):
        chat(logprobs=0)
