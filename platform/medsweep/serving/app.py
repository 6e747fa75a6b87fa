"""The HTTP application: OpenAI's routes in front of any engine. It knows nothing of Ray."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse

from medsweep.errors import InputError, UnknownName
from medsweep.serving.openai import (
    Answers,
    ChatRequest,
    CompletionRequest,
    error_body,
    model_list,
)
from medsweep.serving.protocol import Delta, Engine

Lookup = Callable[[str], Awaitable[Engine]]
"""Gives the engine of a served cell; raises UnknownName for a cell that is not served."""


def build_app(lookup: Lookup) -> FastAPI:
    """Return the application.

    Args:
        lookup: finds the engine by the name in the path, `/<name>/v1/...`.
    """
    app = FastAPI(title="MedSweep", docs_url=None, redoc_url=None)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        # The values given are left out: they can be patient data.
        faults = [
            f"{'.'.join(map(str, fault['loc'][1:]))}: {fault['msg']}" for fault in error.errors()
        ]
        return JSONResponse(error_body("; ".join(faults), "invalid_request_error"), 400)

    @app.exception_handler(UnknownName)
    async def unknown(_: Request, error: UnknownName) -> JSONResponse:
        body = error_body(str(error), "invalid_request_error", f"{error.kind}_not_found")
        return JSONResponse(body, 404)

    @app.exception_handler(InputError)
    async def unusable(_: Request, error: InputError) -> JSONResponse:
        return JSONResponse(error_body(str(error), "invalid_request_error"), 400)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/{served}/v1/models")
    async def models(served: str) -> JSONResponse:
        return JSONResponse(model_list((await lookup(served)).models()))

    @app.post("/{served}/v1/chat/completions", response_model=None)
    async def chat(served: str, request: ChatRequest) -> JSONResponse | StreamingResponse:
        return await _answer(await lookup(served), request)

    @app.post("/{served}/v1/completions", response_model=None)
    async def completions(
        served: str, request: CompletionRequest
    ) -> JSONResponse | StreamingResponse:
        return await _answer(await lookup(served), request)

    return app


async def _answer(
    engine: Engine, request: ChatRequest | CompletionRequest
) -> JSONResponse | StreamingResponse:
    known = engine.models()
    if request.model not in known:
        raise UnknownName("model", request.model, known)
    deltas = engine.stream(request.generation())
    answers = Answers(request)
    # Waiting for the first piece here lets a refused request still be answered with its status.
    try:
        first = await anext(deltas)
        if request.stream:
            events = _events(answers, first, deltas)
            return StreamingResponse(events, media_type="text/event-stream")
        whole = [first, *[delta async for delta in deltas]] if not first.finish_reason else [first]
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001 the server would log its text, which can be a prompt
        return JSONResponse(_failure(error), 500)
    return JSONResponse(answers.whole(whole))


async def _events(answers: Answers, first: Delta, rest: AsyncIterator[Delta]) -> AsyncIterator[str]:
    role = answers.first_event()
    if role is not None:
        yield _event(role)
    last = first
    yield _event(answers.event(first))
    try:
        if not first.finish_reason:
            async for last in rest:
                yield _event(answers.event(last))
    except Exception as error:  # noqa: BLE001 the status is sent; the stream must say what happened
        yield _event(_failure(error))
        return
    usage = answers.last_event(last)
    if usage is not None:
        yield _event(usage)
    yield "data: [DONE]\n\n"


def _failure(error: Exception) -> dict[str, Any]:
    return error_body(f"generation failed: {type(error).__name__}", "server_error")


def _event(body: object) -> str:
    return f"data: {json.dumps(body, separators=(',', ':'))}\n\n"
