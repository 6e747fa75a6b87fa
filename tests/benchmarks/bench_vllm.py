"""The `vllm` engine beside `vllm serve` alone, with the same settings, on this machine's processor.

SmolLM2-135M in bfloat16, answers of up to 64 tokens, greedy; servers and load generator share this
machine. The two take turns, three times 96 requests each.
"""

from __future__ import annotations

import os
import statistics
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from bench_served import CLIENTS, CPUS, MODEL, load, running

from medsweep.models.catalog import MODELS
from medsweep.models.weights import fetch_weights, identify
from medsweep.serving.engines.environment import environment_of

REQUESTS = 96
TURNS = 3
DTYPE = "bfloat16"
WANTED = 0.95
"""Of `vllm serve` alone."""


@contextmanager
def variables(**values: str) -> Any:
    """Set environment variables for the processes that are started meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setenv(name, value)
        yield


def ours() -> Any:
    """`medsweep serve` with the engine."""
    command = [sys.executable, "-m", "medsweep", "serve", "--base", MODEL, "--engine", "vllm"]
    command += ["--dtype", DTYPE, "--max-batch-size", str(CLIENTS), "--port", "8921"]
    return running(command, "http://127.0.0.1:8921/v1", MODEL)


def theirs(folder: Path) -> Any:
    """vLLM's own server, as its documentation says for a CPU, without compilation like ours."""
    environment = environment_of("vllm", gpu=False)
    command = [str(environment.python), "-m", "vllm.entrypoints.openai.api_server"]
    command += ["--model", str(folder), "--dtype", DTYPE, "--enforce-eager", "--port", "8922"]
    command += ["--max-num-seqs", str(CLIENTS), "--generation-config", "vllm"]
    return running(command, "http://127.0.0.1:8922/v1", str(folder))


@pytest.mark.timeout(1800)
def test_beside_vllm_serve() -> None:
    environment = environment_of("vllm", gpu=False)
    if not environment.installed:
        pytest.skip(environment.remedy)
    folder = fetch_weights(identify(MODELS[MODEL], []))
    openmp = str(environment.folder / "lib" / "libiomp5.so")
    own = {"VLLM_CPU_KVCACHE_SPACE": "2", "LD_PRELOAD": openmp, "HF_HUB_OFFLINE": "1"}
    with ours() as served, variables(**own), theirs(folder) as alone:
        turns = []
        for _ in range(TURNS):
            turns.append(tuple(load(each, CLIENTS, REQUESTS) for each in (served, alone)))
            rates = " and ".join(f"{rate:.1f}" for rate, _, _ in turns[-1])
            print(f"\n  {rates} output tokens/s; load of the machine {os.getloadavg()[0]:.1f}")
    ratios = [ours[0] / theirs[0] for ours, theirs in turns]
    print(f"vllm, {DTYPE}, {CPUS} CPUs, {CLIENTS} clients, {REQUESTS} requests a turn")
    print(f"  {statistics.median(ratios):.0%} of vllm serve; wanted {WANTED:.0%}; in turn:", end="")
    print(" ".join(f" {ratio:.0%}" for ratio in ratios))
    for name, place in (("medsweep serve", 0), ("vllm serve", 1)):
        ttft = statistics.median(turn[place][1] for turn in turns)
        print(f"  {name}: TTFT p50 {ttft:.0f} ms; first answer after", end=" ")
        print(f"{(served, alone)[place].first_answer_s:.0f} s")
