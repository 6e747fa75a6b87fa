"""What a server adds to an engine's own latency, one client: to the first token and to a later one.

Requests go in turn to an engine alone, in a process of its own, and to the same engine behind
`medsweep serve`. That server also notes when each answer was asked for and had its tokens, so that
what lies between its engine and the client is known for every request by itself.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from bench_served import CPUS, MODEL, QUESTIONS, running

from medsweep.cli import main
from medsweep.cluster.cpu_pinning import wait_asleep
from medsweep.loadgen.fleet import Fleet
from medsweep.loadgen.spec import LoadJob, LoadPoint, Prompt
from medsweep.models.catalog import MODELS
from medsweep.models.weights import fetch_weights, identify
from medsweep.serving.engines import open_engine
from medsweep.serving.engines.compatibility import ENGINE_QUANTIZATIONS
from medsweep.serving.protocol import EngineSettings, Generation

TOKENS = 32
TURNS, BLOCK = 5, 4
"""So often the engine alone and the served one take turns, with so many requests each."""
PORT = 8913
WANTED_FIRST_MS, WANTED_LATER_MS = 3.0, 0.3


@contextmanager
def engine_alone(engine: str) -> Iterator[Any]:
    """An engine in a process of its own; gives what asks it: seconds to first and a later token."""
    command = [sys.executable, __file__, "alone", engine]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, text=True, **pipes)  # type: ignore[call-overload]

    def ask(number: int) -> tuple[float, float]:
        process.stdin.write(f"{number}\n")
        process.stdin.flush()
        first_s, later_s = json.loads(process.stdout.readline())
        return first_s, later_s

    yield ask
    process.stdin.close()
    process.wait()


def ask_served(fleet: Fleet, url: str) -> list[tuple[float, float]]:
    """Seconds to first and a later token, as a client that keeps its connection sees them."""
    prompts = tuple(Prompt(str(n), text) for n, text in enumerate(QUESTIONS))
    point = LoadPoint(concurrency=1, requests=BLOCK, warmup=1)
    records = fleet.records(LoadJob(url, MODEL, prompts, point, 1, TOKENS))
    measured = [record for record in records if record.phase == "measure"]
    times = [(r.ttft_s, r.tpot_s) for r in measured if r.ttft_s and r.tpot_s]
    assert len(times) == BLOCK
    return times


@pytest.mark.timeout(900)
@pytest.mark.parametrize("engine", ["continuous", "openvino"])
def test_added_latency(engine: str, tmp_path: Path) -> None:
    if engine == "openvino":
        pytest.importorskip("openvino_genai", reason="pip install 'medsweep[openvino]'")
    noted = tmp_path / "noted.jsonl"
    command = [sys.executable, __file__, "serve", engine, str(noted)]
    url = f"http://127.0.0.1:{PORT}/v1"
    alone, served, own = [], [], []
    with engine_alone(engine) as ask, running(command, url, MODEL), Fleet(1) as fleet:
        ask(0)
        for turn in range(TURNS):
            alone += [ask(turn * BLOCK + number) for number in range(BLOCK)]
            before = len(noted.read_text().splitlines())
            served += ask_served(fleet, url)
            lines = noted.read_text().splitlines()[before + 1 :]  # the first one warms up
            own += [tuple(json.loads(line)) for line in lines[:BLOCK]]
    print(f"\n{engine}, one client, answers of up to {TOKENS} tokens, {CPUS} CPUs; p50", end=" ")
    print(f"of {TURNS * BLOCK}, ms")
    for title, times in (("engine alone", alone), ("served", served), ("its engine", own)):
        first_ms, later_ms = (statistics.median(each) * 1e3 for each in zip(*times, strict=True))
        print(f"  {title}: first token {first_ms:.2f}, a later token {later_ms:.3f}")
    for place, wanted in enumerate((WANTED_FIRST_MS, WANTED_LATER_MS)):
        title = ("the first token", "a later token")[place]
        between = [(a[place] - b[place]) * 1e3 for a, b in zip(served, own, strict=True)]
        beside = [(a[place] - b[place]) * 1e3 for a, b in zip(served, alone, strict=True)]
        print(f"  added to {title}, wanted {wanted}:")
        for name, each in (("client over its engine", between), ("served over alone", beside)):
            low, middle, high = statistics.quantiles(each, n=4)
            print(f"    {name}: {middle:.3f} (half of them {low:.3f} to {high:.3f})")


def _note_tokens(file: Path) -> None:
    """Have every answer's own times written down: asked, its prompt's tokens not made yet, and
    its tokens computed, not made text yet.
    """
    from medsweep.serving.engines.model_names import ModelNames
    from medsweep.serving.engines.request_state import RequestState

    push, first_s = RequestState.push, {}
    prompt_ids, make, asked_s = ModelNames.prompt_ids, RequestState.__init__, [0.0]

    async def asking(names: ModelNames, request: Generation) -> list[int]:
        asked_s[0] = time.perf_counter()
        return await prompt_ids(names, request)

    def making(row: RequestState, *given: Any) -> None:
        make(row, *given)
        row._arrived_s = asked_s[0]  # nothing is awaited between the two

    def noting(row: RequestState, token: int) -> None:
        now_s = time.perf_counter()
        begun_s = first_s.setdefault(id(row), now_s)
        push(row, token)
        if row.done:
            later_s = (now_s - begun_s) / max(row.text.tokens - 1, 1)
            with file.open("a") as opened:
                opened.write(json.dumps([begun_s - row._arrived_s, later_s]) + "\n")
            del first_s[id(row)]

    RequestState.push, RequestState.__init__ = noting, making  # type: ignore[method-assign, assignment]
    ModelNames.prompt_ids = asking  # type: ignore[method-assign]


def _answer_alone(engine: str) -> None:
    """Answer the numbers of questions that come on standard input, with their times."""
    wait_asleep()  # as a server does
    base = fetch_weights(identify(MODELS[MODEL], []))
    quantization = ENGINE_QUANTIZATIONS[engine][0]
    made = open_engine(
        EngineSettings(engine, MODELS[MODEL], "float32", quantization, 16, CPUS, base)
    )

    async def ask(number: int) -> tuple[float, float]:
        question = {"role": "user", "content": QUESTIONS[number % len(QUESTIONS)]}
        began_s, first_s, tokens = time.perf_counter(), 0.0, 0
        async for piece in made.stream(Generation(MODEL, (question,), None, TOKENS)):
            first_s = first_s or time.perf_counter()
            tokens = piece.output_tokens
        return first_s - began_s, (time.perf_counter() - first_s) / max(tokens - 1, 1)

    for line in sys.stdin:
        print(json.dumps(asyncio.run(ask(int(line)))), flush=True)
    made.close()


if __name__ == "__main__":
    what, engine = sys.argv[1:3]
    if what == "alone":
        _answer_alone(engine)
    else:
        _note_tokens(Path(sys.argv[3]))
        sys.exit(main(["serve", "--base", MODEL, "--engine", engine, "--port", str(PORT)]))
