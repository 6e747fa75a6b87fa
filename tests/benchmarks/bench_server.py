"""What the server itself takes: the null engine behind it, the load generator in front of it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from made_rows import summarise
from medsweep.cluster.local import LocalCluster
from medsweep.hardware.catalog import PROFILES
from medsweep.loadgen.fleet import Fleet
from medsweep.loadgen.spec import LoadJob, LoadPoint, Prompt
from medsweep.serving.config import ServeConfig
from medsweep.serving.engines.null import NULL_MODEL

TOKENS = 16
PROMPT = Prompt("q", "What is gout?")
KEY_VARIABLE = "MEDSWEEP_API_KEY"
HEAD = "            concurrency  requests/s  TTFT p50   a later token p50  busy: server  client"


@contextmanager
def served_here() -> Iterator[tuple[int, int]]:
    """`medsweep serve` with the null engine; its port and process."""
    command = [sys.executable, "-m", "medsweep", "serve", "--engine", "null", "--port", "0"]
    process = subprocess.Popen(
        [*command, "--max-concurrent", "512"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline().split("/v1;")[0].rsplit(":", 1)[1]), process.pid
    finally:
        process.terminate()
        process.wait()


@contextmanager
def served_by_ray() -> Iterator[int]:
    """The Ray Serve application with the null engine; its port."""
    profile = PROFILES["1xv100-1cpu"]
    with LocalCluster() as cluster:
        cluster.ensure_nodes([profile])
        from ray import serve
        from ray.serve.config import HTTPOptions

        from medsweep.serving.ray.application import build_application

        serve.start(http_options=HTTPOptions(host="127.0.0.1", port=cluster.port))
        limits = {"max_concurrent": 256}
        config = ServeConfig.model_validate({"engine": "null", "limits": limits})
        serve.run(build_application(config, profile), route_prefix="/")
        yield cluster.port


def measure(title: str, port: int, concurrency: int, requests: int, server: int | None) -> None:
    """Print one line of the table."""
    job = LoadJob(
        base_url=f"http://127.0.0.1:{port}/v1",
        model=NULL_MODEL,
        prompts=(PROMPT,),
        point=LoadPoint(concurrency=concurrency, requests=requests),
        seed=1,
        max_tokens=TOKENS,
        api_key_env=KEY_VARIABLE,
    )
    with Fleet(1) as load:
        load.records(job)  # imports, connections and caches are no part of it
        processes = {"client": psutil.Process(load.pid)}
        if server is not None:
            processes["server"] = psutil.Process(server)
        before = {name: sum(each.cpu_times()[:2]) for name, each in processes.items()}
        began = time.perf_counter()
        records = load.records(job)
        wall = time.perf_counter() - began
        busy = {
            name: f"{(sum(each.cpu_times()[:2]) - before[name]) / wall:.0%}"
            for name, each in processes.items()
        }
    measured = [record for record in records if record.phase == "measure"]
    assert {record.status for record in measured} == {"ok"}
    span = max(r.end_s for r in measured) - min(r.sent_s for r in measured)
    ttft = summarise(record.ttft_s for record in measured).p50 or float("nan")
    tpot = summarise(record.tpot_s for record in measured).p50 or float("nan")
    print(
        f"{title:<22}{concurrency:>3}  {len(measured) / span:>10.0f}  {ttft * 1e3:>5.2f} ms  "
        f"{tpot * 1e3:>14.3f} ms  {busy.get('server', '-'):>12}  {busy['client']:>6}"
    )


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key that every server here asks for."""
    monkeypatch.setenv(KEY_VARIABLE, "key-of-the-bench")


def test_medsweep_serve() -> None:
    print(f"\nnull engine, {TOKENS} streamed tokens a request, server and client on this machine")
    print(HEAD)
    began = time.perf_counter()
    with served_here() as (port, pid):
        print(f"ready {time.perf_counter() - began:.1f} s after the command")
        for concurrency, requests in ((1, 400), (16, 4000), (64, 4000)):
            measure("medsweep serve", port, concurrency, requests, pid)


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"},
        {"RAY_SERVE_THROUGHPUT_OPTIMIZED": "1", "RAY_SERVE_ENABLE_DIRECT_INGRESS": "0"},
    ],
    ids=["as it is", "throughput optimized", "without direct ingress"],
)
def test_ray_serve(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    title = request.node.callspec.id
    print(f"\nthe same through Ray Serve, {title}\n{HEAD}")
    with served_by_ray() as port:
        for concurrency, requests in ((1, 200), (16, 800)):
            measure(title, port, concurrency, requests, None)
        from ray import serve

        began = time.perf_counter()
        serve.delete("default")
        print(f"{title}: deleted in {time.perf_counter() - began:.1f} s")
