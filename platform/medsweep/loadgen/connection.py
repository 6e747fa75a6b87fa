"""HTTP/1.1 over one connection, with the moment at which every read came.

Written for this one purpose: a general client spends several times the processor time for each
chunk of a stream, which at hundreds of streams shows as latency of the server. The bytes are parsed
by llhttp (package `httptools`), TLS and TCP are asyncio's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import httptools

from medsweep.loadgen.eventloop import Sender
from medsweep.loadgen.failures import RequestError

_LONGEST_BODY_BYTES = 32 << 20


class Exchange:
    """One request's answer as it comes in; `take` receives its body.

    Attributes:
        status: HTTP status; 0 before it came.
        reason: the status in the server's words.
        content_type: of the answer, in lower case, without parameters; empty without one.
        content_encoding: of the answer, in lower case; empty without one.
        location: where it redirects to; empty if it does not.
        ended_s: when the last of it came, in seconds; None before that.
        ended: becomes None when the whole answer is there, or an error.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the answer so far, before the request is sent again."""
        self.status = 0
        self.reason = self.content_type = self.content_encoding = self.location = ""
        self.ended_s: float | None = None
        self.body_bytes = 0
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def take(self, piece: bytes, at_s: float) -> None:
        """Receive a piece of the body with the moment it came, in seconds."""
        raise NotImplementedError

    def end(self, at_s: float | None, failure: Exception | None = None) -> None:
        """Mark the answer as ended."""
        if self.ended.done():
            return
        self.ended_s = at_s
        if failure is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(failure)


class Connection(asyncio.Protocol):
    """One connection; takes one request at a time.

    Args:
        now: reads the clock.
        on_free: called when an answer is complete and the connection can take the next request.

    Attributes:
        open: whether it is connected.
        used: whether anything came back for the present request.
    """

    def __init__(self, now: Callable[[], float], on_free: Callable[[Connection], None]) -> None:
        self.open = False
        self.used = False
        self._now, self._on_free = now, on_free
        self._exchange: Exchange | None = None
        self._received_s = 0.0
        self._parser = httptools.HttpResponseParser(self)
        self._until_eof = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the transport; asyncio sets TCP_NODELAY itself."""
        self._transport = cast("asyncio.Transport", transport)
        self._sender = Sender(transport)
        self.open = True

    def request(self, message: bytes, exchange: Exchange) -> None:
        """Send a request; its answer goes to `exchange`."""
        self._exchange = exchange
        self._until_eof, self.used = True, False
        self._sender.send(message)

    def serves(self, exchange: Exchange) -> bool:
        """Whether the answer to this request is still to come, and not one of a later request."""
        return self._exchange is exchange

    def abort(self) -> None:
        """Break the connection, which tells the server to stop."""
        self.open, self._exchange = False, None
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Note the time, then parse."""
        self._received_s = self._now()
        self.used = True
        if self._exchange is None:
            self.abort()  # bytes without a request
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(RequestError("garbage", f"not HTTP: {type(error).__name__}"))

    def connection_lost(self, error: Exception | None) -> None:
        """End the answer, which is complete if it lasts until the connection closes."""
        self.open = False
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            return
        if error is None and exchange.status and self._until_eof:
            exchange.end(self._now())
        else:
            exchange.end(self._now(), error or ConnectionResetError())

    def on_status(self, reason: bytes) -> None:
        """Note the reason; called by the parser, as are the methods below."""
        if self._exchange is not None:
            self._exchange.reason = reason.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note what kind of body comes and how it ends."""
        name = name.lower()
        exchange, text = self._exchange, value.decode("latin-1").strip()
        if name == b"content-type" and exchange is not None:
            exchange.content_type = text.partition(";")[0].strip().lower()
        elif name == b"content-encoding" and exchange is not None:
            exchange.content_encoding = text.lower().removeprefix("identity")
        elif name == b"location" and exchange is not None:
            exchange.location = text
        elif name in (b"content-length", b"transfer-encoding"):
            self._until_eof = False

    def on_headers_complete(self) -> None:
        """Note the status."""
        if self._exchange is not None:
            self._exchange.status = self._parser.get_status_code()

    def on_body(self, data: bytes) -> None:
        """Pass a piece of the body on."""
        exchange = self._exchange
        if exchange is None:
            return
        exchange.body_bytes += len(data)
        if exchange.body_bytes > _LONGEST_BODY_BYTES:
            self._fail(RequestError("too_long", f"more than {_LONGEST_BODY_BYTES >> 20} MiB"))
        else:
            exchange.take(data, self._received_s)

    def on_message_complete(self) -> None:
        """End the answer and return the connection to the pool."""
        exchange = self._exchange
        if exchange is None or exchange.status < 200:
            return  # 1xx: the answer itself is still to come
        self._exchange = None
        if self._parser.should_keep_alive():
            self._on_free(self)
        else:
            self.abort()
        exchange.end(self._received_s)

    def _fail(self, failure: RequestError) -> None:
        exchange = self._exchange
        self.abort()
        if exchange is not None:
            exchange.end(self._received_s, failure)
