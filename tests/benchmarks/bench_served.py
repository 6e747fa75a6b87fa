"""Engines served, each beside the engine alone, one `generate` at a time and `transformers serve`.

SmolLM2-135M, answers of up to 64 tokens, greedy; servers and load generator share this machine.
What is alone runs in a process of its own, as it does behind a server, under the same closed loop.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from medsweep.loadgen.figures import figures_of
from medsweep.loadgen.fleet import Fleet
from medsweep.loadgen.spec import LoadJob, LoadPoint, Prompt
from medsweep.models.catalog import MODELS
from medsweep.models.templates import TEMPLATES
from medsweep.models.weights import fetch_weights, identify

MODEL = "smollm2-135m"
TOKENS = 64
CLIENTS = 16
REQUESTS = 48
TURNS = 3
"""Served and alone take turns so many times: this much can a machine change in a minute."""
SUBJECTS = ["asthma", "gout", "type 2 diabetes", "anemia", "migraine", "cystic fibrosis"]
QUESTIONS = [f"What is {SUBJECTS[n % len(SUBJECTS)]}, case {n}?" for n in range(REQUESTS)]
START_S, STOP_S = 600.0, 120.0
"""How long a server may take to its first answer, and to its end."""
CPUS = len(os.sched_getaffinity(0))
WANTED = {
    ("continuous", "none"): (6.0, 0.90, 1.3),
    ("openvino", "int8"): (None, 0.85, 3.5),
    ("openvino", "int4"): (None, 0.85, 3.5),
}
"""Over one at a time, of the engine alone, over `transformers serve`."""


@dataclass
class Server:
    """A server that runs.

    Attributes:
        url: root of its API.
        model: its name of the model.
        first_answer_s: from the command to the first answer.
    """

    url: str
    model: str
    first_answer_s: float = 0.0


@contextmanager
def running(command: Sequence[str], url: str, model: str) -> Iterator[Server]:
    """Start a server and wait for its first answer."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    server = Server(url, model)
    try:
        while not _answers(server):
            assert process.poll() is None, f"{command} ended"
            assert time.perf_counter() - began < START_S, f"{command} does not answer"
            time.sleep(0.1)
        server.first_answer_s = time.perf_counter() - began
        yield server
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(server: Server) -> bool:
    messages = [{"role": "user", "content": "Hello"}]
    body = json.dumps({"model": server.model, "messages": messages, "max_tokens": 1}).encode()
    headers = {"content-type": "application/json"}
    asked = urllib.request.Request(f"{server.url}/chat/completions", body, headers)
    try:
        with urllib.request.urlopen(asked, timeout=120) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def ours(engine: str, quantization: str) -> Any:
    """`medsweep serve` with one engine."""
    command = [sys.executable, "-m", "medsweep", "serve", "--base", MODEL]
    command += ["--engine", engine, "--quantization", quantization]
    batch = ["--max-batch-size", str(CLIENTS), "--port", "8911"]
    return running([*command, *batch], "http://127.0.0.1:8911/v1", MODEL)


def theirs(folder: Path) -> Any:
    """`transformers serve` with continuous batching, sized by hand as a CPU needs it."""
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(folder)]
    sizes = ["--cb-block-size", "32", "--cb-num-blocks", "256", "--cb-max-batch-tokens", "256"]
    batching = ["--continuous-batching", *sizes, "--device", "cpu", "--dtype", "float32"]
    return running([*command, *batching, "--port", "8912"], "http://127.0.0.1:8912/v1", str(folder))


