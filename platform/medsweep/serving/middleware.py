"""What stands before every route: the API key, and bounds on headers and bodies."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
from pathlib import Path
from typing import Any

from medsweep.errors import InputError
from medsweep.serving.admission import Limits
from medsweep.serving.api_errors import Refused, as_refused
from medsweep.serving.server_metrics import ServerMetrics

KEY_VARIABLE = "MEDSWEEP_API_KEY"

OPEN_PATHS = frozenset({"/health"})
"""Routes that need no key: probes have none."""

DISCARD_FACTOR = 8
"""A body up to so many times the limit is read and thrown away before it is refused: a client that
is cut off while it sends sees a broken connection instead of the reason."""

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def read_key(file: Path | None) -> str | None:
    """Return the API key out of a file, else out of MEDSWEEP_API_KEY; None where there is neither.

    Raises:
        InputError: the file cannot be read, or the key is empty.
    """
    if file is None:
        key = os.environ.get(KEY_VARIABLE)
        source = KEY_VARIABLE
    else:
        source = str(file)
        try:
            key = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"--api-key-file {file}: {error}") from None
    if key is not None and not key.strip():
        raise InputError(f"{source}: the API key is empty")
    return key.strip() if key is not None else None


def require_key(host: str, key: str | None) -> None:
    """Check that a server which others can reach has a key.

    Raises:
        InputError: it has none.
    """
    if key is None and host not in LOOPBACK:
        raise InputError(
            f"--host {host} can be reached from other machines: give an API key with "
            f"--api-key-file FILE or in the environment variable {KEY_VARIABLE}"
        )


class Guard:
    """An ASGI layer: nothing behind it sees a request without its key or with too long a body.

    Args:
        app: the application behind it.
        key: what `Authorization: Bearer` must carry; None asks for nothing.
        limits: of headers and bodies.
        metrics: counts what is refused.
    """

    def __init__(
        self, app: Any, *, key: str | None, limits: Limits, metrics: ServerMetrics
    ) -> None:
        self._app, self._limits, self._metrics = app, limits, metrics
        self._digest = _digest(key.encode()) if key is not None else None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        sent = False

        async def noting(message: Any) -> None:
            nonlocal sent
            sent = True
            await send(message)

        try:
            self._check_headers(scope)
            body = await self._body(scope, receive)
            if body is None:
                self._metrics.refused("cancelled")
                return
            await self._app(scope, _replay(body, receive), noting)
        except Exception as error:  # noqa: BLE001 the server would log its text
            refused = as_refused(error)
            self._metrics.refused(refused.outcome)
            if sent:
                raise RuntimeError("the answer broke off") from None
            await refused.send(send)

    def _check_headers(self, scope: Any) -> None:
        if len(scope["headers"]) > self._limits.max_headers:
            raise _closing(431, "too_large", f"at most {self._limits.max_headers} headers")
        if self._digest is None or scope["path"] in OPEN_PATHS:
            return
        scheme, _, key = _header(scope, b"authorization").partition(b" ")
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
        """Return the whole body; None if the client has gone."""
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
                408, "timeout", f"the body did not come within {self._limits.body_timeout_s:g} s"
            ) from None
        if size > limit:
            raise too_large
        return b"".join(parts)


def _closing(status: int, outcome: str, message: str) -> Refused:
    # What is left of the request is not read, so the connection cannot be used again.
    return Refused(status, outcome, message, headers={"connection": "close"})


def _replay(body: bytes, receive: Any) -> Any:
    """Return a `receive` that gives the body that was read, then what comes after it."""
    given = False

    async def replaying() -> Any:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replaying


def _header(scope: Any, wanted: bytes) -> bytes:
    return next((value for name, value in scope["headers"] if name == wanted), b"")


def _digest(text: bytes) -> bytes:
    # Comparing digests of one length tells nothing of the key's, either.
    return hashlib.sha256(text).digest()
