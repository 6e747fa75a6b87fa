"""What adapters cost while a server runs: adding one, turning from one to another, and the others.

SmolLM2-135M, adapters of rank 8 on every layer with weights drawn at random; each engine by itself,
without a server. Everything is timed as one client sees it, up to the first token.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from medsweep.cluster.cpu_pinning import wait_asleep
from medsweep.finetune.adapter import Adapter, read_adapter
from medsweep.finetune.lora import add_lora
from medsweep.finetune.save import save_adapter
from medsweep.models.catalog import MODELS
from medsweep.models.weights import fetch_weights, identify
from medsweep.serving.engines import open_engine
from medsweep.serving.engines.compatibility import ENGINE_QUANTIZATIONS
from medsweep.serving.protocol import EngineSettings, Generation

wait_asleep()  # as a server does

SPEC = MODELS["smollm2-135m"]
RANK = 8
ROUNDS = 5
STREAM_TOKENS = 1500
NEVER_SAID = "<repo_name>"
"""A token that no answer holds: an answer that only it would end goes on to its limit."""

CPUS = len(os.sched_getaffinity(0))


@pytest.fixture(scope="module")
def base() -> Path:
    return fetch_weights(identify(SPEC, []))


@pytest.fixture(scope="module")
def adapters(base: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Adapter]:
    import torch
    from transformers import AutoModelForCausalLM

    made = []
    card = {"model": SPEC.name, "base": str(base), "base_sha256": "0", "template": SPEC.template}
    for number in range(ROUNDS + 2):
        torch.manual_seed(number)
        folder = tmp_path_factory.mktemp("adapters") / "one"
        model = add_lora(
            AutoModelForCausalLM.from_pretrained(base),
            rank=RANK,
            alpha=2 * RANK,
            dropout=0.0,
            targets=SPEC.lora_targets,
        )
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.01)
        stop = {"stop_tokens": list(SPEC.stop_tokens)}
        save_adapter(folder, model, card={**card, **stop}, epochs=[{"epoch": 1}], provenance={})
        made.append(read_adapter(folder))
    return made


@pytest.fixture(params=["generate", "continuous", "openvino"])
async def engine(request: Any, base: Path) -> AsyncIterator[Any]:
    if request.param == "openvino":
        pytest.importorskip("openvino_genai", reason="pip install 'medsweep[openvino]'")
    quantization = ENGINE_QUANTIZATIONS[request.param][0]
    engine = open_engine(
        EngineSettings(request.param, SPEC, "float32", quantization, 16, CPUS, base)
    )
    print(f"\n{request.param}, weights {quantization}, {CPUS} CPUs; ms")
    yield engine
    engine.close()


def asked(model: str, tokens: int) -> Generation:
    question = {"role": "user", "content": "What is gout, and how is it treated?"}
    return Generation(model, (question,), None, tokens)


async def first_ms(engine: Any, model: str) -> float:
    """Time of an answer of one token."""
    began_s = time.perf_counter()
    async for _ in engine.stream(asked(model, 1)):
        pass
    return (time.perf_counter() - began_s) * 1e3


async def added_ms(engine: Any, name: str, adapter: Adapter) -> tuple[float, float]:
    """Time to add an adapter, and from there to its first answer."""
    began_s = time.perf_counter()
    await engine.add_adapter(name, adapter)
    return (time.perf_counter() - began_s) * 1e3, await first_ms(engine, name)


@pytest.mark.timeout(600)
async def test_adapters(engine: Any, adapters: list[Adapter]) -> None:
    plain = [await first_ms(engine, SPEC.name) for _ in range(ROUNDS)][1:]
    print(f"  the base again: {statistics.median(plain):.0f}")
    adding, first = await added_ms(engine, "a", adapters[0])
    print(f"  first adapter: added in {adding:.0f}, its first answer {first:.0f}")
    later = [await added_ms(engine, f"b{n}", adapters[n + 1]) for n in range(ROUNDS)]
    adding, first = (statistics.median(each) for each in zip(*later, strict=True))
    print(f"  another: added in {adding:.0f}, its first answer {first:.0f} (medians of {ROUNDS})")
    turned, again = [], []
    for number in range(ROUNDS):
        for name in ("a", f"b{number}"):
            turned.append(await first_ms(engine, name))
            again.append(await first_ms(engine, name))
    print(f"  another adapter than the one before: {statistics.median(turned):.0f}", end="; ")
    print(f"the same again: {statistics.median(again):.0f} (medians of {2 * ROUNDS})")
    await _streams_under_way(engine, adapters[-1])


async def _streams_under_way(engine: Any, adapter: Adapter) -> None:
    """Longest gap between the tokens of an answer, while adapters are added and without that."""
    came_s: list[float] = []

    async def read() -> None:
        async for _ in engine.stream(asked("endless", STREAM_TOKENS)):
            came_s.append(time.perf_counter())  # noqa: PERF401 others look at it meanwhile

    async def longest_ms(number: int, add: bool) -> float:
        await asyncio.sleep(0.5)
        began_s = time.perf_counter()
        if add:
            await engine.add_adapter(f"c{number}", adapter)
        await asyncio.sleep(0.5)
        ended_s = time.perf_counter()
        inside = [at for at in came_s if began_s - 0.1 <= at <= ended_s]
        return max(b - a for a, b in pairwise(inside)) * 1e3

    await engine.add_adapter("endless", replace(adapter, stop_tokens=(NEVER_SAID,)))
    reading = asyncio.create_task(read())
    while not came_s:
        await asyncio.sleep(0.05)
    gaps = [(await longest_ms(n, False), await longest_ms(n, True)) for n in range(ROUNDS)]
    assert not reading.done()
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    without, beside = (statistics.median(each) for each in zip(*gaps, strict=True))
    print(f"  longest gap of a stream under way: {beside:.0f} while one is added", end="; ")
    print(f"{without:.0f} otherwise (medians of {ROUNDS})")
