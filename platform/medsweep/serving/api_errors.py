"""What went wrong with a request, in OpenAI's shape and without any text of a prompt."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from medsweep.errors import InputError, UnknownName

LOG = logging.getLogger("medsweep.serving")


class Refused(InputError):
    """A request that is not answered.

    Args:
        status: HTTP status.
        outcome: what the metrics count it as, one of `medsweep.serving.server_metrics.OUTCOMES`.
        message: for the client; no text of the prompt.
        code: OpenAI's short name of the fault, where there is one.
        headers: of the response, besides the usual ones.
    """

    def __init__(
        self,
        status: int,
        outcome: str,
        message: str,
        *,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        self.status, self.outcome, self.code = status, outcome, code
        self.headers = headers or {}
        super().__init__(message)

    def __reduce__(self) -> tuple[Any, ...]:
        """Let Ray carry it to another process."""
        return _refused, (self.status, self.outcome, str(self), self.code, self.headers)

    @property
    def body(self) -> dict[str, Any]:
        """The fault in OpenAI's shape."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        kind = {401: "authentication_error", 429: "rate_limit_error"}.get(self.status, kind)
        return {"error": {"message": str(self), "type": kind, "param": None, "code": self.code}}

    async def send(self, send: Any) -> None:
        """Answer with it, as an ASGI application does."""
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


def as_refused(error: Exception) -> Refused:
    """Return what the client is told of an error.

    An error that is not the client's is logged by its type and place; its own text can hold a
    prompt, so it goes nowhere.
    """
    if isinstance(error, Refused):
        return error
    if isinstance(error, UnknownName):
        return Refused(404, "not_found", str(error), code="model_not_found")
    if isinstance(error, InputError):
        return Refused(400, "invalid", str(error))
    place = "".join(traceback.format_tb(error.__traceback__)[-3:])
    LOG.error("generation failed: %s\n%s", type(error).__name__, place)
    return Refused(500, "failed", f"generation failed: {type(error).__name__}")


@contextmanager
def without_text() -> Iterator[None]:
    """Let only `Refused` out, for Ray Serve, which logs what comes out of a replica."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 whatever an engine raises
        raise as_refused(error) from None


def _refused(
    status: int, outcome: str, message: str, code: str | None, headers: dict[str, str]
) -> Refused:
    return Refused(status, outcome, message, code=code, headers=headers)
