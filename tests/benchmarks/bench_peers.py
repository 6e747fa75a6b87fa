"""Our load generator beside aiperf and guidellm: the same server of known timing, in turn.

    make bench-peers

Each peer is installed once into an environment of its own below the model cache. The server answers
with 50 ms to the first of 32 tokens and 10 ms between them, and runs on the same machine.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medsweep.loadgen.calibration import TRUTH
from medsweep.loadgen.eventloop import allow_many_connections
from medsweep.loadgen.eventloop import run as run_loop
from medsweep.loadgen.mock.server import MockConnection, running_mock
from medsweep.models.cache import cache_root

CONCURRENCIES = (64, 256, 1000)
WAVES = 6  # measured, after one of warm-up
FAULTS = (OSError, KeyError, ValueError, RuntimeError, subprocess.SubprocessError)
PEERS = {"aiperf": "aiperf==0.13.0", "guidellm": "guidellm==0.8.1"}


@dataclass
class Seen:
    """What one client said of the server, and what it took.

    Attributes:
        ttft_ms: mean time to the first token.
        p99_ms: 99th percentile of it.
        requests_per_s: the rate that it reports.
        first_request_s: from the command to the first request at the server.
        cpu_s: processor time of the whole run.
    """

    ttft_ms: float
    p99_ms: float | None
    requests_per_s: float
    first_request_s: float
    cpu_s: float


class Server:
    """The mock server, in a thread of this process, which otherwise only waits."""

    def __init__(self) -> None:
        self.first_s: float | None = None
        self.port = 0
        self._ready = threading.Event()
        threading.Thread(target=lambda: run_loop(self._serve()), daemon=True).start()
        self._ready.wait()

    async def _serve(self) -> None:
        async with running_mock(TRUTH) as server:
            take = server.take

            def first(connection: MockConnection, body: dict[str, Any]) -> None:
                if self.first_s is None:
                    self.first_s = time.perf_counter()
                take(connection, body)

            server.take = first  # type: ignore[method-assign]
            self.port = server.port
            self._ready.set()
            await asyncio.Event().wait()


def environment(name: str) -> Path:
    """Return the folder of a peer's programs; installed at first."""
    folder = cache_root() / "peers" / PEERS[name]
    if not (folder / "bin" / name).exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(folder / "bin" / "pip"), "install", "-q", PEERS[name]], check=True)
    return folder / "bin"


