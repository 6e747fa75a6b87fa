import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI

from medsweep.clock import Clock, MonotonicClock
from medsweep.errors import InputError, UnknownName
from medsweep.serving.admission import Limits
from medsweep.serving.app import build_app
from medsweep.serving.config import ServeConfig
from medsweep.serving.protocol import Delta, EngineClient, Generation, Start
from medsweep.serving.server_metrics import PrometheusSink, ServerMetrics
from medsweep.serving.service import open_service

SECRET = "patient-7731-has-gout"
"""Text of a prompt that no error message may hold."""


class ScriptedEngine:
    """Answers as the name of the model says, and remembers what it was asked."""

    known = ("good", "refuses", "breaks-first", "breaks-later", "endless", "waits")

    def __init__(self) -> None:
        self.asked: list[Generation] = []
        self.running = 0
        self.closed = threading.Event()
        self.checks = 0
        self.healthy = True
        self.go_on = asyncio.Event()

    async def models(self) -> list[str]:
        return list(self.known)

    async def stream(self, request: Generation) -> AsyncIterator[Delta]:
        self.asked.append(request)
        if request.model not in self.known:
            raise UnknownName("model", request.model, self.known)
        if request.model == "refuses":
            raise InputError("the prompt has 9 tokens and max_tokens is 5; together they may be 8")
        if request.model == "breaks-first":
            raise RuntimeError(SECRET)
        self.running += 1
        try:
            if request.model == "waits":
                await self.go_on.wait()
            yield Delta("One", 1, 4, start=Start(0.5, 0.25, 2))
            if request.model == "breaks-later":
                raise RuntimeError(SECRET)
            number = 1
            while request.model == "endless":
                await asyncio.sleep(0)  # let the server see that the client has gone
                number += 1
                yield Delta("more ", number, 4)
            yield Delta("", 2, 4)
            yield Delta(" two", 3, 4, "stop")
        finally:
            await asyncio.sleep(0.001)  # ending takes a moment
            self.running -= 1
            self.closed.set()

    async def check(self) -> None:
        self.checks += 1
        if not self.healthy:
            raise RuntimeError(SECRET)


@pytest.fixture
def scripted() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
def app(scripted: ScriptedEngine) -> FastAPI:
    """The ingress of a sweep: several engines by the first part of the path."""
    null = open_service(ServeConfig(engine="null"), ServerMetrics([]), MonotonicClock())
    engines: dict[str, EngineClient] = {"cell": scripted, "null-cell": null}

    async def lookup(served: str) -> EngineClient:
        if served not in engines:
            raise UnknownName("served cell", served, engines)
        return engines[served]

    return build_app(lookup, metrics=ServerMetrics([]), limits=Limits(), many=True)


@pytest.fixture
def serve_app(scripted: ScriptedEngine) -> Callable[..., FastAPI]:
    """Builds the application of one engine; give it limits and the rest of `build_app`'s."""

    def build(
        engine: Any = scripted, key: str | None = None, clock: Clock | None = None, **limits: Any
    ) -> FastAPI:
        async def lookup(_: str) -> EngineClient:
            return engine

        async def scrape() -> bytes:
            return sink.text()

        sink = PrometheusSink()
        return build_app(
            lookup,
            metrics=ServerMetrics([sink]),
            limits=Limits(**limits),
            clock=clock,
            key=key,
            check=engine.check,
            scrape=scrape,
        )

    return build


@contextmanager
def listening(app: Any, **config: Any) -> Iterator[str]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off", **config))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = server.force_exit = True
            thread.join(30)
    assert not thread.is_alive()


@pytest.fixture
def behind_http() -> Callable[..., AbstractContextManager[str]]:
    """Runs an application behind a real server on a free loopback port."""
    return listening


@pytest.fixture
def url(app: FastAPI) -> Iterator[str]:
    """The URL of `app` behind a real server."""
    with listening(app) as url:
        yield url


class Call:
    """One request to an application, without a server between: its client can go at any moment."""

    def __init__(self, app: Any, path: str, body: dict[str, Any]) -> None:
        self._body: bytes | None = json.dumps(body).encode()
        self._sent: list[dict[str, Any]] = []
        self.went = asyncio.Event()
        self.something_came = asyncio.Event()
        self.reads = True
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "scheme": "http",
            "headers": [(b"content-type", b"application/json")],
        }
        self.task = asyncio.create_task(app(scope, self._receive, self._send))

    @property
    def status(self) -> int:
        return int(self._sent[0]["status"])

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self._sent[0]["headers"])

    @property
    def text(self) -> str:
        return b"".join(message.get("body", b"") for message in self._sent).decode()

    async def _receive(self) -> dict[str, Any]:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self.went.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        self._sent.append(message)
        if message.get("body"):
            self.something_came.set()
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self.went.set()  # a server says so too when the answer is complete
        if not self.reads:
            await asyncio.Event().wait()


@pytest.fixture
def chat_call() -> Callable[..., Call]:
    """Sends a chat request to an application; give it further fields of the body."""

    def call(app: Any, model: str, **fields: Any) -> Call:
        messages = [{"role": "user", "content": SECRET}]
        return Call(app, "/v1/chat/completions", {"model": model, "messages": messages, **fields})

    return call
