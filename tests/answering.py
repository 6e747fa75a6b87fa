"""A load client asks once; a server answers with given bytes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from medsweep.clock import Clock, MonotonicClock
from medsweep.loadgen.client import LoadClient
from medsweep.loadgen.spec import LoadJob
from medsweep.loadgen.stream import Stream
from medsweep.metrics.request_record import RequestRecord

Answering = Callable[[bytes], bytes]
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
EVENT = b'data: {"choices": [{"delta": {"content": "a"}}]}\n\n'
DONE = b"data: [DONE]\n\n"


async def ask(job: LoadJob, clock: Clock | None = None) -> RequestRecord:
    clock = clock or MonotonicClock()
    async with LoadClient(job, clock) as client:
        return await ask_again(client, job, clock)


async def ask_again(client: LoadClient, job: LoadJob, clock: Clock) -> RequestRecord:
    prompt = job.prompts[0]
    stream = Stream(0, "measure", prompt, None, clock.now())
    return stream.record(*await client.send(prompt, stream), keep_text=job.keep_text)


async def until(condition) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.001)


def stream(body: bytes, *, whole: bool = True) -> bytes:
    chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
    return HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk + (b"0\r\n\r\n" if whole else b"")


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


def refusing(*words: bytes) -> Answering:
    """A server that answers 400 to whatever holds one of these words."""

    def answer(message: bytes) -> bytes:
        found = [word for word in words if word in message]
        if not found:
            return stream(EVENT + DONE)
        said = b'{"error": {"message": "Unknown parameter: stream_options %b"}}' % found[0]
        return b"HTTP/1.1 400 Bad Request\r\nContent-Length: %d\r\n\r\n%b" % (len(said), said)

    return answer