def load(server: Server, concurrency: int, requests: int) -> tuple[float, float, float]:
    """Output tokens/s, p50 of TTFT and of a later token in ms."""
    job = LoadJob(
        base_url=server.url,
        model=server.model,
        prompts=tuple(Prompt(str(n), text) for n, text in enumerate(QUESTIONS)),
        point=LoadPoint(concurrency=concurrency, requests=requests),
        seed=1,
        max_tokens=TOKENS,
        timeout_s=300,
    )
    with Fleet(1) as fleet:
        records = fleet.records(job)
    assert {record.status for record in records if record.phase != "cooldown"} == {"ok"}
    measured = [record for record in records if record.phase == "measure"]
    ttft = statistics.median(r.ttft_s for r in measured if r.ttft_s is not None)
    tpot = statistics.median(r.tpot_s for r in measured if r.tpot_s is not None)
    rate = figures_of(records, job.point).output_tokens_per_s
    return rate or float("nan"), ttft * 1e3, tpot * 1e3


def alone(what: str, quantization: str, concurrency: int, requests: int) -> float:
    """Tokens per second without a server, in a process of its own."""
    command = [sys.executable, __file__, what, quantization, str(concurrency), str(requests)]
    return float(json.loads(subprocess.check_output(command, stderr=subprocess.DEVNULL)))


@pytest.fixture(scope="module")
def folder() -> Path:
    return fetch_weights(identify(MODELS[MODEL], []))


@pytest.fixture(scope="module")
def peers(folder: Path) -> dict[str, float]:
    """Tokens per second of one `generate` at a time, and of `transformers serve`."""
    rates = {"one generate at a time": alone("plain", "none", 1, 6)}
    with theirs(folder) as server:
        rates["transformers serve"] = load(server, CLIENTS, REQUESTS)[0]
    return rates


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("engine", "quantization"), WANTED)
def test_served(engine: str, quantization: str, peers: dict[str, float]) -> None:
    if engine == "openvino":
        pytest.importorskip("openvino_genai", reason="pip install 'medsweep[openvino]'")
    what = "pipeline" if engine == "openvino" else engine
    with ours(engine, quantization) as server:
        turns = [
            (
                load(server, CLIENTS, REQUESTS)[0],
                alone(what, quantization, CLIENTS, REQUESTS),
            )
            for _ in range(TURNS)
        ]
        _, ttft_ms, tpot_ms = load(server, 1, 6)
    over_one, of_alone, over_serve = WANTED[engine, quantization]
    print(f"\n{engine}, weights {quantization}, served on {CPUS} CPUs", end="; ")
    print(f"{CLIENTS} clients x up to {TOKENS} tokens")
    rate, loop = (statistics.median(each) for each in zip(*turns, strict=True))
    print(f"  {rate:.1f} output tokens/s; start to first answer {server.first_answer_s:.1f} s")
    for (name, other), wanted in zip(peers.items(), (over_one, over_serve), strict=True):
        print(f"  {rate / other:.2f}x {name} ({other:.1f} tokens/s); wanted {wanted}")
    shares = " ".join(f"{served / loop:.1%}" for served, loop in turns)
    print(f"  {rate / loop:.1%} of the engine alone ({loop:.1f} tokens/s); wanted {of_alone:.0%};")
    print(f"  in turn: {shares}")
    print(f"  one client: TTFT p50 {ttft_ms:.1f} ms, a later token {tpot_ms:.2f} ms")


