"""One streaming request over HTTP, and the record of it."""

from __future__ import annotations

import os
from typing import Any, Literal

import aiohttp

from medsweep.clock import Clock
from medsweep.errors import StageError
from medsweep.loadgen.answer import Answer
from medsweep.loadgen.failures import TRANSPORT_ERRORS, RequestError, as_failure
from medsweep.loadgen.spec import LoadJob, Prompt
from medsweep.loadgen.sse import SseParser
from medsweep.metrics.definitions import RequestRecord


def open_session(job: LoadJob) -> aiohttp.ClientSession:
    """Return a session for all requests of one job; it is the caller's to close.

    Raises:
        StageError: the environment variable for the API key is not set.
    """
    # Compressed answers come in lumps, which would show as gaps that the model did not make.
    headers = {"Accept-Encoding": "identity"}
    if job.api_key_env is not None:
        if job.api_key_env not in os.environ:
            raise StageError(f"environment variable {job.api_key_env} (API key) is not set")
        headers["Authorization"] = f"Bearer {os.environ[job.api_key_env]}"
    return aiohttp.ClientSession(
        # The default of 100 connections would cap concurrency without a word. aiohttp sets
        # TCP_NODELAY itself and keeps connections alive.
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=job.timeout_s),
        headers=headers,
    )


async def send(
    session: aiohttp.ClientSession,
    job: LoadJob,
    prompt: Prompt,
    *,
    index: int,
    phase: Literal["warmup", "measure", "cooldown"],
    due_s: float | None,
    clock: Clock,
) -> RequestRecord:
    """Send one prompt and read its answer to the end.

    Args:
        session: from `open_session`.
        job: server, model and limits.
        prompt: what to ask.
        index: place of the request in the load, from 0.
        phase: what the request is sent for.
        due_s: when it was meant to leave, in seconds on `clock`; None in closed loop.
        clock: what everything is timed with.

    Returns:
        The record of the request. A failure is a record too, with its kind as `status`.
    """
    body = _body(job, prompt)
    answer = Answer()
    failure: RequestError | None = None
    sent_s = clock.now()
    try:
        await _stream(session, job.url, body, answer, clock)
    except RequestError as error:
        failure = error
    except TRANSPORT_ERRORS as error:
        # A connection that breaks after [DONE] took nothing away.
        failure = as_failure(error) if answer.done_s is None else None
    return RequestRecord(
        index=index,
        phase=phase,
        question_id=prompt.question_id,
        due_s=due_s,
        sent_s=sent_s,
        first_text_s=answer.first_text_s,
        end_s=clock.now() if answer.done_s is None else answer.done_s,
        chunk_gaps_s=answer.chunk_gaps_s,
        chunk_tokens=answer.chunk_tokens,
        prompt_tokens=answer.prompt_tokens,
        output_tokens=answer.output_tokens,
        token_source=None if answer.output_tokens is None else "usage",
        finish_reason=answer.finish_reason,
        status=failure.kind if failure else "ok",
        error=failure.words if failure else None,
        text=answer.text,
    )


async def _stream(
    session: aiohttp.ClientSession, url: str, body: dict[str, Any], answer: Answer, clock: Clock
) -> None:
    async with session.post(url, json=body, allow_redirects=False) as response:
        if response.status != 200:
            await response.read()  # an unread answer would cost the connection
            raise RequestError(f"http_{response.status}", response.reason or "no reason given")
        if response.content_type != "text/event-stream":
            raise RequestError("garbage", f"{response.content_type}, not an event stream")
        parser = SseParser()
        # Read on after [DONE] to the end of the response, so that the connection can be used again.
        async for data in response.content.iter_any():
            received_s = clock.now()
            for event in parser.feed(data):
                answer.take(event, received_s)
    if not answer.complete:
        raise RequestError("closed_early", "the stream ended without [DONE] or a finish reason")


def _body(job: LoadJob, prompt: Prompt) -> dict[str, Any]:
    chat = job.endpoint == "chat"
    asked = {"messages": [{"role": "user", "content": prompt.text}]} if chat else None
    return {
        "model": job.model,
        **(asked or {"prompt": prompt.text}),
        "max_tokens": job.max_tokens,
        "temperature": job.temperature,
        "stream": True,
        # With the second option a server that knows it counts tokens in every chunk, which is the
        # only way to tell a chunk from a token.
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
    }
