"""1,000 jobs with 200 pods at a time: what the client asks of an API server, and what it keeps."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from apiserver.operator import Operator, Player
from apiserver.sandbox import Object, Sandbox
from medsweep.k8s.sweeps import selector_of

HERE = Path(__file__).parent


def come_and_go(operator: Operator, job: Object) -> None:
    """Let a job run, succeed and lose its pods, as after its TTL."""
    name = job["metadata"]["name"]
    operator.start(job)
    operator.run(name)
    operator.finish(name)
    operator.collect(name)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_thousand_jobs_take_flat_memory_and_one_list_per_kind(cluster: Sandbox) -> None:
    pytest.importorskip("resource")
    roots = [HERE, HERE.parent, HERE.parent.parent / "platform"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, roots))}
    command = [sys.executable, str(HERE / "thousand.py"), cluster.namespace]
    began_s = time.perf_counter()
    with Player(cluster.operator, selector_of("thousand"), come_and_go) as player:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=850, check=False
        )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    print(f"\n{time.perf_counter() - began_s:.0f} s: {json.dumps(found)}")
    # 1,000 cells, and the fine-tune of each of the five models.
    assert found["phases"] == {"done": 1005}
    assert len(player.played) == 1005
    # What follows a list is a watch, for as long as it lasts.
    assert found["lists"]
    assert max(found["lists"].values()) == 1
    # One request per job, the lists and the watches: the client asks nothing job by job.
    assert found["requests"] < 1005 + 50
    # One at a time beside the watches, so that it needs no limit of its own to be gentle.
    assert found["most_at_once"] <= 1 + len(found["lists"])
    rss_bytes = {int(number): size for number, size in found["rss_bytes"].items()}
    assert max(rss_bytes) == 1000
    # What a job has left behind after its end: its state, a kilobyte or two.
    grown_bytes = (rss_bytes[1000] - rss_bytes[200]) / 800
    assert grown_bytes < 10_000
