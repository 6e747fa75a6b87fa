"""What the client makes of an answer."""

import asyncio
from collections.abc import Callable

import pytest

from answering import DONE, EVENT, answering, ask, stream
from medsweep.clock import Clock, MonotonicClock
from medsweep.loadgen.mock.server import running_mock
from medsweep.loadgen.mock.timing import PROMPT_TOKENS, MockTiming
from medsweep.loadgen.stream import Stream
from medsweep.metrics.request_record import RequestRecord


@pytest.fixture
def answer_of(virtually, make_job) -> Callable[..., RequestRecord]:
    """Asks a mock server of some timing once, in virtual time; keywords are the job's."""

    def asked(timing: MockTiming, **changes: object) -> RequestRecord:
        async def main(clock: Clock) -> RequestRecord:
            async with running_mock(timing, clock=clock) as server:
                record = await ask(make_job(server.base_url, **changes), clock)
                async with asyncio.timeout(5):
                    while server.in_flight:  # a server whose client has gone stops
                        await asyncio.sleep(0.001)
            return record

        return virtually(main)

    return asked


@pytest.mark.parametrize("endpoint", ["chat", "completions"])
def test_role_and_keep_alives_are_not_text(answer_of, endpoint: str) -> None:
    timing = MockTiming(ttft_s=0.1, gap_s=0.01, tokens=6, keep_alive_comments=True)
    record = answer_of(timing, endpoint=endpoint)
    assert record.status == "ok"
    assert record.error is None
    # A role event at 0 ms and a comment at 50 ms went before the first text.
    assert record.ttft_s == pytest.approx(0.1, abs=0.002)
    assert record.text == " word" * 6
    assert record.chunk_tokens == (1,) * 6
    assert len(record.chunk_gaps_s) == 5
    assert (record.prompt_tokens, record.output_tokens) == (PROMPT_TOKENS, 6)
    assert (record.token_source, record.finish_reason) == ("usage", "stop")


def test_chunk_is_not_a_token(answer_of) -> None:
    record = answer_of(MockTiming(ttft_s=0.05, gap_s=0.01, tokens=30, tokens_per_chunk=4))
    assert record.chunk_tokens == (4,) * 7 + (2,)
    assert len(record.chunk_gaps_s) == 7
    assert record.output_tokens == 30
    # The last of 8 chunks leaves with token 28, 280 ms after the first.
    assert record.tpot_s == pytest.approx(0.28 / 29, rel=0.01)
    assert sum(record.chunk_gaps_s) == pytest.approx(0.28, rel=0.01)


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


def test_timeout(answer_of) -> None:
    record = answer_of(MockTiming(ttft_s=30.0), timeout_s=0.1)
    assert record.status == "timeout"
    assert record.e2e_s == pytest.approx(0.1, abs=0.002)


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
    async with answering(stream(body)) as url:
        record = await ask(make_job(url))
    assert record.status == status
    assert "question" not in (record.error or "")


def test_silence_and_endless_answers_time_out(answer_of) -> None:
    for fail, text in (("hang", ""), ("endless", " word" * 40)):
        timing = MockTiming(ttft_s=0.0, gap_s=0.001, tokens=2, fail=fail)
        record = answer_of(timing, timeout_s=0.2)
        assert record.status == "timeout"
        assert record.text.startswith(text)


async def test_endless_answer_is_given_up_by_its_length(make_job, monkeypatch) -> None:
    monkeypatch.setattr("medsweep.loadgen.connection._LONGEST_BODY_BYTES", 100_000)
    async with running_mock(MockTiming(ttft_s=0.0, gap_s=0.0, fail="endless")) as server:
        record = await ask(make_job(server.base_url))
    assert record.status == "too_long"


def test_long_garbage_is_noticed_before_it_ends(virtually, make_job) -> None:
    async def main(clock: Clock) -> RequestRecord:
        async with answering(stream(b"data: x\n\n" * 20_000, whole=False)) as url:
            return await ask(make_job(url, timeout_s=5.0), clock)

    record = virtually(main)
    assert record.status == "garbage"
    assert record.e2e_s < 0.1


async def test_done_that_is_split_over_two_reads(make_job) -> None:
    clock = MonotonicClock()
    prompt = make_job("http://x").prompts[0]
    for at in range(1, len(DONE) - 2):
        answer = Stream(0, "measure", prompt, None, clock.now())
        answer.status = 200
        answer.take(EVENT + DONE[:at], clock.now())
        answer.take(DONE[at:], clock.now())
        async with asyncio.timeout(60):
            await answer.ended


def test_text_that_speaks_of_done_is_no_end(virtually, make_job, monkeypatch) -> None:
    monkeypatch.setattr("medsweep.loadgen.stream._GRACE_S", 0.01)
    event = EVENT.replace(b'"a"', b'"[DONE]"')

    async def main(clock: Clock) -> RequestRecord:
        async with answering(stream(event, whole=False)) as url:
            return await ask(make_job(url, timeout_s=0.2), clock)

    record = virtually(main)
    assert (record.status, record.text) == ("timeout", "[DONE]")


async def test_slow_processor_holds_up_the_others(make_job) -> None:
    timing = MockTiming(ttft_s=0.0, gap_s=0.0, tokens=4, busy_s=0.01)
    async with running_mock(timing) as server:
        job = make_job(server.base_url)
        alone = await ask(job)
        together = await asyncio.gather(*(ask(job) for _ in range(4)))
    assert alone.e2e_s >= 0.04
    assert max(record.e2e_s for record in together) > 0.12
