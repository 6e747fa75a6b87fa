"""Engines against one `generate` at a time and against one static batch.

SmolLM2-135M, base model, answers of up to 64 tokens, on this machine's CPUs.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from medsweep.models.catalog import MODELS
from medsweep.models.templates import TEMPLATES
from medsweep.models.weights import fetch_weights, identify
from medsweep.serving.engines import open_engine
from medsweep.serving.protocol import EngineSettings, Generation

MODEL = "smollm2-135m"
TOKENS = 64
CLIENTS = 16
SUBJECTS = [
    "asthma",
    "gout",
    "type 2 diabetes",
    "anemia",
    "migraine",
    "cystic fibrosis",
    "a stroke",
]
WANTED_OVER_ONE_AT_A_TIME = 6.0
CPUS = len(os.sched_getaffinity(0))


@dataclass
class Measured:
    """Output tokens per second, and what one client saw.

    Attributes:
        tokens_per_s: output tokens of all answers per second.
        ttft_s: time to the first piece, per request.
    """

    tokens_per_s: float
    ttft_s: list[float]


def requests(count: int) -> list[Generation]:
    asked = [f"What is {SUBJECTS[n % len(SUBJECTS)]}, case {n}?" for n in range(count)]
    return [Generation(MODEL, ({"role": "user", "content": one},), None, TOKENS) for one in asked]


async def one(engine: Any, request: Generation) -> tuple[int, float]:
    began, first, tokens = time.perf_counter(), 0.0, 0
    async for piece in engine.stream(request):
        first = first or time.perf_counter() - began
        tokens = piece.output_tokens
    return tokens, first


async def together(engine: Any, count: int) -> Measured:
    await one(engine, requests(1)[0])
    began = time.perf_counter()
    answers = await asyncio.gather(*(one(engine, request) for request in requests(count)))
    tokens = sum(tokens for tokens, _ in answers)
    return Measured(tokens / (time.perf_counter() - began), [first for _, first in answers])


@pytest.fixture(scope="module")
def folder() -> Path:
    return fetch_weights(identify(MODELS[MODEL], []))


@pytest.fixture(scope="module")
def plain(folder: Path) -> dict[str, float]:
    """Tokens per second of transformers' generate: one request at a time, and one static batch."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(CPUS)
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    tokenizer.pad_token = tokenizer.eos_token
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    prompts = [TEMPLATES["chatml"].render(request.messages or ()) for request in requests(CLIENTS)]

    def rate(batch: Sequence[str]) -> float:
        inputs = tokenizer(list(batch), return_tensors="pt", padding=True, add_special_tokens=False)
        began = time.perf_counter()
        with torch.inference_mode():
            output = model.generate(
                **inputs,
                max_new_tokens=TOKENS,
                do_sample=False,
                pad_token_id=tokenizer.pad_token_id,
            )
        new = output[:, inputs["input_ids"].shape[1] :]
        tokens = int((new != tokenizer.pad_token_id).sum())
        return tokens / (time.perf_counter() - began)

    rate(prompts[:1])
    return {
        "one at a time": statistics.mean(rate([prompt]) for prompt in prompts[:4]),
        "one static batch": rate(prompts),
    }


@pytest.mark.parametrize("name", ["generate", "continuous"])
async def test_engine_against_plain_generate(name: str, folder: Path, plain: Any) -> None:
    engine = open_engine(
        EngineSettings(name, MODELS[MODEL], "float32", "none", CLIENTS, CPUS, folder)
    )
    seen = await together(engine, CLIENTS)
    alone = await together(engine, 1)
    engine.close()
    print(f"\n{name}, {CLIENTS} requests x {TOKENS} tokens, fp32, {CPUS} CPUs")
    for how, rate in plain.items():
        print(f"  transformers generate, {how}: {rate:.1f} tokens/s")
    ratio = seen.tokens_per_s / plain["one at a time"]
    print(f"  engine: {seen.tokens_per_s:.1f} tokens/s, TTFT max {max(seen.ttft_s):.2f} s")
    print(f"  over one at a time: {ratio:.1f}x ({WANTED_OVER_ONE_AT_A_TIME} wanted)")
    print(f"  over one static batch: {seen.tokens_per_s / plain['one static batch']:.2f}x")
    print(
        f"  one request alone: {alone.tokens_per_s / plain['one at a time']:.2f}x of plain generate"
    )


async def test_what_the_layer_adds() -> None:
    """The way from the engine's thread to the asker, with an engine that computes nothing."""
    from medsweep.serving.engines.request_state import RequestState

    loop, delays = asyncio.get_running_loop(), []

    class Instant:
        stopped, tokens = False, 0

        def push(self, _: int, *, last: bool = False) -> str:
            self.tokens += 1
            return "x"

    for _ in range(200):
        row = RequestState(requests(1)[0], [1], frozenset(), None, Instant(), loop)  # type: ignore[arg-type]
        row.begin(1)
        pushed: list[float] = []

        def push(row: RequestState = row, pushed: list[float] = pushed) -> None:
            pushed.append(time.perf_counter())
            row.push(5)

        work = loop.run_in_executor(None, push)
        await row.take(0.0)
        delays.append(time.perf_counter() - pushed[0])
        await work
    print(f"\nfrom token to asker: p50 {statistics.median(delays) * 1e3:.3f} ms (0.3 wanted)")
