"""1,000 jobs with 200 pods at a time, and 1,000 cells: what the client asks and keeps."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter, deque
from pathlib import Path
from typing import Any

import pytest

from apiserver.check import object_faults
from apiserver.definitions import crd_documents, installed
from apiserver.operator import Operator, Player
from apiserver.sandbox import Object, Sandbox, commands_on, sandbox
from apiserver.server import ApiServer
from cluster.thousand import AT_ONCE, MODELS, PROFILES
from medsweep.k8s.client import connect
from medsweep.k8s.resources import PODS
from medsweep.k8s.sweeps import selector_of
from medsweep.results.cells import CellFolder

HERE = Path(__file__).parent
CELL_BYTES = 64 * 1024
JOBS = len(MODELS) * (1 + PROFILES)
"""1,000 cells, and the fine-tune of each of the five models."""


def program(name: str, *arguments: str) -> Any:
    """Run a client as a process of its own; return what it prints."""
    roots = [HERE, HERE.parent, HERE.parent.parent / "platform"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, roots))}
    command = [sys.executable, str(HERE / name), *arguments]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=850, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


class Crowd:
    """Lets as many jobs run as the client submits, and ends the oldest once they are `AT_ONCE`.

    An ended job loses its pods, as after its TTL.
    """

    def __init__(self) -> None:
        self.running: deque[str] = deque()
        self.started, self.most = 0, 0

    def play(self, operator: Operator, job: Object) -> None:
        name = job["metadata"]["name"]
        operator.start(job)
        operator.run(name)
        self.started += 1
        self.running.append(name)
        self.most = max(self.most, len(self.running))
        # Cells wait for the fine-tunes, which come first; at the end nothing is submitted any more.
        while self.running and (
            len(self.running) == AT_ONCE or self.started in (len(MODELS), JOBS)
        ):
            ended = self.running.popleft()
            operator.finish(ended)
            operator.collect(ended)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_thousand_jobs_take_flat_memory_and_one_list_per_kind(cluster: Sandbox) -> None:
    pytest.importorskip("resource")
    began_s = time.perf_counter()
    crowd, plenty = Crowd(), dict.fromkeys(("nvidia.com/gpu", "cpu", "memory"), "1P")
    # The team's quota is for fewer GPUs, and without a controller manager none is given back.
    quota = {f"requests.{name}": amount for name, amount in plenty.items()}
    cluster.limit("medsweep", {**quota, "pods": "100k"})
    with Player(cluster.operator, selector_of("thousand"), crowd.play) as player:
        found = program("thousand.py", cluster.namespace)
    print(f"\n{time.perf_counter() - began_s:.0f} s: {json.dumps(found)}")
    assert found["phases"] == {"done": JOBS}
    assert len(player.played) == JOBS
    # Each with a head and a worker.
    assert crowd.most == AT_ONCE == 100
    # What follows a list is a watch, for as long as it lasts.
    assert found["lists"]
    assert max(found["lists"].values()) == 1
    # One request per job, the lists and the watches: the client asks nothing job by job.
    assert found["requests"] < JOBS + 50
    # One at a time beside the watches, so that it needs no limit of its own to be gentle.
    assert found["most_at_once"] <= 1 + len(found["lists"])
    rss_bytes = {int(number): size for number, size in found["rss_bytes"].items()}
    assert max(rss_bytes) == 1000
    # What a job has left behind after its end: its state, a kilobyte or two.
    grown_bytes = (rss_bytes[1000] - rss_bytes[200]) / 800
    assert grown_bytes < 10_000


def run_pod(operator: Operator, pod: Object) -> None:
    operator.status(PODS, pod["metadata"]["name"], {"phase": "Running"})


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_thousand_cells_are_fetched_in_flat_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 64 KiB each: ten times the cells are 58 MB more on the way."""
    if not Path("/proc/self/status").is_file():
        pytest.skip("no /proc, which tells how much memory a process had")
    claim, grown_bytes = tmp_path / "claim", {}
    for count in (100, 1000):
        for number in range(count):
            cell = claim / f"of-{count}" / "cells" / f"{number:04}"
            cell.mkdir(parents=True)
            (cell / "requests.parquet").write_bytes(os.urandom(CELL_BYTES))
            CellFolder(cell).finish("ok", None, [{"cell": cell.name}])
    with ApiServer(object_faults, commands_on(claim)) as server:
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path / "kubeconfig")))
        api = connect()
        with installed(api, crd_documents(schemas=False)), sandbox(api) as cluster:
            for count in (100, 1000):
                sweep, folder = f"of-{count}", tmp_path / f"here-{count}"
                with Player(cluster.operator, selector_of(sweep), run_pod, PODS):
                    server.requests.clear()
                    found = program(
                        "fetching.py", cluster.namespace, sweep, f"{count}", f"{folder}"
                    )
                    asked = Counter(verb for verb, _ in server.requests)
                assert found["fetched"] == count
                grown_bytes[count] = found["grown_bytes"]
                last = CellFolder(folder / "cells" / f"{count - 1:04}")
                assert last.done
                # One pod, one list that its watch follows, and one command, however many cells.
                verbs = ("create", "list", "get", "delete")
                assert [asked[verb] for verb in verbs] == [1, 1, 1, 1]
                assert last.faults() == []
    print(f"\nmemory grew by {grown_bytes}")
    assert grown_bytes[1000] - grown_bytes[100] < 900 * CELL_BYTES / 3
