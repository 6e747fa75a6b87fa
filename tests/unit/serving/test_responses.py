import json
from typing import Any

from medsweep.serving.openai import ChatRequest, CompletionRequest
from medsweep.serving.protocol import Delta, TokenScores
from medsweep.serving.responses import ResponseWriter, model_list

DELTAS = [Delta("Be", 1, 7), Delta("cause", 2, 7, "stop")]


def chat(**fields: Any) -> ChatRequest:
    return ChatRequest(model="m", messages=[{"role": "user", "content": "Why?"}], **fields)


def parsed(events: bytes) -> list[Any]:
    texts = [text.removeprefix("data: ") for text in events.decode().split("\n\n") if text]
    return [text if text == "[DONE]" else json.loads(text) for text in texts]


def test_log_probabilities_are_written_as_openai_writes_them() -> None:
    scores = TokenScores(("a", "b"), (None, -0.5), (None, {"b": -0.5, "c": -1.0}), (0, 1))
    writer = ResponseWriter(CompletionRequest(model="m", prompt="a", echo=True, logprobs=2))
    last = Delta("b", 1, 1, "length", scores=scores, prompt_text="a")
    [choice] = writer.complete([last])["choices"]
    assert choice["text"] == "ab"
    assert json.loads(json.dumps(choice["logprobs"])) == {
        "tokens": ["a", "b"],
        "token_logprobs": [None, -0.5],
        "top_logprobs": [None, {"b": -0.5, "c": -1.0}],
        "text_offset": [0, 1],
    }
    assert writer.complete([Delta("b", 1, 1, "stop")])["choices"][0]["logprobs"] is None


def test_events_of_a_chat() -> None:
    answers = ResponseWriter(chat(stream=True))
    [first, *events] = parsed(
        answers.first_event() + b"".join(answers.event(delta) for delta in DELTAS)
    )
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert [event["choices"][0]["delta"] for event in events] == [
        {"content": "Be"},
        {"content": "cause"},
    ]
    assert [event["choices"][0]["finish_reason"] for event in events] == [None, "stop"]
    assert len({event["id"] for event in [first, *events]}) == 1
    assert {event["object"] for event in [first, *events]} == {"chat.completion.chunk"}
    assert not any("usage" in event for event in [first, *events])
    assert parsed(answers.last_events(DELTAS[-1])) == ["[DONE]"]


def test_usage_only_where_it_was_asked_for() -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    answers = ResponseWriter(chat(stream=True, stream_options=options))
    events = parsed(b"".join(answers.event(delta) for delta in DELTAS))
    assert [event["usage"]["completion_tokens"] for event in events] == [1, 2]
    last, done = parsed(answers.last_events(DELTAS[-1]))
    assert last["choices"] == []
    assert last["usage"] == {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
    assert done == "[DONE]"


def test_a_line_end_in_an_answer_stays_inside_its_event() -> None:
    [event] = parsed(ResponseWriter(chat()).event(Delta("a\n\ndata: [DONE]\r\u2028", 1, 7)))
    assert event["choices"][0]["delta"]["content"] == "a\n\ndata: [DONE]\r\u2028"


def test_a_whole_answer() -> None:
    complete = ResponseWriter(chat()).complete(DELTAS)
    assert complete["object"] == "chat.completion"
    assert complete["choices"] == [
        {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": "Because"},
        }
    ]
    assert complete["usage"]["total_tokens"] == 9
    plain = ResponseWriter(CompletionRequest(model="m", prompt="Why"))
    assert plain.first_event() == b""
    assert plain.complete(DELTAS)["choices"][0]["text"] == "Because"
    assert plain.complete(DELTAS)["id"].startswith("cmpl-")


def test_models() -> None:
    assert [entry["id"] for entry in model_list(["a", "b"])["data"]] == ["a", "b"]
