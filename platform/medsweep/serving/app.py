"""The HTTP application: OpenAI's routes for any engine, independent of Ray."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from medsweep.clock import Clock, MonotonicClock
from medsweep.errors import InputError, StageError
from medsweep.serving.admission import Admission, Limits
from medsweep.serving.api_errors import Refused, as_refused
from medsweep.serving.health import FRESH_S, Health
from medsweep.serving.middleware import Guard
from medsweep.serving.openai import ChatRequest, CompletionRequest, faults_in_words, first_param
from medsweep.serving.protocol import EngineClient
from medsweep.serving.request import GenerationResponse, RequestContext
from medsweep.serving.responses import model_list
from medsweep.serving.server_metrics import ServerMetrics

Lookup = Callable[[str], Awaitable[EngineClient]]
"""Gives the engine of a served cell; raises UnknownName for a cell that is not served."""


class _JsonRequest(Request):
    """A request whose body is parsed by orjson: all others wait while a large body is parsed."""

    async def json(self) -> Any:
        return orjson.loads(await self.body())


class _Route(APIRoute):
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            return await handler(_JsonRequest(request.scope, request.receive))

        return handle


def build_app(
    lookup: Lookup,
    *,
    metrics: ServerMetrics,
    limits: Limits,
    many: bool = False,
    key: str | None = None,
    check: Callable[[], Awaitable[None]] | None = None,
    fault: Callable[[], str | None] = lambda: None,
    fresh_s: float = FRESH_S,
    scrape: Callable[[], Awaitable[bytes]] | None = None,
    clock: Clock | None = None,
) -> FastAPI:
    """Return the application.

    Args:
        lookup: finds the engine by the name in the path; without `many` that is empty.
        metrics: counts and times requests.
        limits: bounds of the server.
        many: put `/<name>` before the routes, one name for every engine.
        key: API key that every route but `/health` asks for.
        check: generates one token, for `/health`; None answers that the ingress is up.
        fault: returns why the engine cannot answer now, for `/health`.
        fresh_s: as in `Health`.
        scrape: gives what `/metrics` says; None leaves the route out.
        clock: what requests are timed with.
    """
    clock = clock or MonotonicClock()
    health = Health(check, clock, fault, fresh_s=fresh_s) if check is not None else None
    context = RequestContext(limits, Admission(limits, clock, metrics), metrics, health, clock)
    app = FastAPI(title="MedSweep", docs_url=None, redoc_url=None)
    app.router.route_class = _Route
    app.add_middleware(Guard, key=key, limits=limits, metrics=metrics)
    _answer_faults(app, metrics)
    _add_generating(app, "/{served}/v1" if many else "/v1", lookup, context)

    @app.get("/health", responses=_errors(503))
    async def healthy() -> dict[str, str]:
        if health is not None:
            try:
                await health.check()
            except StageError as error:
                raise Refused(503, "failed", str(error)) from None
        return {"status": "ok"}

    if scrape is not None:

        @app.get("/metrics", response_class=PlainTextResponse)
        async def scraped() -> Response:
            return Response(await scrape(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return app


def _add_generating(app: FastAPI, prefix: str, lookup: Lookup, context: RequestContext) -> None:
    """Add OpenAI's routes."""
    content: dict[str, Any] = {"application/json": {}, "text/event-stream": {}}
    answers = _errors(400, 404, 408, 413, 429, 500)
    answers[200] = {
        "description": "the answer; a stream if requested",
        "content": content,
    }

    def engine_of(request: Request) -> Awaitable[EngineClient]:
        return lookup(request.path_params.get("served", ""))

    @app.get(f"{prefix}/models", responses=_errors(404))
    async def models(request: Request) -> JSONResponse:
        return JSONResponse(model_list(await (await engine_of(request)).models()))

    @app.post(f"{prefix}/chat/completions", response_class=JSONResponse, responses=answers)
    async def chat(request: Request, body: ChatRequest) -> Response:
        return GenerationResponse(context, await engine_of(request), body)

    @app.post(f"{prefix}/completions", response_class=JSONResponse, responses=answers)
    async def completions(request: Request, body: CompletionRequest) -> Response:
        return GenerationResponse(context, await engine_of(request), body)


def _answer_faults(app: FastAPI, metrics: ServerMetrics) -> None:
    """Answer errors from before a request reaches an engine, in OpenAI's format, and count them."""

    def answer(refused: Refused) -> JSONResponse:
        metrics.refused(refused.outcome)
        return JSONResponse(refused.body, refused.status, refused.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        faults = error.errors()
        words = faults_in_words(faults)
        return answer(Refused(400, "invalid", words, param=first_param(faults)))

    @app.exception_handler(InputError)
    async def unusable(_: Request, error: InputError) -> JSONResponse:
        return answer(as_refused(error))

    @app.exception_handler(HTTPException)
    async def no_route(request: Request, error: HTTPException) -> JSONResponse:
        outcome = "not_found" if error.status_code == 404 else "invalid"
        message = f"{request.method} {request.url.path}: {error.detail}"
        return answer(
            Refused(error.status_code, outcome, message, headers=dict(error.headers or {}))
        )


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI document's description of error responses."""
    text = {"type": "string"}
    fields = {
        "message": text,
        "type": text,
        "param": {"type": ["string", "null"]},
        "code": {"type": ["string", "null"]},
    }
    error = {"type": "object", "properties": fields, "required": list(fields)}
    schema = {"type": "object", "properties": {"error": error}, "required": ["error"]}
    content = {"application/json": {"schema": schema}}
    return {status: {"description": "refused", "content": content} for status in statuses}
