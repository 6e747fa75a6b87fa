"""Sends requests to one server over a pool of connections."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import os
import socket
import ssl
from collections.abc import Callable
from http import HTTPStatus
from typing import Self
from urllib.parse import urlsplit

from medsweep.clock import Clock
from medsweep.errors import StageError
from medsweep.loadgen.connection import Connection, Exchange
from medsweep.loadgen.failures import TRANSPORT_ERRORS, RequestError, as_failure
from medsweep.loadgen.spec import LoadJob, Prompt
from medsweep.loadgen.stream import Stream

# The messages of this many prompts are cached.
_KEPT_MESSAGES = 4096
# Usage options, in the order in which they are tried: a token count in every chunk, which alone
# tells a chunk from a token; a count at the end; none.
_STREAM_OPTIONS: tuple[dict[str, bool], ...] = (
    {"include_usage": True, "continuous_usage_stats": True},
    {"include_usage": True},
    {},
)


class LoadClient:
    """All requests of one job; a context manager that closes its connections.

    Args:
        job: server, model and limits.
        clock: what everything is timed with.

    Raises:
        StageError: the environment variable for the API key is not set.
    """

    def __init__(self, job: LoadJob, clock: Clock) -> None:
        self._job, self._clock = job, clock
        self._head = _head(job)
        self._pool = ConnectionPool(job.url, clock.now)
        self._messages: dict[str, bytes] = {}
        self._options = 0
        self._answered = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._pool.close()

    async def send(self, prompt: Prompt, stream: Stream) -> tuple[RequestError | None, float]:
        """Send one prompt and wait for the end of its answer.

        Args:
            prompt: what to ask.
            stream: takes the answer. It is not parsed here: that takes time, in which the next
                request could leave.

        Returns:
            How the connection failed, or None, and when it was over, in seconds.
        """
        failure = None
        try:
            async with asyncio.timeout(self._job.timeout_s):
                options = self._options
                await self._pool.exchange(self.message(prompt), stream)
                while stream.refuses("stream_options") and self._may_reduce(options):
                    options = self._options
                    stream.begin_again(self._clock.now())
                    await self._pool.exchange(self.message(prompt), stream)
        except RequestError as error:
            failure = error
        except TRANSPORT_ERRORS as error:
            failure = as_failure(error, connected=stream.ended.done())
            # Some errors are raised without a turn of the event loop: a worker that retries would
            # then block all others.
            await asyncio.sleep(0)
        self._answered |= stream.status == HTTPStatus.OK
        return failure, self._clock.now()

    def _may_reduce(self, options: int) -> bool:
        """Whether this request and all later ones can be sent with fewer options.

        Only before the first answer: a server that has answered accepts them.
        """
        last = options + 1 == len(_STREAM_OPTIONS)
        if options == self._options and not self._answered and not last:
            self._options += 1
            self._messages.clear()
        return self._options > options

    def message(self, prompt: Prompt) -> bytes:
        """Return the HTTP message that asks a prompt."""
        known = self._messages.get(prompt.text)
        if known is not None:
            return known
        body = _body(self._job, prompt, _STREAM_OPTIONS[self._options])
        message = b"%bcontent-length: %d\r\n\r\n%b" % (self._head, len(body), body)
        if len(self._messages) < _KEPT_MESSAGES:
            self._messages[prompt.text] = message
        return message


def _head(job: LoadJob) -> bytes:
    parts = urlsplit(job.url)
    headers = {
        "host": parts.netloc.rpartition("@")[2],
        "user-agent": "medsweep",
        "accept": "text/event-stream",
        # Compressed answers come in lumps, which would show as gaps that the model did not make.
        "accept-encoding": "identity",
        "content-type": "application/json",
    }
    if job.api_key_env is not None:
        if job.api_key_env not in os.environ:
            raise StageError(f"environment variable {job.api_key_env} (API key) is not set")
        headers["authorization"] = f"Bearer {os.environ[job.api_key_env]}"
    headers |= {name.lower(): value for name, value in job.headers}
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    lines = [f"POST {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "".join(f"{line}\r\n" for line in lines).encode("latin-1")


def _body(job: LoadJob, prompt: Prompt, options: dict[str, bool]) -> bytes:
    chat = job.endpoint == "chat"
    asked: dict[str, object] = {"prompt": prompt.text}
    if chat:
        asked = {"messages": [{"role": "user", "content": prompt.text}]}
    body: dict[str, object] = {
        "model": job.model,
        **asked,
        "max_tokens": job.max_tokens,
        "temperature": job.temperature,
        "stream": True,
    }
    if options:
        body["stream_options"] = options
    return json.dumps(body).encode()


class ConnectionPool:
    """Opens connections without a limit and reuses the one that was freed last.

    Args:
        url: where requests go; only scheme, host and port matter.
        now: reads the clock.
    """

    def __init__(self, url: str, now: Callable[[], float]) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._now = now
        self._addresses: list[tuple[str, int]] = []
        self._free: list[Connection] = []
        self._all: set[Connection] = set()

    async def exchange(self, message: bytes, exchange: Exchange) -> None:
        """Send a request and wait until its answer has ended.

        Args:
            message: the whole request.
            exchange: takes the answer.

        Raises:
            RequestError: the answer is not HTTP, or too long.
            OSError: no connection, or it broke.
        """
        connection = self._reused()
        fresh = connection is None
        if connection is None:
            connection = await self._connect()
        connection.request(message, exchange)
        try:
            await exchange.ended
        except OSError:
            # A server may close an idle connection just as a request is sent on it. Nothing came
            # back, so the request is sent once more.
            if fresh or connection.used:
                raise
            exchange.ended = asyncio.get_running_loop().create_future()
            connection = await self._connect()
            connection.request(message, exchange)
            await exchange.ended
        finally:
            if connection.serves(exchange):
                connection.abort()  # cancelled: tells the server to stop
            if not connection.open:
                self._all.discard(connection)

    def close(self) -> None:
        """Break all connections."""
        for connection in self._all:
            connection.abort()
        self._all.clear()
        self._free.clear()

    def _reused(self) -> Connection | None:
        while self._free:
            connection = self._free.pop()
            if connection.open:
                return connection
            self._all.discard(connection)
        return None

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        if not self._addresses and _is_numeric(self._host):
            self._addresses = [(self._host, self._port)]
        if not self._addresses:
            infos = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
            self._addresses = [(str(info[4][0]), int(info[4][1])) for info in infos]
        for place, (host, port) in enumerate(self._addresses):
            try:
                _, connection = await loop.create_connection(
                    lambda: Connection(self._now, self._free.append),
                    host,
                    port,
                    ssl=self._tls,
                    server_hostname=self._host if self._tls else None,
                )
            except OSError:
                if place + 1 == len(self._addresses):
                    raise
            else:
                if place:  # the first addresses failed
                    self._addresses = [(host, port)]
                self._all.add(connection)
                return connection
        raise ConnectionRefusedError


def _is_numeric(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
