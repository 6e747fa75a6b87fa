"""The life of one request: it is admitted, answered, and releases what it held."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, replace
from typing import Any, cast

from starlette.responses import Response

from medsweep.clock import Clock
from medsweep.serving.admission import Admission, Limits
from medsweep.serving.api_errors import Refused, as_refused
from medsweep.serving.health import Health
from medsweep.serving.openai import ChatRequest, CompletionRequest
from medsweep.serving.protocol import Delta, EngineClient, Generation
from medsweep.serving.responses import ResponseWriter, sse
from medsweep.serving.server_metrics import RequestTimes, ServerMetrics

STREAM_HEADERS = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")]

REFUSAL_TIMEOUT_S = 5.0
"""Longest time to send a timeout error to a client that has stopped reading."""


@dataclass
class RequestContext:
    """Objects that all requests of one server share.

    Attributes:
        limits: the server's limits.
        admission: admits requests.
        metrics: counts and times requests.
        health: records every token; None without health checks.
        clock: measures all times.
    """

    limits: Limits
    admission: Admission
    metrics: ServerMetrics
    health: Health | None
    clock: Clock

    def generation(self, request: ChatRequest | CompletionRequest) -> Generation:
        """Return the request to the engine.

        Raises:
            Refused: the request asks for more output tokens than allowed.
        """
        limit = self.limits.max_output_tokens
        if (request.output_limit or 0) > limit:
            words = f"max_tokens: an answer may have at most {limit} tokens"
            raise Refused(400, "invalid", words, param="max_tokens")
        generation = request.generation()
        return replace(
            generation,
            max_tokens=min(generation.max_tokens, limit),
            max_prompt_tokens=self.limits.max_prompt_tokens,
        )


class GenerationResponse(Response):
    """Answers one request as an ASGI application: waits for a slot, generates, sends.

    However it ends (last token, disconnected client, time limit, error), it closes the engine's
    stream, which stops the computation, and frees its slot.

    Args:
        context: objects shared by all requests.
        engine: generates the answer.
        request: body of the request.

    Raises:
        Refused: the request asks for more output tokens than allowed.
    """

    def __init__(
        self,
        context: RequestContext,
        engine: EngineClient,
        request: ChatRequest | CompletionRequest,
    ) -> None:
        super().__init__()
        self._context, self._engine = context, engine
        self._generation = context.generation(request)
        self._streamed = bool(request.stream)
        self._answers = ResponseWriter(request)
        self._times = RequestTimes("", context.clock.now())
        self._begun = self._complete = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer, until the client disconnects or the time limit is reached."""
        work = asyncio.create_task(self._work(send))
        disconnected = asyncio.create_task(_disconnected(receive))
        outcome = "cancelled"
        try:
            limit_s = self._context.limits.timeout_s
            done, _ = await asyncio.wait(
                {work, disconnected}, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED
            )
            if self._complete:
                # A server says "gone" after an answer that was taken, too.
                await asyncio.wait({work})
            if work.done():
                outcome = work.result()
            elif not done:
                outcome = "timeout"
        finally:
            disconnected.cancel()
            try:
                if not work.done():
                    work.cancel()
                    await asyncio.wait({work})
            finally:
                # Ray Serve may cancel this while it waits: the request is still to be counted.
                self._context.metrics.ended(outcome, self._times, self._context.clock.now())
        if outcome == "timeout":
            message = f"not answered within {self._context.limits.timeout_s:g} s"
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REFUSAL_TIMEOUT_S):
                    await self._refuse(Refused(408, "timeout", message), send)

    async def _work(self, send: Any) -> str:
        """Answer; return the outcome."""
        try:
            async with self._context.admission.place():
                self._times.begun_s = self._context.clock.now()
                stream = cast("AsyncGenerator[Delta, None]", self._engine.stream(self._generation))
                async with contextlib.aclosing(stream) as deltas:
                    if self._streamed:
                        await self._send_events(deltas, send)
                    else:
                        await self._send_complete(deltas, send)
        except Exception as error:  # noqa: BLE001 the server would log its text, which can be a prompt
            refused = as_refused(error, "messages" if self._generation.messages else "prompt")
            if refused.status >= 500 and self._context.health is not None:
                self._context.health.failed()
            await self._refuse(refused, send)
            return refused.outcome
        return "ok"

    async def _send_events(self, deltas: AsyncIterator[Delta], send: Any) -> None:
        answers = self._answers
        async for delta in deltas:
            self._note(delta)
            events = answers.event(delta)
            if not self._begun:
                # Only now: a request that the engine refuses is still answered with its status.
                await self._begin(200, STREAM_HEADERS, send)
                events = answers.first_event() + events
            if delta.finish_reason is not None:
                last = events + answers.last_events(delta)
                self._complete = True
                await send({"type": "http.response.body", "body": last})
                return
            await send({"type": "http.response.body", "body": events, "more_body": True})
        raise RuntimeError("the engine's stream ended before the answer")

    async def _send_complete(self, deltas: AsyncIterator[Delta], send: Any) -> None:
        complete = []
        async for delta in deltas:
            self._note(delta)
            complete.append(delta)
            if delta.finish_reason is not None:
                break
        else:
            raise RuntimeError("the engine's stream ended before the answer")
        body = json.dumps(self._answers.complete(complete)).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
        ]
        await self._begin(200, headers, send)
        self._complete = True
        await send({"type": "http.response.body", "body": body})

    async def _begin(self, status: int, headers: list[tuple[bytes, bytes]], send: Any) -> None:
        self._begun = True
        await send({"type": "http.response.start", "status": status, "headers": headers})

    async def _refuse(self, refused: Refused, send: Any) -> None:
        if self._begun:
            # The status is sent; the stream must say what happened, and must not look done.
            await send({"type": "http.response.body", "body": sse(refused.body)})
        else:
            await refused.send(send)

    def _note(self, delta: Delta) -> None:
        """Record one piece of the answer for the metrics."""
        times, now_s = self._times, self._context.clock.now()
        if not times.model:
            # Only now is the name known to be one of ours, and not an arbitrary text.
            times.model = self._generation.model
        if self._context.health is not None:
            self._context.health.token()
        if delta.start is not None:
            times.engine_queue_s = delta.start.queue_s
            times.prefill_s = delta.start.prefill_s
            times.batch_size = delta.start.batch_size
        tokens = delta.output_tokens - times.output_tokens
        times.prompt_tokens, times.output_tokens = delta.prompt_tokens, delta.output_tokens
        if times.first_text_s is None:
            if delta.text:
                times.first_text_s = times.last_s = now_s
        elif tokens:
            times.token_s.append((now_s - times.last_s, tokens))
            times.last_s = now_s


async def _disconnected(receive: Any) -> None:
    """Return when the client has disconnected."""
    while (await receive())["type"] != "http.disconnect":
        pass
