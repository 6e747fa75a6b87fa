"""What every request passes before its route: API key, Host and Origin, bounds on its size."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from medsweep.errors import InputError
from medsweep.serving.admission import Limits
from medsweep.serving.api_errors import Refused, as_refused
from medsweep.serving.server_metrics import ServerMetrics

LOG = logging.getLogger("medsweep.serving")

KEY_VARIABLE = "MEDSWEEP_API_KEY"

MIN_KEY_LENGTH = 16
"""Characters of a key that other machines can try to guess."""

OPEN_PATHS = frozenset({"/health"})
"""Routes that need no key: probes have none."""

DISCARD_FACTOR = 8
"""A body up to so many times the limit is read and thrown away before it is refused: a client that
is cut off while it sends sees a broken connection instead of the reason."""

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def read_key(file: Path | None) -> str | None:
    """Return the API key out of a file, else out of MEDSWEEP_API_KEY; None where there is neither.

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
            raise InputError(f"--api-key-file {file}: {error}") from None
    if key is None:
        return None
    key = key.strip()
    if not key:
        raise InputError(f"{source}: the API key is empty")
    if len(key.splitlines()) > 1:
        raise InputError(f"{source}: the API key has several lines; give one")
    return key


def require_key(host: str, key: str | None) -> None:
    """Check that a server which others can reach has a key that cannot be guessed.

    Raises:
        InputError: it has none, or a short one.
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


def _headers(scope: Any, wanted: bytes) -> list[bytes]:
    return [value for name, value in scope["headers"] if name == wanted]


def _refuse_foreign(scope: Any) -> None:
    """Refuse a web page's request to a server without a key.

    A page of a foreign site whose name resolves to the loopback address (DNS rebinding) sends its
    own name as Host; one that posts across sites sends its own Origin.

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
    # Comparing digests of one length tells nothing of the key's, either.
    return hashlib.sha256(text).digest()
