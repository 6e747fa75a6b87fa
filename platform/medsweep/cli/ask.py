"""`medsweep ask`: ask an adapter or a base model on this machine, or a server elsewhere."""

from __future__ import annotations

import argparse
import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING

from medsweep.cli.options import add_models, load_models
from medsweep.errors import EXIT_DONE, InputError, require
from medsweep.reporter import harmless

if TYPE_CHECKING:
    from medsweep.serving.adapter_pool import AdapterPool

ADAPTER = "adapter"
NEXT_LINE = "\n"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        "question",
        metavar="QUESTION",
        nargs="?",
        help="a model writes the answer; it is not medical advice",
    )
    parser.add_argument(
        "--file",
        type=Path,
        metavar="FILE",
        help="ask each prompt of a text file, and show it above its answer; lines of --- part them",
    )
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
    parser.add_argument(
        "--api-key-env", metavar="VAR", help="environment variable that holds the server's API key"
    )
    add_models(parser)
    parser.add_argument(
        "--max-tokens", type=int, default=256, metavar="N", help="most output tokens; default: 256"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Stream the answer, decoded greedily, to standard output."""
    questions = _questions(options)
    if options.url is not None:
        if options.adapter is not None or options.base:
            raise InputError("--url asks a server: leave --adapter and --base out")
        return _ask_server(options, questions)
    if options.base and options.adapter is None:
        raise InputError("--base is the base model of an adapter: give --adapter DIR with it")
    if (options.adapter is None) == (options.model is None):
        raise InputError("nobody to ask: give one of --adapter DIR, --model NAME and --url URL")
    require("torch")
    from medsweep.clock import MonotonicClock
    from medsweep.serving.config import ServeConfig
    from medsweep.serving.server_metrics import ServerMetrics
    from medsweep.serving.service import open_service

    adapters = {} if options.adapter is None else {ADAPTER: options.adapter}
    # Not `auto`: for one question an engine that starts within seconds is the fastest.
    config = ServeConfig(
        engine="continuous", base=options.model, adapters=adapters, max_batch_size=1
    )
    engine = open_service(config, ServerMetrics([]), MonotonicClock(), load_models(options))
    try:
        for question in questions:
            _show_question(options, question)
            asyncio.run(_answer(engine, options, question))
    finally:
        engine.close()
    return EXIT_DONE


def _ask_server(options: argparse.Namespace, questions: list[str]) -> int:
    from medsweep.loadgen.server import find_model, stream_answer

    key = options.api_key_env
    model = options.model or find_model(options.url, api_key_env=key)
    for question in questions:
        _show_question(options, question)
        for part in stream_answer(
            options.url, model, question, max_tokens=options.max_tokens, api_key_env=key
        ):
            print(harmless(part, keep="\n\t"), end="", flush=True)
        print()
    return EXIT_DONE


def _show_question(options: argparse.Namespace, question: str) -> None:
    if options.file is not None:
        print(f"> {question.replace(NEXT_LINE, NEXT_LINE + '> ')}\n")


def _questions(options: argparse.Namespace) -> list[str]:
    if (options.question is None) == (options.file is None):
        raise InputError("give either QUESTION or --file FILE")
    if options.file is None:
        return [options.question]
    try:
        text = options.file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{options.file}: cannot be read: {error}") from None
    questions = [part.strip() for part in re.split(r"^---\s*$", text, flags=re.MULTILINE)]
    questions = [harmless(question, keep="\n\t") for question in questions if question]
    if not questions:
        raise InputError(f"{options.file}: no prompt in it")
    return questions


async def _answer(engine: AdapterPool, options: argparse.Namespace, question: str) -> None:
    from medsweep.serving.protocol import Generation

    base, *_ = await engine.models()
    request = Generation(
        model=base if options.base or options.adapter is None else ADAPTER,
        messages=({"role": "user", "content": question},),
        prompt=None,
        max_tokens=options.max_tokens,
    )
    async for delta in engine.stream(request):
        print(harmless(delta.text, keep="\n\t"), end="", flush=True)
    print()
