"""`medsweep ask`: ask an adapter one question on this machine."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from medsweep.errors import EXIT_DONE
from medsweep.reporter import harmless

if TYPE_CHECKING:
    from medsweep.serving.adapter_pool import AdapterPool

ADAPTER = "adapter"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        "question", metavar="QUESTION", help="a model writes the answer; it is not medical advice"
    )
    parser.add_argument(
        "--adapter", type=Path, required=True, metavar="DIR", help="an adapter's folder"
    )
    parser.add_argument(
        "--base", action="store_true", help="ask the base model, without the adapter"
    )
    parser.add_argument(
        "--max-tokens", type=int, default=256, metavar="N", help="most output tokens; default: 256"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Stream the answer, decoded greedily, to standard output."""
    from medsweep.clock import MonotonicClock
    from medsweep.serving.config import ServeConfig
    from medsweep.serving.server_metrics import ServerMetrics
    from medsweep.serving.service import open_service

    config = ServeConfig(adapters={ADAPTER: options.adapter}, max_batch_size=1)
    engine = open_service(config, ServerMetrics([]), MonotonicClock())
    try:
        asyncio.run(_answer(engine, options))
    finally:
        engine.close()
    return EXIT_DONE


async def _answer(engine: AdapterPool, options: argparse.Namespace) -> None:
    from medsweep.serving.protocol import Generation

    base, *_ = await engine.models()
    request = Generation(
        model=base if options.base else ADAPTER,
        messages=({"role": "user", "content": options.question},),
        prompt=None,
        max_tokens=options.max_tokens,
    )
    async for delta in engine.stream(request):
        print(harmless(delta.text, keep="\n\t"), end="", flush=True)
    print()