def _plain(requests: int) -> float:
    """Tokens per second of transformers' `generate`, one request at a time."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(CPUS)
    folder = fetch_weights(identify(MODELS[MODEL], []))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    rates = []
    for number in range(requests + 1):
        inputs = tokenizer(_prompt(number), return_tensors="pt", add_special_tokens=False)
        began = time.perf_counter()
        with torch.inference_mode():
            output = model.generate(**inputs, max_new_tokens=TOKENS, do_sample=False)
        tokens = output.shape[1] - inputs["input_ids"].shape[1]
        rates.append(tokens / (time.perf_counter() - began))
    return statistics.mean(rates[1:])


async def _engine_alone(engine: Any, concurrency: int, requests: int) -> float:
    """Tokens per second of an engine in a closed loop, its streams read in this process."""
    from medsweep.serving.protocol import Generation

    left = iter(range(requests + concurrency))
    ended: list[float] = []

    async def client() -> None:
        for number in left:
            question = {"role": "user", "content": QUESTIONS[number % len(QUESTIONS)]}
            tokens = 0
            async for piece in engine.stream(Generation(MODEL, (question,), None, TOKENS)):
                counted.append((time.perf_counter(), piece.output_tokens - tokens))
                tokens = piece.output_tokens
            ended.append(time.perf_counter())

    counted: list[tuple[float, int]] = []
    await asyncio.gather(*(client() for _ in range(concurrency)))
    return _rate(counted, ended, concurrency, requests)


def _pipeline(quantization: str, concurrency: int, requests: int) -> float:
    """Tokens per second of OpenVINO's pipeline in a closed loop, without rows, text and streams."""
    import numpy
    import openvino_genai
    from transformers import AutoTokenizer

    from medsweep.serving.engines.openvino_child import Child
    from medsweep.serving.engines.openvino_ir import ir_folder

    base = fetch_weights(identify(MODELS[MODEL], []))
    folder = ir_folder(MODELS[MODEL], quantization, base)
    pipeline = Child(None, str(folder), concurrency, CPUS)._open(False)
    tokenizer = AutoTokenizer.from_pretrained(base)
    settings = openvino_genai.GenerationConfig()
    settings.max_new_tokens = TOKENS
    stop = tokenizer.convert_tokens_to_ids(list(MODELS[MODEL].stop_tokens))
    settings.stop_token_ids = set(stop)
    prompts = [
        tokenizer(_prompt(n), add_special_tokens=False)["input_ids"] for n in range(REQUESTS)
    ]
    handles: dict[int, Any] = {}
    counted: list[tuple[float, int]] = []
    ended: list[float] = []
    begun = 0
    while len(ended) < requests + concurrency:
        while len(handles) < concurrency and begun < requests + concurrency:
            ids = numpy.array([prompts[begun % REQUESTS]], dtype=numpy.int64)
            tensor = openvino_genai.openvino.Tensor(ids)
            handles[begun] = pipeline.add_request(begun, tensor, settings)
            begun += 1
        pipeline.step()
        now_s = time.perf_counter()
        for number, handle in list(handles.items()):
            while handle.can_read():
                outputs = handle.read().values()
                counted.extend((now_s, len(output.generated_ids)) for output in outputs)
            if handle.get_status() != openvino_genai.GenerationStatus.RUNNING:
                del handles[number]
                ended.append(now_s)
    return _rate(counted, ended, concurrency, requests)


def _rate(
    counted: list[tuple[float, int]], ended: list[float], concurrency: int, requests: int
) -> float:
    """Tokens per second while all places are taken, from the end of the first wave on."""
    ended = sorted(ended)
    start_s, stop_s = ended[concurrency - 1], ended[requests]
    return sum(n for at, n in counted if start_s < at <= stop_s) / (stop_s - start_s)


def _prompt(number: int) -> str:
    question = {"role": "user", "content": QUESTIONS[number % len(QUESTIONS)]}
    return TEMPLATES["chatml"].render([question])


def _measure_alone(what: str, quantization: str, concurrency: int, requests: int) -> float:
    if what == "plain":
        return _plain(requests)
    if what == "pipeline":
        return _pipeline(quantization, concurrency, requests)
    from medsweep.cluster.cpu_pinning import wait_asleep
    from medsweep.serving.engines import open_engine
    from medsweep.serving.protocol import EngineSettings

    wait_asleep()  # as a server does

    base = fetch_weights(identify(MODELS[MODEL], []))
    engine = open_engine(
        EngineSettings(what, MODELS[MODEL], "float32", quantization, concurrency, CPUS, base)
    )
    try:
        return asyncio.run(_engine_alone(engine, concurrency, requests))
    finally:
        engine.close()


if __name__ == "__main__":
    what, quantization = sys.argv[1:3]
    rate = _measure_alone(what, quantization, *map(int, sys.argv[3:]))
    print(rate)
