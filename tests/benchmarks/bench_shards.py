"""10,000 streams from four shards, each in a network and a time namespace of its own.

The namespaces stand for machines: a network of virtual cables on one bridge, and monotonic clocks
that are 1,000, 2,000, 3,000 and 4,000 s ahead. So the true offset of each clock is known, and the
mock server's own send stamps show the true error of every time that the shards note. Needs root,
`ip` (iproute2) and `unshare` (util-linux).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

SHARDS = int(os.environ.get("SHARDS", "4"))
STREAMS = int(os.environ.get("STREAMS", "10000"))
AHEAD_S = [1000.0 * (place + 1) for place in range(SHARDS)]
HUB, SERVER = "ms-hub", "ms-server"
# 16 tokens, one per second: 10,000 streams are 9,400 events per second.
TTFT_S, GAP_S, TOKENS = 2.0, 1.0, 16
PORT = 8000


def shell(*command: str) -> None:
    subprocess.run(command, check=True)


def inside(namespace: str, *command: str) -> list[str]:
    return ["ip", "netns", "exec", namespace, *command]


def remove(namespace: str) -> None:
    """End what still runs in a namespace (Ray's own processes), and delete it."""
    listed = subprocess.check_output(["ip", "netns", "pids", namespace], text=True)
    for pid in map(int, listed.split()):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    shell("ip", "netns", "del", namespace)


@contextmanager
def network() -> Iterator[None]:
    """A bridge in a namespace of its own, and one namespace per machine on it."""
    machines = {SERVER: "10.77.0.2"}
    machines |= {f"ms-shard{place}": f"10.77.0.{11 + place}" for place in range(SHARDS)}
    with ExitStack() as stack:
        for name in (HUB, *machines):
            shell("ip", "netns", "add", name)
            stack.callback(remove, name)
            shell(*inside(name, "ip", "link", "set", "lo", "up"))
        shell(*inside(HUB, "ip", "link", "add", "br0", "type", "bridge"))
        shell(*inside(HUB, "ip", "addr", "add", "10.77.0.1/24", "dev", "br0"))
        shell(*inside(HUB, "ip", "link", "set", "br0", "up"))
        for number, (name, address) in enumerate(machines.items()):
            end = ["peer", "name", f"ms{number}", "netns", HUB]
            shell("ip", "link", "add", "eth0", "netns", name, "type", "veth", *end)
            shell(*inside(HUB, "ip", "link", "set", f"ms{number}", "master", "br0", "up"))
            shell(*inside(name, "ip", "addr", "add", f"{address}/24", "dev", "eth0"))
            shell(*inside(name, "ip", "link", "set", "eth0", "up"))
        # Ray takes its own address from the way to the outside, though nothing is sent there.
        shell(*inside(HUB, "ip", "route", "add", "default", "dev", "br0"))
        for name in machines:
            shell(*inside(name, "ip", "route", "add", "default", "dev", "eth0"))
        yield


@contextmanager
def running(command: list[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(command, text=True, **options)
    try:
        yield process
    finally:
        process.kill()  # Ray would drain its nodes for half a minute
        process.wait()


@contextmanager
def node(command: list[str], environment: dict[str, str]) -> Iterator[None]:
    """A node of the Ray cluster, once it runs."""
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with running(command, env=environment, **pipes) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        assert any("Ray runtime started" in line for line in lines), "Ray did not start"
        yield


@pytest.mark.timeout(900)
@pytest.mark.skipif(
    os.geteuid() != 0 or not (shutil.which("ip") and shutil.which("unshare")),
    reason="needs root, ip and unshare",
)
def test_ten_thousand_streams_from_four_shards() -> None:
    folder = Path(tempfile.mkdtemp(prefix="ms-", dir="/tmp"))
    ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block"]
    environment = {**os.environ, "RAY_TMPDIR": str(folder), "RAY_USAGE_STATS_ENABLED": "0"}
    environment |= {"RAY_worker_niceness": "0", "RAY_enable_worker_prestart": "0"}
    store = ["--object-store-memory", str(100 * 2**20)]
    print(f"\nload average before: {os.getloadavg()[0]:.1f}")
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        stack.enter_context(network())
        mock = [sys.executable, "-m", "medsweep.loadgen.mock.server", "--stamps"]
        mock += ["--host", "10.77.0.2", "--port", str(PORT), "--die-with-stdin"]
        mock += ["--ttft-s", str(TTFT_S), "--gap-s", str(GAP_S), "--tokens", str(TOKENS)]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        server = stack.enter_context(running(inside(SERVER, *mock), **pipes))
        assert server.stdout is not None
        assert json.loads(server.stdout.readline())["port"] == PORT
        head = ["--head", "--node-ip-address", "10.77.0.1", "--port", "6379", "--num-cpus", "0"]
        head += ["--include-dashboard", "false", *store]
        stack.enter_context(node(inside(HUB, *ray, *head), environment))
        for place, ahead_s in enumerate(AHEAD_S):
            clock = ["unshare", "--time", "--monotonic", f"{ahead_s:.0f}", "--fork", "--kill-child"]
            there = ["--address", "10.77.0.1:6379", "--node-ip-address", f"10.77.0.{11 + place}"]
            there += ["--num-cpus", "1", *store]
            there += ["--labels", "medsweep.io/gpu=none,medsweep.io/role=load"]
            command = inside(f"ms-shard{place}", *clock, *ray, *there)
            stack.enter_context(node(command, environment))
        driver = inside(HUB, sys.executable, __file__)
        subprocess.run(driver, env=environment, check=True, timeout=800)
        print(f"load average after: {os.getloadavg()[0]:.1f}")


def drive() -> None:
    """Send the load from the hub, and print what the shards noted beside what is true."""
    from medsweep.cluster.joined import JoinedCluster
    from medsweep.loadgen.calibrate import compare
    from medsweep.loadgen.calibration import worst
    from medsweep.loadgen.figures import figures_of
    from medsweep.loadgen.fleet import Fleet
    from medsweep.loadgen.load_columns import load_columns
    from medsweep.loadgen.mock.timing import MockTiming
    from medsweep.loadgen.shard import LABELS, Shard
    from medsweep.loadgen.spec import LoadJob, LoadPoint, Prompt

    timing = MockTiming(ttft_s=TTFT_S, gap_s=GAP_S, tokens=TOKENS, stamps=True)
    point = LoadPoint(concurrency=STREAMS, requests=2 * STREAMS)
    job = LoadJob(
        base_url=f"http://10.77.0.2:{PORT}/v1",
        model="mock",
        prompts=(Prompt("q", "What is measured here?"),),
        point=point,
        seed=0,
        max_tokens=TOKENS,
        timeout_s=300.0,
    )
    with JoinedCluster() as cluster:
        cluster.ensure_cpus(LABELS, SHARDS)
        with Fleet(SHARDS, Shard) as fleet:
            for shard in fleet.remote:
                shard.wait_ready()
            offsets = [shard.clock_offset() for shard in fleet.remote]
            began_s = time.perf_counter()
            records = fleet.records(job)
            took_s = time.perf_counter() - began_s
            split = fleet.split
    assert split is not None
    # Which shard got which namespace is Ray's choice.
    order = sorted(offsets, key=lambda offset: offset.ahead_s)
    print("clock offsets, estimated less true, and the error that is stated, in ms:")
    for offset, true_s in zip(order, AHEAD_S, strict=True):
        error_s = offset.error_of(offset.ahead_s)
        print(f"  {(offset.ahead_s - true_s) * 1e3:+.3f} of {error_s * 1e3:.3f}")
        assert abs(offset.ahead_s - true_s) <= error_s
    parts = []
    for place in range(SHARDS):
        own = [record for record in records if record.index % SHARDS == place]
        share = len(range(place, STREAMS, SHARDS))
        parts.append(compare(LoadPoint(concurrency=share), own, timing=timing))
    figures = figures_of(records, point)
    assert (figures.sent, figures.failed) == (2 * STREAMS, 0)
    found = worst(parts)
    row = load_columns(point, 1, "served", figures, [found], split)
    print(f"{STREAMS} streams from {SHARDS} shards, {figures.sent} requests in {took_s:.0f} s")
    for name in ("shard_clock_error_s", "shard_start_spread_s", "client_limited"):
        print(f"  {name}: {row[name]}")
    share = figures.requests_per_s / found.ideal_requests_per_s
    print(f"  {figures.requests_per_s:.1f} requests/s, {share:.1%} of what the server allowed")
    print(f"  {figures.output_tokens_per_s:.0f} tokens/s; server late {found.server_late_s:.3f} s")
    print(f"  TTFT mean {row['ttft_mean_s']:.3f} s (true: {TTFT_S} s and the server's lateness)")
    print("client's error, of each figure the worst shard's, in ms: mean, p50, p99, greatest")
    for latency, error in found.errors.items():
        values = (error.mean, error.p50, error.p99, error.max)
        print(f"  {latency}:", ", ".join(f"{value * 1e3:.2f}" for value in values))


if __name__ == "__main__":
    drive()
