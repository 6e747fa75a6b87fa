"""Sends requests to one server over a pool of connections."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import socket
import ssl
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Self
from urllib.parse import urlsplit

from medsweep.api_key import key_of_variable
from medsweep.clock import Clock
from medsweep.errors import InputError, StageError
from medsweep.loadgen.address import basic_credentials
from medsweep.loadgen.connection import Connection, Exchange
from medsweep.loadgen.failures import TRANSPORT_ERRORS, RequestError, as_failure
from medsweep.loadgen.spec import LoadJob, Prompt
from medsweep.loadgen.stream import Stream
from medsweep.models.templates import conversation

# The messages of this many prompts are cached.
_KEPT_MESSAGES = 4096
# A connection whose message does not end this long after [DONE] is given up.
_DRAIN_S = 1.0
# Usage options, in the order in which they are tried: a token count in every chunk, which alone
# tells a chunk from a token; a count at the end; none.
_STREAM_OPTIONS: tuple[dict[str, bool], ...] = (
    {"include_usage": True, "continuous_usage_stats": True},
    {"include_usage": True},
    {},
)
_USAGE_NAMES = ("stream_options", "continuous_usage_stats", "include_usage")


class LoadClient:
    """All requests of one job; a context manager that closes its connections.

    Args:
        job: server, model and limits.
        clock: what everything is timed with.

    Attributes:
        pool: its connections.

    Raises:
        StageError: the environment variable for the API key is not set, or holds no key.
    """

    def __init__(self, job: LoadJob, clock: Clock) -> None:
        self._job, self._clock = job, clock
        self._head = _head(job)
        self.pool = ConnectionPool(job.url, clock.now)
        self._messages: dict[Prompt, bytes] = {}
        self._options = 0
        self._limit_name = "max_tokens"
        self._answered = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.pool.close()

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
                form = self._form
                await self.pool.exchange(self.message(prompt), stream)
                while self._adapts(stream, form):
                    form = self._form
                    stream.begin_again(self._clock.now())
                    await self.pool.exchange(self.message(prompt), stream)
        except RequestError as error:
            failure = error
        except TRANSPORT_ERRORS as error:
            failure = as_failure(error, connected=stream.ended.done())
            # Some errors are raised without a turn of the event loop: a worker that retries would
            # then block all others.
            await asyncio.sleep(0)
        self._answered |= stream.status == HTTPStatus.OK
        return failure, self._clock.now()

    @property
    def _form(self) -> tuple[int, str]:
        """What of the request depends on what the server takes."""
        return self._options, self._limit_name

    def _adapts(self, stream: Stream, form: tuple[int, str]) -> bool:
        """Whether this request and all later ones can be sent in a form that may be accepted.

        The form changes only before the first answer: a server that has answered accepts it.

        Args:
            stream: the answer to this request.
            form: in which it was sent.
        """
        options, limit_name = form
        usage_refused = stream.refuses(*_USAGE_NAMES)
        limit_refused = (
            self._job.endpoint == "chat"
            and limit_name == "max_tokens"
            and stream.refuses_as_unknown(limit_name)
        )
        if form == self._form and not self._answered:
            if limit_refused:
                self._limit_name = "max_completion_tokens"
            elif usage_refused and options + 1 < len(_STREAM_OPTIONS):
                self._options += 1
            if form != self._form:
                self._messages.clear()
        return (limit_refused or usage_refused) and form != self._form

    def message(self, prompt: Prompt) -> bytes:
        """Return the HTTP message that asks a prompt."""
        known = self._messages.get(prompt)
        if known is not None:
            return known
        body = _body(self._job, prompt, _STREAM_OPTIONS[self._options], self._limit_name)
        message = b"%bcontent-length: %d\r\n\r\n%b" % (self._head, len(body), body)
        if len(self._messages) < _KEPT_MESSAGES:
            self._messages[prompt] = message
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
    headers |= identity_headers(job.base_url, job.api_key_env, job.headers)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    lines = [f"POST {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "".join(f"{line}\r\n" for line in lines).encode("latin-1")


def identity_headers(
    base_url: str, api_key_env: str | None, headers: Iterable[tuple[str, str]]
) -> dict[str, str]:
    """Return the headers that say who asks, by name in lower case.

    Args:
        base_url: root of the API, which may hold `user:password@`.
        api_key_env: environment variable that holds the API key; None for no key.
        headers: further ones, which take precedence.

    Raises:
        StageError: the variable is not set, or holds no key.
    """
    identity = {}
    if (credentials := basic_credentials(base_url)) is not None:
        identity["authorization"] = credentials
    if api_key_env is not None:
        try:
            identity["authorization"] = f"Bearer {key_of_variable(api_key_env)}"
        except InputError as error:
            raise StageError(str(error)) from None
    return identity | {name.lower(): value for name, value in headers}


def _body(job: LoadJob, prompt: Prompt, options: dict[str, bool], limit_name: str) -> bytes:
    chat = job.endpoint == "chat"
    content: dict[str, object] = {"prompt": prompt.text}
    if chat:
        content = {"messages": conversation(prompt.text, job.instruction)}
    body: dict[str, object] = {
        "model": job.model,
        **content,
        limit_name: prompt.max_tokens or job.max_tokens,
        "temperature": job.temperature,
        "stream": True,
    }
    if job.ignore_eos:
        body["ignore_eos"] = True
    if options:
        body["stream_options"] = options
    return json.dumps(body).encode()


class ConnectionPool:
    """Opens connections without a limit and reuses the one that was freed last.

    Args:
        url: where requests go; only scheme, host and port matter.
        now: reads the clock.

    Attributes:
        connections: those that are open.
    """

    def __init__(self, url: str, now: Callable[[], float]) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._now = now
        self._addresses: list[tuple[str, int]] = []
        self._free: list[Connection] = []
        self.connections: set[Connection] = set()

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
        complete = False
        try:
            await exchange.ended
            complete = True
        except OSError:
            # A server may close an idle connection just as a request is sent on it. Nothing came
            # back, so the request is sent once more.
            if fresh or connection.used:
                raise
            exchange.ended = asyncio.get_running_loop().create_future()
            connection = await self._connect()
            connection.request(message, exchange)
            await exchange.ended
            complete = True
        finally:
            if connection.serves(exchange) and complete:
                # The answer is there, the end of its message is not.
                asyncio.get_running_loop().call_later(_DRAIN_S, self._drop, connection, exchange)
            else:
                self._drop(connection, exchange)

    def _drop(self, connection: Connection, exchange: Exchange) -> None:
        """Break a connection that still serves this exchange; tells the server to stop."""
        if connection.serves(exchange):
            connection.abort()
        if not connection.open:
            self.connections.discard(connection)

    def close(self) -> None:
        """Break all connections."""
        for connection in self.connections:
            connection.abort()
        self.connections.clear()
        self._free.clear()

    def _reused(self) -> Connection | None:
        while self._free:
            connection = self._free.pop()
            if connection.open:
                return connection
            self.connections.discard(connection)
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
                self.connections.add(connection)
                return connection
        raise ConnectionRefusedError


def _is_numeric(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
