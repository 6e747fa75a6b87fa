"""The ways in which a request can fail, and the limit on their number.

connect        no connection to the server: refused, no such host, no route
client         this machine has no more connections, ports or memory to give
tls            the server's certificate is not trusted, or it does not speak TLS
timeout        no complete answer in time
http_<code>    the server answered with that status instead of 200
model_refused  the server does not know the model that was asked for
html           a web page instead of an answer: the address is not that of the API
server_error   an error in the stream or in place of it, or a finish reason such as `abort`
closed_early   the stream ended with neither `[DONE]` nor a finish reason
too_long       the answer went on past any length that an answer has
compressed     a compressed answer, although none was accepted
garbage        an answer that is not a stream of completion chunks
"""

from __future__ import annotations

import errno
import socket
import ssl
from collections import Counter
from collections.abc import Mapping

from medsweep.errors import StageError
from medsweep.loadgen.server_errors import without_quotes

CLIENT = "client"
"""The kind of failure that the client's machine causes."""

_KEY = (
    "give the variable that holds the API key: with --api-key-env, or as `api_key_env` of a "
    "sweep's server"
)

ADVICE = {
    "connect": "is the server up, and are host and port those of the URL?",
    CLIENT: "not the server's fault: lower the load, or lift this machine's limit (ulimit -n)",
    "tls": "for a certificate of your own set SSL_CERT_FILE to its authority; "
    "for a server without TLS write http://",
    "timeout": "the server is overloaded, or never ends an answer: lower the load, "
    "or allow more time with --timeout",
    "closed_early": "the server closed the connection early: check its log",
    "server_error": "the server failed while answering: check its log",
    "too_long": "does the server respect --max-tokens?",
    "model_refused": "give the server's own name of the model: with --model, or as `base` or "
    "`adapter` of a sweep's server",
    "html": "the URL must be the API's root with its version, such as http://host:8000/v1",
    "http_400": "the server rejects the request: is --max-tokens, or a prompt, too long for the "
    "model?",
    "http_401": _KEY,
    "http_403": _KEY,
    "http_404": "the URL must be the API's root with its version, such as http://host:8000/v1; "
    "--endpoint completions or chat must be one that the server has",
    "http_429": "the server limits the rate: lower the load, or lift the limit",
    "compressed": "switch compression off in the server, or in the proxy before it: compressed "
    "answers come in lumps, which hides when each token came",
    "garbage": "is this an OpenAI-compatible server that streams?",
}
"""Remedies by kind of failure."""


def advice_for(kind: str) -> str | None:
    """Return the remedy for a kind of failure; None where there is none."""
    if kind.startswith("http_3"):
        return "the server redirects: give the address that it redirects to"
    return ADVICE["server_error"] if kind.startswith("http_5") else ADVICE.get(kind)


class RequestError(Exception):
    """One request failed; becomes a record, and never leaves the load generator.

    Args:
        kind: one of the kinds above.
        words: what happened, short, and free of anything that was asked or answered.
        message: the server's own words, which may quote both; None if it gave none.
    """

    def __init__(self, kind: str, words: str, message: str | None = None) -> None:
        self.kind, self.words, self.message = kind, words[:120], message
        super().__init__(f"{kind}: {self.words}")

    def told(self, *private: str) -> str:
        """Return what happened, with the server's own words but without these texts."""
        message = self.message and without_quotes(self.message, private)
        return f"{self.words}: {message}" if message else self.words


# The client's machine has run out of files, ports or memory.
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM}

# Everything that connecting and reading raise for reasons outside this program.
TRANSPORT_ERRORS = (OSError, ValueError)


def as_failure(error: Exception, *, connected: bool) -> RequestError:
    """Return the failure for one of `TRANSPORT_ERRORS`.

    Args:
        error: what was raised.
        connected: whether there was a connection when it was.
    """
    name = type(error).__name__
    # The order matters: time-outs, TLS and address errors are OSErrors too.
    if isinstance(error, ssl.SSLError):
        reason = getattr(error, "verify_message", None) or error.reason or "no reason given"
        return RequestError("tls", f"{name}: {reason}")
    if isinstance(error, TimeoutError):
        return RequestError("timeout", "no complete answer in time")
    if isinstance(error, OSError) and error.errno in _EXHAUSTED:
        return RequestError(CLIENT, f"{name}: {error.strerror}")
    if isinstance(error, ValueError):
        return RequestError("garbage", f"{name}: not a stream of JSON events")
    if connected:
        return RequestError("closed_early", f"{name}: the connection broke")
    if isinstance(error, socket.gaierror):
        return RequestError("connect", f"{name}: no such host")
    reason = getattr(error, "strerror", None) or "no reason given"
    return RequestError("connect", f"{name}: {reason}")


class LoadAborted(StageError):
    """Too many requests failed, so that the rest would measure nothing."""


class FailureTally:
    """Counts how requests ended.

    Args:
        max_error_rate: share of failures above which `count` raises.
    """

    # Below this a single failure would already be a large share.
    _ENOUGH = 10

    def __init__(self, max_error_rate: float) -> None:
        self._max_error_rate = max_error_rate
        self.by_status: Counter[str] = Counter()

    def count(self, status: str) -> None:
        """Count one more request.

        Raises:
            LoadAborted: at least 10 requests have ended and too large a share of them failed.
        """
        self.by_status[status] += 1
        total = self.by_status.total()
        failed = total - self.by_status["ok"]
        if total >= self._ENOUGH and failed > self._max_error_rate * total:
            raise LoadAborted(f"{failed} of {total} requests failed: {kinds_of(self.by_status)}")


def kinds_of(by_status: Mapping[str, int]) -> str:
    """Return failures by kind, most frequent first: `timeout 3, connect 1`."""
    kinds = Counter({kind: n for kind, n in by_status.items() if kind != "ok"})
    return ", ".join(f"{kind} {n}" for kind, n in kinds.most_common())
