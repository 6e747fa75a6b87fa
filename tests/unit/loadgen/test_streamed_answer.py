import json

import pytest

from medsweep.loadgen.failures import RequestError
from medsweep.loadgen.streamed_answer import StreamedAnswer


def chunk(text: str | None, total: int | None = None, **choice: object) -> bytes:
    usage = None if total is None else {"prompt_tokens": 5, "completion_tokens": total}
    delta = {"delta": {"content": text}, **choice}
    return json.dumps({"choices": [delta], "usage": usage}).encode()


def test_text_times_and_tokens() -> None:
    answer = StreamedAnswer()
    for at_s, event in [
        (0.1, b'{"choices": [{"delta": {"role": "assistant", "content": ""}}]}'),
        (1.0, chunk("Hel", 2)),
        (1.5, chunk("lo", 3)),
        (1.7, chunk("", 4, finish_reason="stop")),
        (1.8, b'{"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 4}}'),
        (1.9, b"[DONE]"),
    ]:
        answer.take(event, at_s)
    assert (answer.text, answer.finish_reason, answer.done_s) == ("Hello", "stop", 1.9)
    assert (answer.first_text_s, answer.chunk_gaps_s, answer.chunk_tokens) == (1.0, (0.5,), (2, 1))
    assert (answer.prompt_tokens, answer.output_tokens) == (5, 4)


def test_one_uncounted_chunk_makes_all_unknown() -> None:
    answer = StreamedAnswer()
    answer.take(chunk("a", 1), 0.0)
    answer.take(chunk("b"), 0.1)
    assert answer.chunk_tokens is None
    assert answer.output_tokens == 1


def test_no_text_at_all() -> None:
    answer = StreamedAnswer()
    answer.take(chunk(None, finish_reason="stop"), 0.0)
    assert answer.complete
    assert (answer.text, answer.first_text_s, answer.chunk_gaps_s) == ("", None, ())
    assert answer.chunk_tokens is None


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_thinking_aloud_is_timed_and_counted_and_not_answered(field: str) -> None:
    """The tokens of a thought are in `usage`: timed from the answer on they would cost nothing."""
    answer = StreamedAnswer()
    thought = {"choices": [{"delta": {field: "hm", "content": None}}]}
    for at_s, event in [
        (1.0, json.dumps({**thought, "usage": {"completion_tokens": 1}}).encode()),
        (1.5, json.dumps({**thought, "usage": {"completion_tokens": 2}}).encode()),
        (2.0, chunk("yes", 3)),
    ]:
        answer.take(event, at_s)
    assert (answer.text, answer.first_text_s) == ("yes", 1.0)
    assert (answer.chunk_gaps_s, answer.chunk_tokens) == ((0.5, 0.5), (1, 1, 1))


def test_completion_chunks() -> None:
    answer = StreamedAnswer()
    answer.take(b'{"choices": [{"text": "a", "finish_reason": null}]}', 0.0)
    assert (answer.text, answer.complete) == ("a", False)


def test_surrogate_pair_over_two_chunks() -> None:
    answer = StreamedAnswer()
    answer.take(b'{"choices": [{"text": "\\ud83d"}]}', 0.0)
    assert answer.text == "�"
    answer.take(b'{"choices": [{"text": "\\ude00"}]}', 0.0)
    assert answer.text == "\U0001f600"


@pytest.mark.parametrize(
    "event",
    [
        b"{not json",
        b'{"choices": ' + b"[" * 100_000,
        b"\xff",
        b"7",
        b"[]",
        b'{"choices": [3]}',
        b'{"choices": 3}',
        b'{"choices": [], "usage": 3}',
        b'{"choices": [], "usage": {"completion_tokens": "3"}}',
        b'{"choices": [], "usage": {"completion_tokens": -3}}',
        b'{"choices": [], "usage": {"prompt_tokens": 1e99}}',
    ],
)
def test_what_is_not_a_chunk(event: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 -- the words are json's or ours
        StreamedAnswer().take(event, 0.0)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ({"message": "secret prompt", "type": "overloaded"}, "overloaded"),
        ({"message": "secret prompt", "code": 503}, "503"),
        ("secret prompt", "no type given"),
    ],
)
def test_error_object_without_its_message(error: object, words: str) -> None:
    with pytest.raises(RequestError) as caught:
        StreamedAnswer().take(json.dumps({"error": error}).encode(), 0.0)
    assert (caught.value.kind, caught.value.words) == ("server_error", words)


def test_counts_that_go_down_say_nothing_of_chunks() -> None:
    answer = StreamedAnswer()
    for total in (1, 3, 2):
        answer.take(chunk("a", total), 0.0)
    assert (answer.output_tokens, answer.chunk_tokens) == (2, None)


def test_what_cannot_be_stored_is_replaced() -> None:
    answer = StreamedAnswer()
    answer.take(b'{"choices": [{"text": "a", "finish_reason": "\\ud83d!"}]}', 0.0)
    assert answer.finish_reason == "?!"
    answer.take(b'{"choices": [{"text": "a", "finish_reason": 7}]}', 0.0)
    assert answer.finish_reason == "7"
    with pytest.raises(RequestError, match=r"server_error: \?"):
        answer.take(b'{"error": {"type": "\\ud83d"}}', 0.0)
