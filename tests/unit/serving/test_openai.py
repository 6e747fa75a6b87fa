from typing import Any

import pytest
from pydantic import ValidationError

from medsweep.serving.openai import (
    DEFAULT_OUTPUT_TOKENS,
    MAX_OUTPUT_TOKENS,
    Answers,
    ChatRequest,
    CompletionRequest,
    error_body,
    model_list,
)
from medsweep.serving.protocol import Delta

CHAT = {"model": "m", "messages": [{"role": "user", "content": "Why?"}]}
DELTAS = [Delta("Be", 1, 7), Delta("cause", 2, 7, "stop")]


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
        ({"max_tokens": 5}, 5),
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
        {"tools": []},
        {"messages": []},
        {"messages": [{"role": "tool", "content": "x"}]},
        {"messages": [{"role": "user", "content": "x", "name": "y"}]},
        {"max_tokens": 0},
        {"max_tokens": MAX_OUTPUT_TOKENS + 1},
        {"temperature": 2.1},
        {"top_p": 0},
        {"seed": -1},
        {"seed": 2**63},
        {"stream_options": {"include_usage": True, "more": 1}},
    ],
)
def test_what_is_not_supported_is_refused_by_name(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refused:
        chat(**fields)
    assert refused.value.errors()[0]["loc"][0] == next(iter(fields))


def test_events_of_a_chat() -> None:
    answers = Answers(chat(stream=True))
    first, *events = [answers.first_event(), *(answers.event(delta) for delta in DELTAS)]
    assert first is not None
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert [event["choices"][0]["delta"] for event in events] == [
        {"content": "Be"},
        {"content": "cause"},
    ]
    assert [event["choices"][0]["finish_reason"] for event in events] == [None, "stop"]
    assert len({event["id"] for event in [first, *events]}) == 1
    assert {event["object"] for event in [first, *events]} == {"chat.completion.chunk"}
    assert not any("usage" in event for event in [first, *events])
    assert answers.last_event(DELTAS[-1]) is None


def test_usage_only_where_it_was_asked_for() -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    answers = Answers(chat(stream=True, stream_options=options))
    usage = [answers.event(delta)["usage"]["completion_tokens"] for delta in DELTAS]
    assert usage == [1, 2]
    last = answers.last_event(DELTAS[-1])
    assert last is not None
    assert last["choices"] == []
    assert last["usage"] == {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}


def test_a_whole_answer() -> None:
    whole = Answers(chat()).whole(DELTAS)
    assert whole["object"] == "chat.completion"
    assert whole["choices"] == [
        {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": "Because"},
        }
    ]
    assert whole["usage"]["total_tokens"] == 9
    plain = Answers(CompletionRequest(model="m", prompt="Why"))
    assert plain.first_event() is None
    assert plain.whole(DELTAS)["choices"][0]["text"] == "Because"
    assert plain.whole(DELTAS)["id"].startswith("cmpl-")


def test_errors_and_models() -> None:
    assert error_body("no", "server_error") == {
        "error": {"message": "no", "type": "server_error", "param": None, "code": None}
    }
    assert [entry["id"] for entry in model_list(["a", "b"])["data"]] == ["a", "b"]
