import socket

import pytest
from aiohttp import web

from medsweep.clock import Clock, MonotonicClock
from medsweep.errors import StageError
from medsweep.loadgen.client import Session
from medsweep.loadgen.mock_answer import PROMPT_TOKENS, MockTiming
from medsweep.loadgen.mock_server import running_mock
from medsweep.loadgen.spec import LoadJob
from medsweep.loadgen.stream import Stream
from medsweep.metrics.definitions import RequestRecord


async def ask(job: LoadJob) -> RequestRecord:
    clock = MonotonicClock()
    async with Session(job, clock) as session:
        return await ask_again(session, job, clock)


async def ask_again(session: Session, job: LoadJob, clock: Clock) -> RequestRecord:
    prompt = job.prompts[0]
    stream = Stream(0, "measure", prompt.question_id, None, clock.now())
    return stream.record(*await session.send(prompt, stream), keep_text=job.keep_text)


@pytest.mark.parametrize("endpoint", ["chat", "completions"])
async def test_role_and_keep_alives_are_not_text(make_job, endpoint: str) -> None:
    timing = MockTiming(ttft_s=0.1, gap_s=0.01, tokens=6, keep_alive_comments=True)
    async with running_mock(timing) as server:
        record = await ask(make_job(server.base_url, endpoint=endpoint))
    assert record.status == "ok"
    assert record.error is None
    # A role event at 0 ms and a comment at 50 ms went before the first text.
    assert 0.099 < record.ttft_s < 0.2
    assert record.text == " word" * 6
    assert record.chunk_tokens == (1,) * 6
    assert len(record.chunk_gaps_s) == 5
    assert (record.prompt_tokens, record.output_tokens) == (PROMPT_TOKENS, 6)
    assert (record.token_source, record.finish_reason) == ("usage", "stop")


async def test_chunk_is_not_a_token(make_job) -> None:
    timing = MockTiming(ttft_s=0.05, gap_s=0.01, tokens=30, tokens_per_chunk=4)
    async with running_mock(timing) as server:
        record = await ask(make_job(server.base_url))
    assert record.chunk_tokens == (4,) * 7 + (2,)
    assert len(record.chunk_gaps_s) == 7
    assert record.output_tokens == 30
    # The last of 8 chunks leaves with token 28, 280 ms after the first.
    assert record.tpot_s == pytest.approx(0.28 / 29, rel=0.2)
    assert sum(record.chunk_gaps_s) == pytest.approx(0.28, rel=0.2)


async def test_one_chunk_has_no_gaps_and_no_tpot(make_job) -> None:
    async with running_mock(MockTiming(tokens=1)) as server:
        record = await ask(make_job(server.base_url))
    assert (record.chunk_gaps_s, record.chunk_tokens, record.tpot_s) == ((), (1,), None)
    assert record.ttft_s > 0


async def test_empty_answer_is_not_a_failure(make_job) -> None:
    async with running_mock(MockTiming(tokens=0)) as server:
        record = await ask(make_job(server.base_url))
    assert (record.status, record.text, record.ttft_s) == ("ok", "", None)
    assert record.output_tokens == 0


@pytest.mark.parametrize(
    ("timing", "source", "tokens", "chunk_tokens"),
    [
        (MockTiming(tokens=2, gap_s=0.0, usage=False), None, None, None),
        (MockTiming(tokens=2, gap_s=0.0, continuous_usage=False), "usage", 2, None),
    ],
)
async def test_missing_usage_is_null(make_job, timing, source, tokens, chunk_tokens) -> None:
    async with running_mock(timing) as server:
        record = await ask(make_job(server.base_url))
    assert record.status == "ok"
    assert (record.token_source, record.output_tokens) == (source, tokens)
    assert record.chunk_tokens == chunk_tokens
    assert (record.prompt_tokens is None) == (tokens is None)


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


@pytest.mark.parametrize(
    ("fail", "status"),
    [
        ("http_500", "http_500"),
        ("http_429", "http_429"),
        ("model_refused", "model_refused"),
        ("cut", "closed_early"),
        ("drop", "closed_early"),
        ("error_event", "server_error"),
        ("garbage", "garbage"),
        ("not_http", "garbage"),
        ("html", "html"),
    ],
)
async def test_failures_by_kind(make_job, fail: str, status: str) -> None:
    async with running_mock(MockTiming(ttft_s=0.0, gap_s=0.0, fail=fail)) as server:
        record = await ask(make_job(server.base_url))
    assert record.status == status
    assert record.error
    assert "word" not in record.error
    assert "question" not in record.error
    assert record.end_s >= record.sent_s


async def test_text_before_the_cut_is_kept(make_job) -> None:
    async with running_mock(MockTiming(ttft_s=0.0, gap_s=0.005, tokens=4, fail="cut")) as server:
        record = await ask(make_job(server.base_url))
    assert record.text == " word word"
    assert record.first_text_s is not None


async def test_timeout(make_job) -> None:
    async with running_mock(MockTiming(ttft_s=30.0)) as server:
        record = await ask(make_job(server.base_url, timeout_s=0.1))
    assert record.status == "timeout"
    assert 0.09 < record.e2e_s < 2.0


async def test_connection_refused(make_job) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # bound but not listening: nobody else can take the port
        record = await ask(make_job(f"http://127.0.0.1:{bound.getsockname()[1]}/v1"))
    assert record.status == "connect"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'data: {"error": {"message": "question 0?", "type": "internal"}}\n\n', "server_error"),
        (b'data: {"choices": [{"text": "a", "finish_reason": null}]}\n\n', "closed_early"),
        (b'data: {"choices": [{"text": "a", "finish_reason": "stop"}]}\n\n', "ok"),
        (b'data: {"choices": [{"text": "a"}]}\n\ndata: [DONE]\n\n', "ok"),
        (b"", "closed_early"),
    ],
)
async def test_streams_that_end_in_their_own_way(make_job, body: bytes, status: str) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, content_type="text/event-stream")

    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        record = await ask(make_job(f"http://127.0.0.1:{runner.addresses[0][1]}/v1"))
    finally:
        await runner.cleanup()
    assert record.status == status
    assert "question" not in (record.error or "")


async def test_api_key_and_headers(make_job, monkeypatch) -> None:
    job = make_job(
        "http://x:80/v1?a=b",
        api_key_env="MEDSWEEP_TEST_KEY",
        headers=(("X-Team", "a b"), ("Host", "y")),
    )
    with pytest.raises(StageError, match="MEDSWEEP_TEST_KEY"):
        Session(job, MonotonicClock())
    monkeypatch.setenv("MEDSWEEP_TEST_KEY", "k")
    head, _, body = Session(job, MonotonicClock()).message(job.prompts[0]).partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert {"authorization: Bearer k", "x-team: a b", "host: y"} <= set(lines)
    assert f"content-length: {len(body)}" in lines
