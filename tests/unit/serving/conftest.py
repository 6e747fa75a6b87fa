import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator

import pytest
import uvicorn
from fastapi import FastAPI

from medsweep.errors import InputError, UnknownName
from medsweep.serving.app import build_app
from medsweep.serving.engines.null import NullEngine
from medsweep.serving.protocol import Delta, Engine, Generation

SECRET = "patient-7731-has-gout"
"""Text of a prompt that no error message may hold."""


class ScriptedEngine:
    """Answers as the name of the model says, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Generation] = []
        self.closed = threading.Event()

    def models(self) -> list[str]:
        return ["good", "refuses", "breaks-first", "breaks-later", "endless"]

    async def stream(self, request: Generation) -> AsyncIterator[Delta]:
        self.asked.append(request)
        if request.model == "refuses":
            raise InputError("the prompt has 9 tokens and max_tokens is 5; together they may be 8")
        if request.model == "breaks-first":
            raise RuntimeError(SECRET)
        yield Delta("One", 1, 4)
        if request.model == "breaks-later":
            raise RuntimeError(SECRET)
        try:
            number = 1
            while request.model == "endless":
                await asyncio.sleep(0)  # let the server see that the client has gone
                number += 1
                yield Delta("more ", number, 4)
            yield Delta("", 2, 4)
            yield Delta(" two", 3, 4, "stop")
        finally:
            self.closed.set()


@pytest.fixture
def scripted() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
def app(scripted: ScriptedEngine) -> FastAPI:
    engines: dict[str, Engine] = {"cell": scripted, "null-cell": NullEngine()}

    async def lookup(served: str) -> Engine:
        if served not in engines:
            raise UnknownName("served cell", served, engines)
        return engines[served]

    return build_app(lookup)


@pytest.fixture
def url(app: FastAPI) -> Iterator[str]:
    """The application behind a real server on a free loopback port."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = server.force_exit = True
            thread.join(30)
    assert not thread.is_alive()