def write_inputs(folder: Path) -> None:
    """Write what the peers want: prompts, more than are sent, and some tokenizer."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    texts = [f"What is measured here, number {n}?" for n in range((WAVES + 2) * 1000)]
    (folder / "aiperf.jsonl").write_text("\n".join(json.dumps({"text": t}) for t in texts))
    (folder / "guidellm.jsonl").write_text("\n".join(json.dumps({"prompt": t}) for t in texts))
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "word": 1}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    (folder / "tokenizer").mkdir()
    tokenizer.save(str(folder / "tokenizer" / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]"}
    (folder / "tokenizer" / "tokenizer_config.json").write_text(json.dumps(config))


def run(server: Server, command: list[str]) -> tuple[float, float]:
    """Run a client; return seconds to its first request, and of processor time."""
    server.first_s = None
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started_s = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode or server.first_s is None:
        raise RuntimeError(f"{Path(command[0]).name}: {(done.stdout + done.stderr)[-2000:]}")
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return server.first_s - started_s, cpu_s


def medsweep(server: Server, concurrency: int, folder: Path) -> Seen:
    """Run ours; its time includes the calibrations before and after."""
    out = folder / f"medsweep-{concurrency}.json"
    command = [sys.executable, "-m", "medsweep", "bench", f"http://127.0.0.1:{server.port}/v1"]
    command += ["--model", "mock", "--concurrency", str(concurrency), "--max-tokens", "32"]
    command += ["--requests", str(WAVES * concurrency), "--json", str(out)]
    first_s, cpu_s = run(server, command)
    [point] = json.loads(out.read_text())["points"]
    ttft = point["ttft_s"]
    p99_ms = None if ttft["p99"] is None else ttft["p99"] * 1e3
    return Seen(ttft["mean"] * 1e3, p99_ms, point["requests_per_s"], first_s, cpu_s)


def aiperf(server: Server, concurrency: int, folder: Path) -> Seen:
    """Run aiperf, as its documentation has it for a streaming chat endpoint."""
    out = folder / f"aiperf-{concurrency}"
    command = [str(environment("aiperf") / "aiperf"), "profile", "--model", "mock", "--streaming"]
    command += ["--url", f"http://127.0.0.1:{server.port}", "--endpoint-type", "chat"]
    command += ["--concurrency", str(concurrency), "--request-count", str(WAVES * concurrency)]
    command += ["--warmup-request-count", str(concurrency), "--ui", "none"]
    command += ["--input-file", str(folder / "aiperf.jsonl"), "--artifact-dir", str(out)]
    command += ["--custom-dataset-type", "single_turn", "--tokenizer", str(folder / "tokenizer")]
    command += ["--use-server-token-count", "--extra-inputs", "max_tokens:32"]
    first_s, cpu_s = run(server, command)
    found = json.loads((out / "profile_export_aiperf.json").read_text())
    ttft = found["time_to_first_token"]
    rate = found["request_throughput"]["avg"]
    return Seen(ttft["avg"], ttft["p99"], rate, first_s, cpu_s)


def guidellm(server: Server, concurrency: int, folder: Path) -> Seen:
    """Run guidellm, as its documentation has it for a fixed concurrency."""
    out = folder / f"guidellm-{concurrency}.json"
    command = [str(environment("guidellm") / "guidellm"), "run", "--disable-progress"]
    command += ["--backend", f"kind=openai_http,target=http://127.0.0.1:{server.port},model=mock"]
    command += ["--profile", f"kind=concurrent,streams={concurrency}"]
    command += ["--constraint", f"kind=max_requests,count={(WAVES + 1) * concurrency}"]
    command += ["--data", f"kind=json_file,path={folder / 'guidellm.jsonl'}"]
    command += ["--tokenizer", f"kind=huggingface_auto,model={folder / 'tokenizer'}"]
    command += ["--output", f"kind=json,path={out}"]
    first_s, cpu_s = run(server, command)
    metrics = json.loads(out.read_text())["benchmarks"][0]["metrics"]
    ttft = metrics["time_to_first_token_ms"]["successful"]
    rate = metrics["requests_per_second"]["successful"]["mean"]
    return Seen(ttft["mean"], ttft["percentiles"]["p99"], rate, first_s, cpu_s)


def main() -> None:
    """Run all three at every concurrency and print a table, and ratios to ours."""
    allow_many_connections()
    cores, python = len(os.sched_getaffinity(0)), platform.python_version()
    print(f"{platform.machine()}, {cores} cores, the server's too, Python {python}")
    print("TTFT is 50 ms in truth; ratios are to medsweep\n")
    print("| client | concurrency | mean TTFT | p99 | requests/s | first request | CPU |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    server = Server()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_inputs(folder)
        for concurrency in CONCURRENCIES:
            ours: Seen | None = None
            for client in (medsweep, aiperf, guidellm):
                try:
                    seen = client(server, concurrency, folder)
                except FAULTS as fault:
                    print(f"| {client.__name__} | {concurrency} | did not run: {fault!r:.300} |")
                    continue
                ours = ours or seen
                print(row(client.__name__, concurrency, seen, ours), flush=True)


def row(name: str, concurrency: int, seen: Seen, ours: Seen) -> str:
    """Return one row of the table."""
    share = seen.requests_per_s / (concurrency / TRUTH.service_s)
    p99 = "-" if seen.p99_ms is None else f"{seen.p99_ms:.1f} ms"
    return (
        f"| {name} | {concurrency} | {seen.ttft_ms:.1f} ms | {p99} "
        f"| {seen.requests_per_s:.1f} ({share:.1%}) "
        f"| {seen.first_request_s:.1f} s ({seen.first_request_s / ours.first_request_s:.0f}x) "
        f"| {seen.cpu_s:.1f} s ({seen.cpu_s / ours.cpu_s:.1f}x) |"
    )


if __name__ == "__main__":
    main()
