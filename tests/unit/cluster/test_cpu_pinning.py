import json
import os
import subprocess
import sys
from collections.abc import Sequence

import pytest

pytestmark = [
    pytest.mark.slow,  # torch is imported in each process
    pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system cannot pin"),
]

TAKE = """
import json, os, sys, threading
from dataclasses import asdict
from pathlib import Path
from medsweep.cluster.cpu_pinning import take_cpus

quota = json.loads(sys.argv[2])
near = json.loads(sys.argv[3])
import medsweep.cluster.cpu_pinning as pinning
pinning.cpu_quota = lambda: quota
pinning.cpus_near_gpus = lambda: set(near)
started, asked_to_end = threading.Event(), threading.Event()
def wait():
    started.set()
    asked_to_end.wait()
other = threading.Thread(target=wait)
other.start()
started.wait()
granted = take_cpus(int(sys.argv[1]))
threads = [int(thread.name) for thread in Path("/proc/self/task").iterdir()]
import torch
print(json.dumps({
    **asdict(granted),
    "affinities": [sorted(os.sched_getaffinity(thread)) for thread in threads],
    "torch": torch.get_num_threads(),
}))
asked_to_end.set()
"""


def take(asked: int, quota: float | None = None, near: Sequence[int] = ()) -> dict[str, object]:
    arguments = (str(asked), json.dumps(quota), json.dumps(near))
    done = subprocess.run(
        [sys.executable, "-c", TAKE, *arguments], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    said: dict[str, object] = json.loads(done.stdout)
    return said


def test_every_thread_is_pinned_to_what_was_granted() -> None:
    first = min(os.sched_getaffinity(0))
    said = take(1)
    assert (said["asked"], said["cores"], said["threads"], said["torch"]) == (1, [first], 1, 1)
    affinities = said["affinities"]
    assert isinstance(affinities, list)
    assert len(affinities) >= 2
    assert all(affinity == [first] for affinity in affinities)


def test_more_than_there_are_gives_all_there_are_and_says_so() -> None:
    available = sorted(os.sched_getaffinity(0))
    said = take(len(available) + 3)
    assert said["asked"] == len(available) + 3
    assert said["cores"] == available
    assert said["threads"] == said["torch"] == len(available)


needs_two_cores = pytest.mark.skipif(
    len(getattr(os, "sched_getaffinity", lambda pid: [0])(0)) < 2,
    reason="this machine has one core",
)


@needs_two_cores
def test_where_a_quota_is_the_profile_s_nothing_is_pinned() -> None:
    available = sorted(os.sched_getaffinity(0))
    said = take(1, quota=1.0)
    assert (said["cores"], said["threads"], said["torch"]) == (available, 1, 1)
    assert take(1, quota=1.5)["cores"] == available[:1], "a larger quota holds it to nothing"


@needs_two_cores
def test_cores_near_the_gpu_come_first() -> None:
    available = sorted(os.sched_getaffinity(0))
    assert take(1, near=available[-1:])["cores"] == available[-1:]
    assert take(2, near=available[-1:])["cores"] == available[:2], "too few are near"


SLEEP = """
from medsweep.cluster.cpu_pinning import wait_asleep

wait_asleep()
import torch
"""


@pytest.mark.parametrize(("given", "spins"), [(None, False), ("ACTIVE", True)])
def test_threads_that_wait_sleep_unless_the_environment_says_otherwise(
    given: str | None, spins: bool
) -> None:
    environment = {**os.environ, "OMP_DISPLAY_ENV": "VERBOSE"}
    environment.pop("OMP_WAIT_POLICY", None)
    environment.pop("GOMP_SPINCOUNT", None)
    if given is not None:
        environment["OMP_WAIT_POLICY"] = given
    done = subprocess.run(
        [sys.executable, "-c", SLEEP], env=environment, capture_output=True, text=True, check=True
    )
    # What GNU's OpenMP, which torch loads, says that it goes by.
    [line] = [line for line in done.stderr.splitlines() if "GOMP_SPINCOUNT" in line]
    assert (line.split("'")[1] != "0") is spins
