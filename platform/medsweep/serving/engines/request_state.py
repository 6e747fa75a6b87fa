"""One request in an engine, and how the pieces of its answer reach the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field, replace
from typing import Literal

from medsweep.serving.engines.detokenize import TextStream
from medsweep.serving.protocol import Delta, Generation, Start

LONGEST_GATHER_S = 0.02
"""Longest time for which tokens of an answer are gathered into one event; nobody reads faster."""

SHORTEST_GATHER_S = 0.001
"""A timer costs about as much as an event of this length."""


@dataclass(eq=False)
class RequestState:
    """One request; the engine's thread writes, the event loop reads.

    Attributes:
        request: the request.
        prompt_ids: token ids of the prompt.
        stop_ids: tokens that end the answer.
        adapter: the engine's own name of the adapter; None is the base model.
        text: turns its tokens into text.
        loop: event loop in which the client's coroutine waits.
        done: whether no more tokens are needed: it is answered, or the client has gone.
    """

    request: Generation
    prompt_ids: list[int]
    stop_ids: frozenset[int]
    adapter: str | None
    text: TextStream
    loop: asyncio.AbstractEventLoop
    done: bool = False
    _arrived_s: float = field(default_factory=time.perf_counter)
    _began_s: float = 0.0
    _batch_size: int = 0
    _deltas: list[Delta | Exception] = field(default_factory=list)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)
    _ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def most_tokens(self) -> int:
        """Tokens of the prompt and the longest answer."""
        return len(self.prompt_ids) + self.request.max_tokens

    def begin(self, batch_size: int) -> None:
        """Record that its prefill begins now.

        Args:
            batch_size: requests that are being answered together, this one among them.
        """
        self._began_s, self._batch_size = time.perf_counter(), batch_size

    def push(self, token: int) -> None:
        """Take one token from the engine and pass on its text."""
        ended = token in self.stop_ids
        at_limit = self.text.tokens + 1 >= self.request.max_tokens
        text = self.text.push(token, last=ended or at_limit)
        self.done = ended or at_limit or self.text.stopped
        reason: Literal["stop", "length"] | None = None
        if self.done:
            reason = "stop" if ended or self.text.stopped else "length"
        start = self._start() if self.text.tokens == 1 else None
        tokens = len(self.prompt_ids)
        self._send(Delta(text, self.text.tokens, tokens, reason, start, token_ids=(token,)))

    def fail(self, error: Exception) -> None:
        """End the request with an error."""
        self.done = True
        self._send(error)

    async def take(self, gather_s: float) -> Delta:
        """Return the new pieces, joined.

        Args:
            gather_s: seconds to wait, at most LONGEST_GATHER_S, unless the answer ends before.
        """
        if gather_s > SHORTEST_GATHER_S:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), min(gather_s, LONGEST_GATHER_S))
        await self._arrived.wait()
        taken, self._deltas = self._deltas, []
        self._arrived.clear()
        deltas: list[Delta] = []
        for each in taken:
            if isinstance(each, Exception):
                raise each
            deltas.append(each)
        if len(deltas) == 1:  # the usual case, without a copy
            return deltas[0]
        return replace(
            deltas[-1],
            text="".join(delta.text for delta in deltas),
            start=next((delta.start for delta in deltas if delta.start), None),
            token_ids=tuple(token for delta in deltas for token in delta.token_ids),
        )

    def _start(self) -> Start:
        began = self._began_s
        return Start(began - self._arrived_s, time.perf_counter() - began, self._batch_size)

    def _send(self, delta: Delta | Exception) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, so nobody waits
            self.loop.call_soon_threadsafe(self._put, delta)

    def _put(self, delta: Delta | Exception) -> None:
        self._deltas.append(delta)
        self._arrived.set()
        if isinstance(delta, Exception) or delta.finish_reason is not None:
            self._ended.set()
