"""Errors of requests in OpenAI's format, without any text of a prompt."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from medsweep.errors import InputError, UnknownName
from medsweep.serving.protocol import EngineDied

LOG = logging.getLogger("medsweep.serving")


class Refused(InputError):
    """A request was refused or failed.

    Args:
        status: HTTP status.
        outcome: its outcome in the metrics, one of `medsweep.serving.server_metrics.OUTCOMES`.
        message: message for the client, without any text of the prompt.
        code: OpenAI's error code, if there is one.
        param: the field that is at fault, if it is one.
        headers: further headers of the response.
    """

    def __init__(
        self,
        status: int,
        outcome: str,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        self.status, self.outcome, self.code, self.param = status, outcome, code, param
        self.headers = headers or {}
        super().__init__(message)

    def __reduce__(self) -> tuple[Any, ...]:
        """Make the error picklable, so that Ray can pass it to another process."""
        fields = {"code": self.code, "param": self.param, "headers": self.headers}
        return _refused, (self.status, self.outcome, str(self), fields)

    @property
    def body(self) -> dict[str, Any]:
        """The error in OpenAI's format."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        kind = {401: "authentication_error", 429: "rate_limit_error"}.get(self.status, kind)
        return {
            "error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}
        }

    async def send(self, send: Any) -> None:
        """Send it as the response of an ASGI application."""
        body = json.dumps(self.body).encode()
        headers = {"content-type": "application/json", "content-length": str(len(body))}
        headers |= self.headers
        await send(
            {
                "type": "http.response.start",
                "status": self.status,
                "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            }
        )
        await send({"type": "http.response.body", "body": body})


def as_refused(error: Exception, param: str | None = None) -> Refused:
    """Return the response to the client for an error.

    An error that is not the client's is logged by type and place only, because its text can hold a
    prompt.

    Args:
        error: what was raised.
        param: the field that an error of the client's is about.
    """
    if isinstance(error, Refused):
        return error
    if isinstance(error, UnknownName):
        return Refused(404, "not_found", str(error), code="model_not_found", param="model")
    if isinstance(error, InputError):
        return Refused(400, "invalid", str(error), param=param)
    if isinstance(error, EngineDied):
        LOG.error("generation failed: %s", error)
        return Refused(503, "failed", str(error), code="engine_died")
    place = "".join(traceback.format_tb(error.__traceback__)[-3:])
    LOG.error("generation failed: %s\n%s", type(error).__name__, place)
    return Refused(500, "failed", f"generation failed: {type(error).__name__}")


@contextmanager
def without_text() -> Iterator[None]:
    """Turn every error into `Refused`, because Ray Serve logs the errors of a replica."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 whatever an engine raises
        raise as_refused(error) from None


def _refused(status: int, outcome: str, message: str, fields: dict[str, Any]) -> Refused:
    return Refused(status, outcome, message, **fields)
