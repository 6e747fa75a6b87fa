import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from medsweep.clock import Clock, MonotonicClock
from medsweep.errors import StageError
from medsweep.loadgen.client import LoadClient
from medsweep.loadgen.mock.server import running_mock
from medsweep.loadgen.mock.timing import PROMPT_TOKENS, MockTiming
from medsweep.loadgen.spec import LoadJob
from medsweep.loadgen.stream import Stream
from medsweep.metrics.request_record import RequestRecord

Answering = Callable[[bytes], bytes]


async def ask(job: LoadJob, clock: Clock | None = None) -> RequestRecord:
    clock = clock or MonotonicClock()
    async with LoadClient(job, clock) as client:
        return await ask_again(client, job, clock)


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


async def ask_again(client: LoadClient, job: LoadJob, clock: Clock) -> RequestRecord:
    prompt = job.prompts[0]
    stream = Stream(0, "measure", prompt, None, clock.now())
    return stream.record(*await client.send(prompt, stream), keep_text=job.keep_text)


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


def test_timeout(answer_of) -> None:
    record = answer_of(MockTiming(ttft_s=30.0), timeout_s=0.1)
    assert record.status == "timeout"
    assert record.e2e_s == pytest.approx(0.1, abs=0.002)


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
    async with answering(stream(body)) as url:
        record = await ask(make_job(url))
    assert record.status == status
    assert "question" not in (record.error or "")


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


async def test_self_signed_certificate(make_job, self_signed, monkeypatch) -> None:
    context, certificate = self_signed
    async with running_mock(MockTiming(ttft_s=0.0, gap_s=0.0, tokens=2), tls=context) as server:
        job = make_job(server.base_url)
        refused = await ask(job)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        trusted = await ask(job)
    assert (refused.status, refused.text) == ("tls", "")
    assert "self-signed certificate" in refused.error
    assert (trusted.status, trusted.text) == ("ok", " word word")


async def test_tls_asked_of_a_server_without(make_job) -> None:
    async with running_mock(MockTiming()) as server:
        record = await ask(make_job(server.base_url.replace("http:", "https:")))
    assert record.status == "tls"


async def test_unknown_host(make_job) -> None:
    record = await ask(make_job("http://no-such-host.invalid/v1", timeout_s=100.0))
    assert (record.status, record.first_text_s) == ("connect", None)
    assert "no such host" in record.error


def test_silence_and_endless_answers_time_out(answer_of) -> None:
    for fail, text in (("hang", ""), ("endless", " word" * 40)):
        timing = MockTiming(ttft_s=0.0, gap_s=0.001, tokens=2, fail=fail)
        record = answer_of(timing, timeout_s=0.2)
        assert record.status == "timeout"
        assert record.text.startswith(text)


async def until(condition) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.001)


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


def refusing(*words: bytes) -> Answering:
    """A server that answers 400 to whatever holds one of these words."""

    def answer(message: bytes) -> bytes:
        found = [word for word in words if word in message]
        if not found:
            return stream(EVENT + DONE)
        said = b'{"error": {"message": "Unknown parameter: stream_options %b"}}' % found[0]
        return b"HTTP/1.1 400 Bad Request\r\nContent-Length: %d\r\n\r\n%b" % (len(said), said)

    return answer


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


