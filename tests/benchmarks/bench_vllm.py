"""Every way to serve SmolLM2-135M on this machine's processor, in turn: the table of `auto`.

`vllm serve` alone, `transformers serve`, OpenVINO's pipeline alone, and `medsweep serve` with
`vllm` and `continuous`, each with the base, a live adapter and a merged one, and with `openvino`
and the base. Answers of up to 64 tokens, greedy; servers and load generator share this machine. In
every turn each server is started anew, alone, asked by 16 clients and then by one, and stopped.

    python tests/benchmarks/bench_vllm.py [--requests 96] [--turns 3] [--dtype float32 bfloat16]
        [--only PATTERN]
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bench_served
import pytest
from bench_served import CLIENTS, CPUS, MODEL, Server, alone, load, running

from medsweep.finetune.adapter import base_sha256
from medsweep.finetune.lora import add_lora
from medsweep.finetune.save import save_adapter
from medsweep.models.catalog import MODELS
from medsweep.models.weights import fetch_weights, identify
from medsweep.serving.engines.compatibility import installed
from medsweep.serving.engines.environment import environment_of

REQUESTS = 96
TURNS = 3
SINGLE = 8
"""One client asks so many times fewer questions, because it takes as many times longer."""
RANK = 16
SAME = "vllm serve alone, threads as ours"
PIPELINE = "openvino's pipeline alone, int8"
SHARES = (("vllm, base", SAME, 0.95), ("openvino, base, int8", PIPELINE, 0.85))
"""A row of ours, that of the same without MedSweep, and the wanted part of its tokens/s."""


@dataclass(frozen=True)
class Turn:
    """What was measured of one server in one turn.

    Attributes:
        many: output tokens/s with 16 clients.
        single: with one client.
        ttft_ms: p50 of the time to the first token, with 16 clients; None without a server.
        first_answer_s: from the command to the first answer; None without a server.
    """

    many: float
    single: float
    ttft_ms: float | None = None
    first_answer_s: float | None = None

    def __str__(self) -> str:
        text = f"{CLIENTS} clients {self.many:.1f} tokens/s, 1 client {self.single:.1f}"
        if self.ttft_ms is not None:
            text += f", TTFT p50 {self.ttft_ms:.1f} ms, start {self.first_answer_s:.1f} s"
        return text


Rates = dict[str, list[Turn | None]]
"""The turns of each row; None is one in which the server failed."""


def make_adapter(base: Path, folder: Path) -> None:
    """Write an adapter on every layer that answers nearly as the base does, so as long answers."""
    import torch
    from transformers import AutoModelForCausalLM

    spec = MODELS[MODEL]
    torch.manual_seed(0)
    loaded = AutoModelForCausalLM.from_pretrained(base)
    model = add_lora(loaded, rank=RANK, alpha=RANK, dropout=0.0, targets=spec.lora_targets)
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=1e-3)
    card = {"model": MODEL, "base": str(base), "base_sha256": base_sha256(base)}
    card |= {"template": spec.template, "stop_tokens": list(spec.stop_tokens)}
    save_adapter(folder, model, card=card, epochs=[{"epoch": 1}], provenance={})


def ours(engine: str, dtype: str, adapter: Path | None, *more: str) -> Any:
    """`medsweep serve`; with an adapter, requests are for it."""
    command = [sys.executable, "-m", "medsweep", "serve", "--base", MODEL, "--engine", engine]
    command += ["--dtype", dtype, "--max-batch-size", str(CLIENTS), "--port", "8921", *more]
    command += ["--adapter", f"one={adapter}"] if adapter is not None else []
    return running(command, "http://127.0.0.1:8921/v1", "one" if adapter is not None else MODEL)


@contextmanager
def vllm_alone(folder: Path, dtype: str, *, our_threads: bool = False) -> Any:
    """vLLM's own server, as its documentation says for a CPU, without compilation like ours.

    Args:
        folder: of the model.
        dtype: of its weights.
        our_threads: with the settings of threads that the `vllm` engine has, instead of vLLM's,
            which keep one core of two for the process that serves.
    """
    environment = environment_of("vllm", gpu=False)
    command = [str(environment.python), "-m", "vllm.entrypoints.openai.api_server"]
    command += ["--model", str(folder), "--dtype", dtype, "--enforce-eager", "--port", "8922"]
    command += ["--max-num-seqs", str(CLIENTS), "--generation-config", "vllm"]
    openmp = str(environment.folder / "lib" / "libiomp5.so")
    own = {"VLLM_CPU_KVCACHE_SPACE": "2", "LD_PRELOAD": openmp, "HF_HUB_OFFLINE": "1"}
    if our_threads:
        own |= {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": str(CPUS)}
        own |= {"KMP_BLOCKTIME": "1"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in own.items():
            patch.setenv(name, value)
        with running(command, "http://127.0.0.1:8922/v1", str(folder)) as server:
            yield server


def servers(
    folder: Path, adapter: Path, dtype: str
) -> dict[str, Callable[[], AbstractContextManager[Server]]]:
    """What can be started here, by the name of its row."""
    rows: dict[str, Callable[[], AbstractContextManager[Server]]] = {}
    engines = ["continuous"]
    if environment_of("vllm", gpu=False).installed:
        rows["vllm serve alone"] = lambda: vllm_alone(folder, dtype)
        rows[SAME] = lambda: vllm_alone(folder, dtype, our_threads=True)
        engines = ["vllm", "continuous"]
    for engine in engines:
        rows[f"{engine}, base"] = lambda engine=engine: ours(engine, dtype, None)
        rows[f"{engine}, live adapter"] = lambda engine=engine: ours(engine, dtype, adapter)
        rows[f"{engine}, merged adapter"] = lambda engine=engine: ours(
            engine, dtype, adapter, "--merge"
        )
    rows["transformers serve"] = lambda: bench_served.theirs(folder)
    if installed("openvino_genai"):
        rows["openvino, base, int8"] = lambda: bench_served.ours("openvino", "int8")
    return rows


def measure(requests: int, turns: int, dtypes: Sequence[str], only: str = "") -> Rates:
    """Measure every server in each turn; return the turns by row.

    Args:
        requests: asked by 16 clients in each turn.
        turns: how often.
        dtypes: of `vllm` and `continuous`, one after the other in each turn where there are
            several; `transformers serve` has float32, OpenVINO 8 bits.
        only: rows whose name, with the dtype where there are several, this pattern finds.
    """
    folder = fetch_weights(identify(MODELS[MODEL], []))
    loads = (CLIENTS, requests), (1, max(2, requests // SINGLE))
    with tempfile.TemporaryDirectory() as scratch:
        adapter = Path(scratch) / "adapter"
        make_adapter(folder, adapter)
        rows = {
            label: row
            for dtype in dtypes
            for name, row in servers(folder, adapter, dtype).items()
            if re.search(only, label := name if len(dtypes) == 1 else f"{name}, {dtype}")
        }
        rates: Rates = {name: [] for name in rows}
        if installed("openvino_genai") and re.search(only, PIPELINE):
            rates[PIPELINE] = []
        if not rates:
            sys.exit(f"no row's name matches {only}")
        for turn in range(turns):
            for name, measured in rates.items():
                try:
                    if name == PIPELINE:
                        many, one = (alone("pipeline", "int8", *each) for each in loads)
                        measured.append(Turn(many, one))
                    else:
                        with rows[name]() as server:
                            many, ttft_ms, _ = load(server, *loads[0])
                            one, *_ = load(server, *loads[1])
                        measured.append(Turn(many, one, ttft_ms, server.first_answer_s))
                except Exception as error:  # noqa: BLE001 the other rows take an hour
                    measured.append(None)
                    figures = f"FAILED: {type(error).__name__}: {error}"
                else:
                    figures = str(measured[-1])
                # At once, and all of it: a run that is stopped loses nothing that it measured.
                print(f"  turn {turn + 1}: {name}: {figures}; {_load()}", flush=True)
    return rates


def report(rates: Rates, dtypes: Sequence[str], requests: int) -> str:
    """The table in Markdown: medians, with the lowest and highest turn in brackets."""
    lines = [
        f"SmolLM2-135M, {' and '.join(dtypes)}, {CPUS} CPUs, {requests} requests a turn; medians "
        "(lowest to highest turn)",
        "",
        f"| what | {CLIENTS} clients, tokens/s | 1 client | TTFT p50 | start to first answer |",
        "| --- | --- | --- | --- | --- |",
    ]
    units = {"many": "", "single": "", "ttft_ms": " ms", "first_answer_s": " s"}
    for name, turns in rates.items():
        cells = [_spread(_figures(turns, figure), unit=unit) for figure, unit in units.items()]
        label = name
        if failures := turns.count(None):
            label += f" (failed in {failures} of {len(turns)} turns)"
        lines.append(f"| {label} | {' | '.join(cells)} |")
    for ours_name, alone_name, wanted in SHARES:
        # The machine changes from turn to turn, so only figures of one turn are compared.
        turns_of_both = zip(rates.get(ours_name, ()), rates.get(alone_name, ()), strict=False)
        shares = [own.many / theirs.many for own, theirs in turns_of_both if own and theirs]
        if shares:
            of = f"{len(shares)} of {len(rates[ours_name])} turns"
            text = f"{_spread(shares, '.2f')} in {of}; wanted {wanted}"
            lines.append(f"\n`{ours_name}` against `{alone_name}`: {text}")
    return "\n".join(lines)


def failed(rates: Rates) -> list[str]:
    """Return the rows that failed in a turn."""
    return [name for name, turns in rates.items() if None in turns]


def _figures(turns: Sequence[Turn | None], name: str) -> list[float]:
    values = [getattr(turn, name) for turn in turns if turn is not None]
    return [value for value in values if value is not None]


def _spread(values: Sequence[float], form: str = ".1f", unit: str = "") -> str:
    if not values:
        return ""
    median, low, high = statistics.median(values), min(values), max(values)
    return f"{median:{form}} ({low:{form}} to {high:{form}}){unit}"


def _load() -> str:
    return f"load of the machine {os.getloadavg()[0]:.1f}"


@pytest.mark.timeout(7200)
def test_every_way_to_serve() -> None:
    measured = measure(REQUESTS, TURNS, ["float32"])
    print("\n" + report(measured, ["float32"], REQUESTS))
    assert failed(measured) == []


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=REQUESTS)
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--dtype", nargs="+", default=["float32"])
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    # The server that runs is stopped too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    measured = measure(given.requests, given.turns, given.dtype, given.only)
    print("\n" + report(measured, given.dtype, given.requests))
    if names := failed(measured):
        sys.exit(f"failed in a turn: {', '.join(names)}")
