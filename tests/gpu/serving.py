"""An engine of the product with adapters, and requests to it."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpu.device import released
from gpu.models import adapters_of
from medsweep.models.spec import ModelSpec
from medsweep.serving.engines import open_engine
from medsweep.serving.protocol import Engine, EngineSettings, Generation


@dataclass(frozen=True)
class Answered:
    """One answer.

    Attributes:
        first_s: from the request to the first piece, in seconds.
        whole_s: to the last.
        tokens: of the answer.
        text: of the answer.
    """

    first_s: float
    whole_s: float
    tokens: int
    text: str


@contextmanager
def opened(
    kind: str,
    spec: ModelSpec,
    folder: Path,
    *,
    dtype: str,
    quantization: str = "none",
    adapters: int = 0,
    **more: Any,
) -> Iterator[Engine]:
    """Open an engine, and close it at the end; further settings are those of `EngineSettings`."""
    made = adapters_of(spec, folder, adapters)
    with released():
        engine = open_engine(
            EngineSettings(
                engine=kind,
                model=spec,
                dtype=dtype,
                quantization=quantization,
                base=folder,
                adapters=made,
                **more,
            )
        )
        try:
            yield engine
        finally:
            engine.close()
            del engine


def ask(
    engine: Engine,
    models: Sequence[str],
    max_tokens: int,
    *,
    words: int = 60,
    first: int = 0,
    beginning: str = "",
) -> tuple[list[Answered], float]:
    """Ask one question of each model at once.

    Args:
        engine: the engine.
        models: the name that each request uses; names may repeat.
        max_tokens: of each answer.
        words: of each prompt.
        first: number of the first question, which is part of it.
        beginning: of every prompt.

    Returns:
        The answers, and the seconds that they took together.
    """
    prompts = [
        f"{beginning}question {number} " + "about the heart and the lung " * (words // 6)
        for number in range(first, first + len(models))
    ]
    started = time.perf_counter()
    outcomes = attempt(engine, list(zip(models, prompts, strict=True)), max_tokens)
    seconds = time.perf_counter() - started
    answers = []
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
        answers.append(outcome)
    return answers, seconds


def attempt(
    engine: Engine, requests: Sequence[tuple[str, str]], max_tokens: int
) -> list[Answered | BaseException]:
    """Send requests at once; return an answer or an error for each.

    Args:
        engine: the engine.
        requests: model and prompt of each.
        max_tokens: of each answer.
    """

    async def one(model: str, prompt: str) -> Answered:
        started, first_s, tokens, text = time.perf_counter(), 0.0, 0, ""
        async for delta in engine.stream(Generation(model, None, prompt, max_tokens)):
            first_s = first_s or time.perf_counter() - started
            tokens, text = delta.output_tokens, text + delta.text
        return Answered(first_s, time.perf_counter() - started, tokens, text)

    async def every() -> list[Answered | BaseException]:
        return await asyncio.gather(*(one(*each) for each in requests), return_exceptions=True)

    return asyncio.run(every())
