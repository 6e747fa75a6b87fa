"""How connections are made, kept, given up and replaced, and how messages end."""

import asyncio
import socket
from contextlib import suppress

import pytest

from answering import DONE, EVENT, HEAD, answering, ask, ask_again, stream, until
from medsweep.clock import Clock, MonotonicClock
from medsweep.loadgen.client import LoadClient
from medsweep.loadgen.mock.server import running_mock
from medsweep.loadgen.mock.timing import MockTiming
from medsweep.metrics.request_record import RequestRecord


async def test_connection_refused(make_job) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # bound but not listening: nobody else can take the port
        record = await ask(make_job(f"http://127.0.0.1:{bound.getsockname()[1]}/v1"))
    assert record.status == "connect"


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
