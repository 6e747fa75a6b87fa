"""The connections of one load: as many as are in flight, kept alive from request to request."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Callable
from urllib.parse import urlsplit

from medsweep.loadgen.connection import Connection, Exchange

Address = tuple[str, int]


def _is_numeric(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class Pool:
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
        self._addresses: list[Address] = []
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
            # A server may close an idle connection in the very moment that we send on it. Nothing
            # came back then, and the request is sent once more.
            if fresh or connection.used:
                raise
            exchange.ended = asyncio.get_running_loop().create_future()
            connection = await self._connect()
            connection.request(message, exchange)
            await exchange.ended
        finally:
            if connection.serves(exchange):
                connection.abort()  # given up: the server stops too
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
            found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
            self._addresses = [(str(info[4][0]), int(info[4][1])) for info in found]
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
                if place:  # the others were not worth trying
                    self._addresses = [(host, port)]
                self._all.add(connection)
                return connection
        raise ConnectionRefusedError
