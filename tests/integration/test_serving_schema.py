"""Requests made up from the server's own OpenAPI document, right ones and wrong ones."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings

from medsweep.clock import MonotonicClock
from medsweep.serving.admission import Limits
from medsweep.serving.app import build_app
from medsweep.serving.config import ServeConfig
from medsweep.serving.engines.null import NULL_MODEL
from medsweep.serving.openai import MAX_LOGPROBS, MAX_MODEL_NAME
from medsweep.serving.protocol import EngineClient
from medsweep.serving.server_metrics import PrometheusSink, ServerMetrics
from medsweep.serving.service import open_service

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


LONGEST = 64


def null_app() -> Any:
    sink = PrometheusSink()
    metrics = ServerMetrics([sink])
    engine = open_service(ServeConfig(engine="null"), metrics, MonotonicClock())

    async def lookup(_: str) -> EngineClient:
        return engine

    async def scrape() -> bytes:
        return sink.text()

    limits = Limits(max_output_tokens=LONGEST)
    app = build_app(lookup, metrics=metrics, limits=limits, check=engine.check, scrape=scrape)

    async def local(scope: Any, receive: Any, send: Any) -> None:
        """The client's own Host is `testserver`, which a server without a key refuses."""
        headers = [header for header in scope["headers"] if header[0] != b"host"]
        await app({**scope, "headers": headers}, receive, send)

    return local


schema = schemathesis.openapi.from_asgi("/openapi.json", null_app())


def fit(body: Any) -> None:
    """Ask for the model that there is, for no long answer and for nothing that this engine lacks.

    What is wrong stays wrong.
    """
    if not isinstance(body, dict):
        return
    if isinstance(body.get("model"), str) and len(body["model"]) <= MAX_MODEL_NAME:
        body["model"] = NULL_MODEL
    for name in ("max_tokens", "max_completion_tokens"):
        if isinstance(body.get(name), int | float) and not isinstance(body[name], bool):
            body[name] = min(body[name], LONGEST)
    if body.get("echo") is True:
        body["echo"] = False
    logprobs = body.get("logprobs")
    if "prompt" in body and type(logprobs) in (int, float) and logprobs in range(MAX_LOGPROBS + 1):
        body["logprobs"] = None


@schema.parametrize()
@settings(
    max_examples=60,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_one_that_the_document_promises(case: Any) -> None:
    fit(case.body)
    case.call_and_validate()
