"""What the load generator's processes have in common: a fast loop, and a stdin that ends them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Coroutine
from typing import Any, cast

# A job line carries all of its prompts.
_LONGEST_LINE_BYTES = 1 << 30


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine to its end, on uvloop where that is installed."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)
        return
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


async def open_stdin() -> asyncio.StreamReader:
    """Return standard input as a stream; it must be a pipe, a socket or a terminal."""
    reader = asyncio.StreamReader(limit=_LONGEST_LINE_BYTES)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


def allow_many_connections() -> None:
    """Lift the limit on open files as far as this process may.

    The usual limit of 1,024 would cap concurrency below what was asked for.
    """
    try:
        import resource
    except ImportError:  # not on Windows, which has no such limit
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Sender:
    """Writes to a connection so that the bytes leave before `send` returns, where they can.

    uvloop keeps what is written until the end of its turn. With hundreds of streams that is
    milliseconds after the moment that was noted as the time of sending.

    Args:
        transport: of the connection.
    """

    def __init__(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        socket = transport.get_extra_info("socket")
        encrypted = transport.get_extra_info("sslcontext") is not None
        self._fd = None if encrypted or socket is None else socket.fileno()

    def send(self, data: bytes) -> None:
        """Send bytes, after those that still wait to be sent."""
        transport, sent = self._transport, 0
        if (
            self._fd is not None
            and not transport.is_closing()
            and not transport.get_write_buffer_size()
        ):
            # The transport reports a broken connection in its own way.
            with contextlib.suppress(OSError):
                sent = os.write(self._fd, data)
        if sent < len(data):
            transport.write(data[sent:])
