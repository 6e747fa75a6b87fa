"""What the client sends, and sends again where a server knows less."""

import asyncio
import json

import pytest

from answering import DONE, EVENT, answering, ask, ask_again, refusing, stream
from medsweep.clock import MonotonicClock
from medsweep.errors import StageError
from medsweep.loadgen.client import LoadClient
from medsweep.loadgen.mock.server import running_mock
from medsweep.loadgen.mock.timing import MockTiming


@pytest.mark.parametrize(
    ("words", "attempts"),
    [((b"continuous_usage_stats",), 2), ((b"continuous_usage_stats", b"stream_options"), 3)],
)
async def test_server_that_knows_fewer_options_is_asked_for_less(make_job, words, attempts) -> None:
    clock = MonotonicClock()
    seen: list[bytes] = []
    async with answering(*[refusing(*words)] * 20, seen=seen) as url:
        job = make_job(url)
        async with LoadClient(job, clock) as client:
            records = await asyncio.gather(*(ask_again(client, job, clock) for _ in range(3)))
            assert {record.status for record in records} == {"ok"}
            assert len(seen) <= 3 * attempts
            seen.clear()
            assert (await ask_again(client, job, clock)).status == "ok"
    assert len(seen) == 1  # by then it is known
    assert (b"include_usage" in seen[0]) == (attempts == 2)


OF_OPENAI = (
    "Unsupported parameter: 'max_tokens' is not supported with this model. "
    "Use 'max_completion_tokens' instead."
)


@pytest.mark.parametrize(
    ("refused", "status", "said", "accepted"),
    [
        (b'"max_tokens"', 400, OF_OPENAI, True),
        (b'"max_tokens"', 422, "max_tokens: Extra inputs are not permitted", True),
        (b'"max_tokens"', 400, "max_tokens must be at most 16", False),
        (b'"continuous_usage_stats"', 400, "unknown field continuous_usage_stats", True),
        (b'"include_usage"', 422, "stream_options.include_usage: not allowed", True),
    ],
)
async def test_a_request_is_sent_again_in_the_form_that_the_server_names(
    make_job, refused: bytes, status: int, said: str, accepted: bool
) -> None:
    def answer(message: bytes) -> bytes:
        if refused not in message:
            return stream(EVENT + DONE)
        body = json.dumps({"error": {"message": said}}).encode()
        return b"HTTP/1.1 %d No\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)

    seen: list[bytes] = []
    async with answering(*[answer] * 5, seen=seen) as url:
        record = await ask(make_job(url))
    last = json.loads(seen[-1])
    assert refused not in seen[-1] or not accepted
    assert last.get("max_tokens", last.get("max_completion_tokens")) == 32
    if accepted:
        assert record.status == "ok"
    else:
        assert (record.status, record.error, len(seen)) == (f"http_{status}", f"No: {said}", 1)


async def test_refusal_of_anything_else_is_a_failure(make_job) -> None:
    seen: list[bytes] = []
    async with answering(*[refusing(b"messages")] * 5, seen=seen) as url:
        record = await ask(make_job(url))
    assert record.status == "http_400"
    assert len(seen) == 3  # it named the option each time, until there was none
    seen.clear()
    other = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\n{}"
    async with answering(other, seen=seen) as url:
        assert (await ask(make_job(url))).status == "http_400"
    assert len(seen) == 1


async def test_what_is_asked(make_job) -> None:
    async with running_mock(MockTiming(tokens=0)) as server:
        await ask(make_job(server.base_url, max_tokens=9, temperature=0.5))
        await ask(make_job(server.base_url, endpoint="completions"))
    chat, completion = server.requests
    assert chat["messages"] == [{"role": "user", "content": "question 0?"}]
    assert (chat["max_tokens"], chat["temperature"], chat["stream"]) == (9, 0.5, True)
    assert chat["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}
    assert completion["prompt"] == "question 0?"
    assert "messages" not in completion


async def test_an_instruction_goes_before_the_question(make_job) -> None:
    async with running_mock(MockTiming(tokens=0)) as server:
        await ask(make_job(server.base_url, instruction="Be brief."))
    [chat] = server.requests
    assert chat["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "question 0?"},
    ]


async def test_api_key_and_headers(make_job, monkeypatch) -> None:
    job = make_job(
        "http://x:80/v1?a=b",
        api_key_env="MEDSWEEP_TEST_KEY",
        headers=(("X-Team", "a b"), ("Host", "y")),
    )
    with pytest.raises(StageError, match="MEDSWEEP_TEST_KEY"):
        LoadClient(job, MonotonicClock())
    monkeypatch.setenv("MEDSWEEP_TEST_KEY", "k")
    head, _, body = LoadClient(job, MonotonicClock()).message(job.prompts[0]).partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert {"authorization: Bearer k", "x-team: a b", "host: y"} <= set(lines)
    assert f"content-length: {len(body)}" in lines