@asynccontextmanager
async def answering(
    *answers: bytes | Answering, close: bool = False, seen: list[bytes] | None = None
) -> AsyncIterator[str]:
    """A server that gives each of these answers to one request, on one connection or several."""
    left = list(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                message = await reader.readexactly(length)
                if not left:
                    break
                if seen is not None:
                    seen.append(message)
                answer = left.pop(0)
                writer.write(answer if isinstance(answer, bytes) else answer(message))
                await writer.drain()
                if close:
                    break
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
EVENT = b'data: {"choices": [{"delta": {"content": "a"}}]}\n\n'
DONE = b"data: [DONE]\n\n"


def stream(body: bytes, *, whole: bool = True) -> bytes:
    chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
    return HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk + (b"0\r\n\r\n" if whole else b"")


async def test_body_that_ends_with_the_connection(make_job) -> None:
    async with answering(HEAD + b"\r\n" + EVENT + DONE, close=True) as url:
        record = await ask(make_job(url))
    assert (record.status, record.text) == ("ok", "a")


async def test_body_of_given_length_cut_short(make_job) -> None:
    async with answering(HEAD + b"Content-Length: 999\r\n\r\n" + EVENT, close=True) as url:
        record = await ask(make_job(url))
    assert (record.status, record.text) == ("closed_early", "a")


def test_done_without_the_end_of_the_message(virtually, make_job, monkeypatch) -> None:
    monkeypatch.setattr("medsweep.loadgen.stream._GRACE_S", 0.01)

    async def main(clock: Clock) -> tuple[RequestRecord, float]:
        async with answering(stream(EVENT + DONE, whole=False)) as url:
            return await ask(make_job(url), clock), clock.now()

    record, took_s = virtually(main)
    assert (record.status, record.text) == ("ok", "a")
    assert record.e2e_s < 0.01 <= took_s < 0.1


@pytest.mark.parametrize("done", [DONE, b"data:[DONE]\r\n\r\n", b"data: [DONE]"])
def test_a_slot_is_free_at_done_though_the_body_stays_open(
    virtually, make_job, done: bytes
) -> None:
    """Each answer used to hold its slot for another second."""

    async def main(clock: Clock) -> None:
        for body in (EVENT + done, EVENT * 2000 + done):
            async with answering(*[stream(body, whole=False)] * 10) as url:
                job = make_job(url)
                async with LoadClient(job, clock) as client:
                    started_s = clock.now()
                    records = [await ask_again(client, job, clock) for _ in range(10)]
                    assert clock.now() - started_s < 0.8
            assert {(record.status, record.text[:1]) for record in records} == {("ok", "a")}
            assert max(record.e2e_s for record in records) < 0.1

    virtually(main)


def test_a_connection_whose_message_ends_soon_after_done_is_kept(virtually, make_job) -> None:
    accepted = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal accepted
        accepted += 1
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                await reader.readexactly(int(head.rpartition(b"content-length: ")[2].split()[0]))
                writer.write(stream(EVENT + DONE, whole=False))
                await asyncio.sleep(0.05)
                writer.write(b"0\r\n\r\n")

    async def main(clock: Clock) -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        job = make_job(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
        async with LoadClient(job, clock) as client:
            for _ in range(3):
                assert (await ask_again(client, job, clock)).e2e_s < 0.04
                await asyncio.sleep(0.1)
        server.close()

    virtually(main)
    assert accepted == 1


async def test_a_connection_that_stays_open_after_done_is_given_up(make_job, monkeypatch) -> None:
    monkeypatch.setattr("medsweep.loadgen.client._DRAIN_S", 0.02)
    clock = MonotonicClock()
    async with answering(stream(EVENT + DONE, whole=False)) as url:
        job = make_job(url)
        async with LoadClient(job, clock) as client:
            assert (await ask_again(client, job, clock)).status == "ok"
            assert len(client.pool.connections) == 1
            await until(lambda: not client.pool.connections)


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


async def test_informational_answer_goes_before_the_answer(make_job) -> None:
    async with answering(b"HTTP/1.1 103 Early Hints\r\n\r\n" + stream(EVENT + DONE)) as url:
        record = await ask(make_job(url))
    assert (record.status, record.text) == ("ok", "a")


async def test_connection_is_kept_and_a_stale_one_replaced(make_job) -> None:
    clock = MonotonicClock()
    async with running_mock(MockTiming(ttft_s=0.0, gap_s=0.0, tokens=1)) as server:
        job = make_job(server.base_url)
        async with LoadClient(job, clock) as client:
            for _ in range(3):
                assert (await ask_again(client, job, clock)).status == "ok"
            assert server.accepted == 1
            for connection in server.connections:
                connection.abort()
            # It may be noticed before or after the next request leaves; neither is a failure.
            assert (await ask_again(client, job, clock)).status == "ok"
        assert server.accepted == 2


async def test_request_on_a_connection_that_just_closed_is_sent_again(make_job) -> None:
    clock = MonotonicClock()
    answer = stream(EVENT + DONE)
    async with answering(answer, answer, close=True) as url:
        job = make_job(url)
        async with LoadClient(job, clock) as client:
            assert [(await ask_again(client, job, clock)).status for _ in range(2)] == ["ok", "ok"]
            # A connection that was new when it broke is a failure.
            assert (await ask_again(client, job, clock)).status == "closed_early"


async def test_slow_processor_holds_up_the_others(make_job) -> None:
    timing = MockTiming(ttft_s=0.0, gap_s=0.0, tokens=4, busy_s=0.01)
    async with running_mock(timing) as server:
        job = make_job(server.base_url)
        alone = await ask(job)
        together = await asyncio.gather(*(ask(job) for _ in range(4)))
    assert alone.e2e_s >= 0.04
    assert max(record.e2e_s for record in together) > 0.12
