"""An engine of the product with adapters, and requests to it."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

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
    rows: int = 16,
) -> Iterator[Engine]:
    """Open an engine, and close it at the end."""
    made = adapters_of(spec, folder, adapters)
    with released():
        engine = open_engine(
            EngineSettings(
                engine=kind,
                model=spec,
                dtype=dtype,
                quantization=quantization,
                max_batch_size=rows,
                base=folder,
                adapters=made,
            )
        )
        try:
            yield engine
        finally:
            engine.close()
            del engine


def ask(
    engine: Engine, models: Sequence[str], max_tokens: int, *, words: int = 60, first: int = 0
) -> tuple[list[Answered], float]:
    """Ask one question of each model at once.

    Args:
        engine: the engine.
        models: the name that each request uses; names may repeat.
        max_tokens: of each answer.
        words: of each prompt.
        first: number of the first question, which is part of it.

    Returns:
        The answers, and the seconds that they took together.
    """

    async def every() -> list[Answered]:
        return await asyncio.gather(
            *(_ask(engine, name, number) for number, name in enumerate(models, first))
        )

    async def _ask(engine: Engine, model: str, number: int) -> Answered:
        prompt = f"question {number} " + "about the heart and the lung " * (words // 6)
        started, first_s, tokens, text = time.perf_counter(), 0.0, 0, ""
        async for delta in engine.stream(Generation(model, None, prompt, max_tokens)):
            first_s = first_s or time.perf_counter() - started
            tokens, text = delta.output_tokens, text + delta.text
        return Answered(first_s, time.perf_counter() - started, tokens, text)

    started = time.perf_counter()
    answers = asyncio.run(every())
    return answers, time.perf_counter() - started
