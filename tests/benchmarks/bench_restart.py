"""An engine's process that is killed under load: which answers fail, and when there are new ones.

`medsweep serve` with SmolLM2-135M is asked by clients that send their next question as soon as they
have an answer. When a quarter of the questions are answered, the engine's process is killed.

    python tests/benchmarks/bench_restart.py [--engine vllm] [--clients 8] [--requests 64]
"""

from __future__ import annotations

import argparse
import json
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from typing import Any

import psutil
from bench_served import MODEL, TOKENS, Server, _answers

from medsweep.loadgen.fleet import Fleet
from medsweep.loadgen.spec import LoadJob, LoadPoint, Prompt
from medsweep.metrics.request_record import RequestRecord

CHILDREN = {"vllm": "vllm_child.py", "openvino": "openvino_child.py"}


def status(url: str) -> tuple[int, str]:
    """Status and body of a GET."""
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def answered(root: str) -> float:
    """Answers so far, by the server's own metrics."""
    lines = status(f"{root}/metrics")[1].splitlines()
    kept = [line for line in lines if line.startswith("medsweep_server_requests_total{")]
    return sum(float(line.split()[-1]) for line in kept if 'outcome="ok"' in line)


def kill_under_load(engine: str, clients: int, requests: int) -> dict[str, Any]:
    """Kill the engine's process once; return what became of the questions."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    root = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "medsweep", "serve", "--base", MODEL, "--engine", engine]
    command += ["--max-batch-size", str(clients), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not _answers(Server(f"{root}/v1", MODEL)):
            assert process.poll() is None, f"{command} ended"
            time.sleep(0.1)
        return _measure(process.pid, root, engine, clients, requests)
    finally:
        process.terminate()
        process.wait()


def _measure(pid: int, root: str, engine: str, clients: int, requests: int) -> dict[str, Any]:
    job = LoadJob(
        base_url=f"{root}/v1",
        model=MODEL,
        prompts=tuple(Prompt(str(n), f"What is gout, case {n}?") for n in range(requests)),
        point=LoadPoint(concurrency=clients, requests=requests),
        seed=1,
        max_tokens=TOKENS,
        timeout_s=300,
        max_error_rate=1.0,
    )
    records: list[RequestRecord] = []

    def send() -> None:
        with Fleet(1) as fleet:
            records.extend(fleet.records(job))

    before = answered(root)
    loading = threading.Thread(target=send)
    loading.start()
    while answered(root) - before < clients + requests / 4:
        time.sleep(0.05)
    [child] = [
        each
        for each in psutil.Process(pid).children(recursive=True)
        if any(word.endswith(CHILDREN[engine]) for word in each.cmdline())
    ]
    killed_s = time.monotonic()
    child.send_signal(signal.SIGKILL)
    while status(f"{root}/health")[0] == 200:
        pass
    unhealthy_s = time.monotonic() - killed_s
    while status(f"{root}/health")[0] != 200:
        time.sleep(0.02)
    healthy_s = time.monotonic() - killed_s
    loading.join()
    outcomes = Counter(record.status for record in records)
    errors = Counter(record.error for record in records if record.error is not None)
    return {
        "sent": len(records),
        **dict(outcomes),
        "errors": {text[:120]: count for text, count in errors.items()},
        "unhealthy_after_s": round(unhealthy_s, 3),
        "healthy_again_after_s": round(healthy_s, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=CHILDREN, default="vllm")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--requests", type=int, default=64)
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    for _ in range(options.turns):
        print(
            json.dumps(kill_under_load(options.engine, options.clients, options.requests)),
            flush=True,
        )


if __name__ == "__main__":
    main()
