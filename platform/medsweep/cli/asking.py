"""Whom a verb asks: an adapter or a base model on this machine, or a server elsewhere."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from medsweep.cli.options import add_api_key, add_models, load_models
from medsweep.errors import InputError, require

ADAPTER = "adapter"

Hear = Callable[[str], None]
Ask = Callable[[str, Hear], None]
"""Asks one question; passes the parts of the answer on as they come."""


@dataclass(frozen=True)
class Answerer:
    """A model that answers.

    Attributes:
        name: of the model.
        ask: asks it.
        base: folder of the base model's weights; None for a server, whose weights are not known.
    """

    name: str
    ask: Ask
    base: Path | None = None


def add_answerer(parser: argparse.ArgumentParser) -> None:
    """Add the options that say whom to ask."""
    parser.add_argument("--adapter", type=Path, metavar="DIR", help="an adapter's folder")
    parser.add_argument(
        "--base", action="store_true", help="ask the adapter's base model, without the adapter"
    )
    parser.add_argument(
        "--model",
        metavar="NAME",
        help="ask a base model of the catalogue; with --url, the server's name of the model",
    )
    parser.add_argument(
        "--url", metavar="URL", help="ask a server with OpenAI's API, such as http://host:8000/v1"
    )
    add_api_key(parser)
    parser.add_argument(
        "--instruction",
        metavar="TEXT",
        help="system message before each question, '' for none; default: the one that adapters are "
        "trained with, for a server none",
    )
    add_models(parser)
    parser.add_argument(
        "--max-tokens", type=int, default=256, metavar="N", help="most output tokens; default: 256"
    )


@contextmanager
def answerer(options: argparse.Namespace) -> Iterator[Answerer]:
    """Start the model that the options name, and yield it. Answers are greedy.

    Raises:
        InputError: the options name nothing, or several things.
    """
    if options.url is not None:
        if options.adapter is not None or options.base:
            raise InputError("--url asks a server: leave --adapter and --base out")
        from medsweep.loadgen.server import find_model, stream_answer
        from medsweep.models.templates import conversation

        model = options.model or find_model(options.url, api_key_env=options.api_key_env)

        def ask_server(question: str, hear: Hear) -> None:
            for part in stream_answer(
                options.url,
                model,
                conversation(question, options.instruction),
                max_tokens=options.max_tokens,
                api_key_env=options.api_key_env,
            ):
                hear(part)

        yield Answerer(model, ask_server)
        return
    if options.base and options.adapter is None:
        raise InputError("--base is the base model of an adapter: give --adapter DIR with it")
    if (options.adapter is None) == (options.model is None):
        raise InputError("no model to ask: give one of --adapter DIR, --model NAME and --url URL")
    require("torch")
    from medsweep.clock import MonotonicClock
    from medsweep.models.templates import PAPER_INSTRUCTION, conversation
    from medsweep.serving.config import ServeConfig
    from medsweep.serving.protocol import Generation
    from medsweep.serving.server_metrics import ServerMetrics
    from medsweep.serving.service import open_service

    instruction = PAPER_INSTRUCTION if options.instruction is None else options.instruction
    adapters = {} if options.adapter is None else {ADAPTER: options.adapter}
    # Not `auto`: for one question an engine that starts within seconds is the fastest.
    config = ServeConfig(
        engine="continuous", base=options.model, adapters=adapters, max_batch_size=1
    )
    engine = open_service(config, ServerMetrics([]), MonotonicClock(), load_models(options))

    async def stream(question: str, hear: Hear) -> None:
        base, *_ = await engine.models()
        request = Generation(
            model=base if options.base or options.adapter is None else ADAPTER,
            messages=tuple(conversation(question, instruction)),
            prompt=None,
            max_tokens=options.max_tokens,
        )
        async for delta in engine.stream(request):
            hear(delta.text)

    def ask_engine(question: str, hear: Hear) -> None:
        asyncio.run(stream(question, hear))

    name = options.model or options.adapter.resolve().name
    try:
        yield Answerer(f"{name}, base" if options.base else name, ask_engine, engine.base_folder)
    finally:
        engine.close()
