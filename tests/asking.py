"""Ways to ask an engine, for the tests of all engines."""

import asyncio
from collections.abc import Sequence
from typing import Any

from medsweep.models.templates import conversation
from medsweep.serving.protocol import Delta, Generation

TUNED = "tuned-0.1"  # a name with a dot, which PEFT's own may not have
TOKENS = 24


class Asker:
    """Asks an engine as tests need it.

    Args:
        engine: the engine.
        questions: what is asked, by number.
    """

    def __init__(self, engine: Any, questions: Sequence[str]) -> None:
        self.engine, self.questions = engine, list(questions)

    def request(self, number: int, model: str = TUNED, **fields: Any) -> Generation:
        settings = {"max_tokens": TOKENS} | fields
        return Generation(model, tuple(conversation(self.questions[number])), None, **settings)

    async def deltas(self, request: Generation) -> list[Delta]:
        return [delta async for delta in self.engine.stream(request)]

    async def text(self, request: Generation) -> str:
        return text(await self.deltas(request))

    async def together(
        self, requests: Sequence[Generation], leaving: Sequence[Generation] = ()
    ) -> list[list[Delta]]:
        """Hold the engine until every request waits; give their pieces.

        Args:
            requests: what is asked.
            leaving: asked before them by clients that go before the engine is let on.
        """
        go_on, loop = asyncio.Event(), asyncio.get_running_loop()

        def hold() -> None:
            asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(60)

        held = asyncio.create_task(self.engine._run_on_thread(hold, between_tokens=True))
        await asyncio.sleep(0)
        while not self.engine._inbox.empty():
            await asyncio.sleep(0)
        asked = [*leaving, *requests]
        tasks = [asyncio.create_task(self.deltas(request)) for request in asked]
        while self.engine._inbox.qsize() < len(asked):
            await asyncio.sleep(0)
        gone, tasks = tasks[: len(leaving)], tasks[len(leaving) :]
        for task in gone:
            task.cancel()
        await asyncio.gather(*gone, return_exceptions=True)
        go_on.set()
        await held
        return list(await asyncio.gather(*tasks))


def text(pieces: Sequence[Delta]) -> str:
    return "".join(piece.text for piece in pieces)


def batch_sizes(answers: Sequence[Sequence[Delta]]) -> list[int]:
    """How many requests each answer's batch had."""
    starts = [pieces[0].start for pieces in answers]
    return [start.batch_size for start in starts if start]
