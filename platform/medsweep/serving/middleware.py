"""Checks on every request before its route: API key, Host and Origin, and size."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from medsweep.api_key import clean_key
from medsweep.errors import InputError, cause_of
from medsweep.serving.admission import Limits
from medsweep.serving.api_errors import Refused, as_refused
from medsweep.serving.server_metrics import ServerMetrics

LOG = logging.getLogger("medsweep.serving")

KEY_VARIABLE = "MEDSWEEP_API_KEY"

MIN_KEY_LENGTH = 16
"""Least number of characters of the key of a server that other machines can reach."""

OPEN_PATHS = frozenset({"/health"})
"""Routes that need no key, because probes have none."""

DISCARD_FACTOR = 8
"""A body up to this many times the limit is read and discarded before it is refused: a client that
is cut off while sending sees a broken connection instead of the reason."""

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def read_key(file: Path | None) -> str | None:
    """Return the API key from a file, else from MEDSWEEP_API_KEY; None if there is neither.

    Raises:
        InputError: the file cannot be read, or the key is empty or has several lines.
    """
    if file is None:
        key = os.environ.get(KEY_VARIABLE)
        source = KEY_VARIABLE
    else:
        source = str(file)
        try:
            key = file.read_text(encoding="utf-8")
            if file.stat().st_mode & 0o077:
                LOG.warning("%s: other users can read the API key; run chmod 600 on it", file)
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"--api-key-file {file}: cannot be read: {cause_of(error)}") from None
    if key is None:
        return None
    return clean_key(key, source)


def require_key(host: str, key: str | None) -> None:
    """Check that a server that other machines can reach has a key that cannot be guessed.

    Raises:
        InputError: it has no key, or a short one.
    """
    if host in LOOPBACK:
        return
    if key is None:
        raise InputError(
            f"--host {host} can be reached from other machines: give an API key with "
            f"--api-key-file FILE or in the environment variable {KEY_VARIABLE}"
        )
    if len(key) < MIN_KEY_LENGTH:
        raise InputError(
            f"the API key has {len(key)} characters; a server that other machines can reach needs "
            f"at least {MIN_KEY_LENGTH} (for example: openssl rand -hex 32)"
        )


class Guard:
    """ASGI middleware that refuses requests without the API key or with too long a body.

    Args:
        app: the application that it protects.
        key: the key that `Authorization: Bearer` must carry; None requires none.
        limits: limits of headers and bodies.
        metrics: counts refused requests.
    """

    def __init__(
        self, app: Any, *, key: str | None, limits: Limits, metrics: ServerMetrics
    ) -> None:
        self._app, self._limits, self._metrics = app, limits, metrics
        self._digest = _digest(key.encode()) if key is not None else None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass one request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        sent = False

        async def send_and_note(message: Any) -> None:
            nonlocal sent
            sent = True
            await send(message)

        try:
            self._check_headers(scope)
            body = await self._body(scope, receive)
            if body is None:
                self._metrics.refused("cancelled")
                return
            await self._app(scope, _replay(body, receive), send_and_note)
        except Exception as error:  # noqa: BLE001 the server would log its text
            refused = as_refused(error)
            self._metrics.refused(refused.outcome)
            if sent:
                raise RuntimeError("the answer broke off") from None
            await refused.send(send)

    def _check_headers(self, scope: Any) -> None:
        if len(scope["headers"]) > self._limits.max_headers:
            raise _closing(431, "too_large", f"at most {self._limits.max_headers} headers")
        if self._digest is None:
            _refuse_foreign(scope)
            return
        if scope["path"] in OPEN_PATHS:
            return
        authorizations = _headers(scope, b"authorization")
        if len(authorizations) > 1:
            raise _closing(400, "invalid", "send one Authorization header")
        scheme, _, key = (authorizations or [b""])[0].partition(b" ")
        right = hmac.compare_digest(_digest(key.strip()), self._digest)
        if scheme.lower() != b"bearer" or not right:
            raise Refused(
                401,
                "unauthorized",
                "missing or wrong API key; send `Authorization: Bearer KEY`",
                code="invalid_api_key",
                headers={"www-authenticate": "Bearer", "connection": "close"},
            )

    async def _body(self, scope: Any, receive: Any) -> bytes | None:
        """Return the complete body; None if the client has disconnected."""
        limit = self._limits.max_body_bytes
        announced = next(
            (value for name, value in scope["headers"] if name == b"content-length"), b"0"
        )
        too_large = _closing(413, "too_large", f"the body may have at most {limit} bytes")
        if announced.isdigit() and int(announced) > limit * DISCARD_FACTOR:
            raise too_large
        parts, size = [], 0
        try:
            async with asyncio.timeout(self._limits.body_timeout_s):
                more = True
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    part, more = message.get("body", b""), message.get("more_body", False)
                    size += len(part)
                    if size <= limit:
                        parts.append(part)
                    elif size > limit * DISCARD_FACTOR:
                        raise too_large
        except TimeoutError:
            raise _closing(
                408, "timeout", f"the body did not arrive within {self._limits.body_timeout_s:g} s"
            ) from None
        if size > limit:
            raise too_large
        return b"".join(parts)


def _closing(status: int, outcome: str, message: str) -> Refused:
    # The rest of the request is not read, so the connection cannot be reused.
    return Refused(status, outcome, message, headers={"connection": "close"})


def _replay(body: bytes, receive: Any) -> Any:
    """Return a `receive` that first returns the body already read, then later messages."""
    replayed = False

    async def receive_again() -> Any:
        nonlocal replayed
        if replayed:
            return await receive()
        replayed = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again


def _headers(scope: Any, header: bytes) -> list[bytes]:
    return [value for name, value in scope["headers"] if name == header]


def _refuse_foreign(scope: Any) -> None:
    """Refuse requests of foreign web pages to a server without a key.

    A page whose host name resolves to the loopback address (DNS rebinding) sends its own name as
    Host; a page that posts across sites sends its own Origin.

    Raises:
        Refused: Host or Origin is not this machine.
    """
    names = [f"//{value.decode('latin-1')}" for value in _headers(scope, b"host")]
    names += [value.decode("latin-1") for value in _headers(scope, b"origin")]
    for name in names:
        try:
            host = urlsplit(name).hostname
        except ValueError:
            host = None
        if host not in LOOPBACK:
            raise _closing(
                403,
                "unauthorized",
                "without an API key this server answers only requests to 127.0.0.1 or localhost; "
                "check the Host and Origin headers",
            )


def _digest(text: bytes) -> bytes:
    # Digests have equal lengths, so that comparing them does not reveal the key's length.
    return hashlib.sha256(text).digest()
