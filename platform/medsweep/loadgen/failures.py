"""How one request can fail, and when there are too many that did.

connect        no connection to the server
timeout        no complete answer in time
http_<code>    the server answered with that status instead of 200
server_error   an error object in the middle of the stream
closed_early   the stream ended with neither `[DONE]` nor a finish reason
garbage        an answer that is not a stream of JSON events
"""

from __future__ import annotations

from collections import Counter

import aiohttp

from medsweep.errors import StageError


class RequestError(Exception):
    """One request failed; becomes a record, and never leaves the load generator.

    Args:
        kind: one of the kinds above.
        words: what happened, short, and free of anything that was asked or answered.
    """

    def __init__(self, kind: str, words: str) -> None:
        self.kind, self.words = kind, words[:120]
        super().__init__(f"{kind}: {self.words}")


# All that aiohttp and the reading of a stream raise for reasons outside this program.
TRANSPORT_ERRORS = (aiohttp.ClientError, OSError, ValueError)


def as_failure(error: Exception) -> RequestError:
    """Return the failure that one of `TRANSPORT_ERRORS` stands for."""
    name = type(error).__name__
    # The order matters: aiohttp's time-outs and connection errors are OSErrors too.
    if isinstance(error, TimeoutError):
        return RequestError("timeout", "no complete answer in time")
    if isinstance(error, aiohttp.ClientConnectorError):
        return RequestError("connect", f"{name}: {error.os_error.strerror or 'no reason given'}")
    if isinstance(error, (aiohttp.ClientResponseError, ValueError)):
        return RequestError("garbage", f"{name}: not a stream of JSON events")
    return RequestError("closed_early", f"{name}: the connection broke")


class LoadAborted(StageError):
    """Too many requests failed, so that the rest would measure nothing."""


class Tally:
    """Counts how requests ended.

    Args:
        max_error_rate: share of failures above which `count` raises.
    """

    # Below this a single failure would already be a large share.
    _ENOUGH = 10

    def __init__(self, max_error_rate: float) -> None:
        self._max_error_rate = max_error_rate
        self._by_status: Counter[str] = Counter()

    def count(self, status: str) -> None:
        """Count one more request.

        Raises:
            LoadAborted: at least 10 requests have ended and too large a share of them failed.
        """
        self._by_status[status] += 1
        total = self._by_status.total()
        failed = total - self._by_status["ok"]
        if total >= self._ENOUGH and failed > self._max_error_rate * total:
            kinds = [f"{kind} {n}" for kind, n in self._by_status.most_common() if kind != "ok"]
            raise LoadAborted(f"{failed} of {total} requests failed: {', '.join(kinds)}")
