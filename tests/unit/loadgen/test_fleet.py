import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest

from medsweep.clock import MonotonicClock
from medsweep.errors import StageError
from medsweep.loadgen import fleet as module
from medsweep.loadgen.clock_offset import ClockOffset, measure_offset
from medsweep.loadgen.failures import LoadAborted
from medsweep.loadgen.fleet import Fleet, LoadProgress, processes_for
from medsweep.loadgen.mock.server import running_mock
from medsweep.loadgen.mock.timing import MockTiming
from medsweep.loadgen.objective import Objective
from medsweep.loadgen.process import LoadProcess
from medsweep.loadgen.spec import LoadJob, LoadPoint
from medsweep.metrics.request_record import RequestRecord


def run(fleet: Fleet, job: LoadJob, look=lambda _: True) -> tuple[bool, list[RequestRecord]]:
    lines: list[bytes] = []
    whole = fleet.run(job, lines.append, look)
    return whole, [RequestRecord.from_json(json.loads(line)["record"]) for line in lines]


@pytest.mark.slow
@pytest.mark.parametrize("point", [LoadPoint(concurrency=5, requests=20), LoadPoint(rate=100.0)])
async def test_two_processes_send_one_load(make_job, point: LoadPoint) -> None:
    async with running_mock(MockTiming(ttft_s=0.05, gap_s=0.001, tokens=3)) as server:
        with Fleet(2) as fleet:
            job = make_job(server.base_url, point, keep_text=False)
            whole, records = await asyncio.to_thread(run, fleet, job)
        assert server.peak >= (point.concurrency or 3)
    assert whole
    assert {record.status for record in records} == {"ok"}
    assert {record.text for record in records} == {""}
    measured = sorted(r.index for r in records if r.phase == "measure")
    first = point.warmup_requests
    assert measured == list(range(first, first + point.requests))
    if point.rate is not None:
        due_s = [r.due_s for r in sorted(records, key=lambda r: r.index)]
        gaps_s = [after - before for before, after in pairwise(due_s[:61])]
        assert gaps_s == pytest.approx([0.01] * 60)


@pytest.mark.slow
async def test_one_part_that_fails_ends_all_and_the_next_load_runs(make_job) -> None:
    point = LoadPoint(concurrency=4, requests=400)
    async with (
        running_mock(MockTiming(fail="http_500")) as broken,
        running_mock(MockTiming(ttft_s=0.0, tokens=1)) as sound,
    ):
        with Fleet(2) as fleet:
            with pytest.raises(LoadAborted, match="http_500"):
                await asyncio.to_thread(run, fleet, make_job(broken.base_url, point))
            whole, records = await asyncio.to_thread(run, fleet, make_job(sound.base_url, point))
    assert whole
    assert sum(record.phase == "measure" for record in records) == 400


async def test_dropped_by_whoever_watches(make_job) -> None:
    seen: list[LoadProgress] = []

    def look(progress: LoadProgress) -> bool:
        seen.append(progress)
        return progress.missed[0] < 5

    point = LoadPoint(rate=50.0, requests=100_000)
    async with running_mock(MockTiming(ttft_s=20.0)) as server:
        job = make_job(server.base_url, point, objectives=(Objective("ttft", "p95", 0.01),))
        with Fleet(1) as fleet:
            whole, _ = await asyncio.to_thread(run, fleet, job, look)
    assert not whole
    assert seen[-1].missed[0] >= 5
    assert seen[-1].in_flight > 0
    assert seen[-1].failed == 0


async def test_the_mean_ttft_so_far_is_known_while_the_load_runs(make_job) -> None:
    seen: list[LoadProgress] = []

    def look(progress: LoadProgress) -> bool:
        seen.append(progress)
        return progress.ttft_mean_s is None

    async with running_mock(MockTiming(ttft_s=0.05, tokens=1)) as server:
        job = make_job(server.base_url, LoadPoint(concurrency=2, requests=100_000, warmup=0))
        with Fleet(2) as fleet:
            await asyncio.to_thread(run, fleet, job, look)
    first = next(each for each in seen if each.ttft_mean_s is not None)
    assert first.ttft_mean_s is not None
    assert first.ttft_mean_s >= 0.05


@pytest.mark.slow
async def test_dead_process_is_reported(make_job) -> None:
    async with running_mock(MockTiming(ttft_s=0.01, tokens=1)) as server:
        job = make_job(server.base_url, LoadPoint(concurrency=2, requests=1_000_000))
        killed = LoadProcess()
        processes = iter([killed, LoadProcess()])
        with Fleet(2, lambda: next(processes)) as fleet:

            def kill(_: LoadProgress) -> bool:
                with suppress(ProcessLookupError):
                    os.kill(killed.pid, signal.SIGKILL)
                return True

            with pytest.raises(StageError, match="exit code -9"):
                await asyncio.to_thread(run, fleet, job, kill)


@pytest.mark.parametrize("broken", ["take_line", "on_progress"])
async def test_a_caller_that_fails_ends_the_load_and_the_next_one_runs(make_job, broken) -> None:
    calls: list[object] = []

    def fail(seen: object) -> bool:
        calls.append(seen)
        raise OSError("the disk is full")

    def take(line: bytes) -> None:
        if broken == "take_line":
            fail(line)

    def look(progress: LoadProgress) -> bool:
        return fail(progress) if broken == "on_progress" else True

    async with running_mock(MockTiming(ttft_s=0.0, tokens=1)) as server:
        process = LoadProcess()
        with Fleet(1, lambda: process) as fleet:
            endless = make_job(server.base_url, LoadPoint(concurrency=4, requests=10_000_000))
            with pytest.raises(OSError, match="the disk is full"):
                await asyncio.to_thread(fleet.run, endless, take, look)
            assert len(calls) == 1, "it is not called again"
            pid = process.pid
            point = LoadPoint(concurrency=2, requests=50)
            whole, records = await asyncio.to_thread(run, fleet, make_job(server.base_url, point))
            assert process.pid == pid, "the process is the same"
    assert whole
    assert sum(record.phase == "measure" for record in records) == 50


class Unusable(LoadProcess):
    """A process that cannot be started again, as where the machine has no more of them (fake)."""

    def lines(self, job: LoadJob) -> Any:
        raise OSError("no more processes")


def test_whatever_ends_a_process_ends_the_load(make_job) -> None:
    job = make_job("http://127.0.0.1:9/v1", LoadPoint(concurrency=2))
    with Fleet(1, Unusable) as fleet, pytest.raises(OSError, match="no more processes"):
        run(fleet, job)


AHEAD_S = 1000.0
IN_ANOTHER_TIME = ("unshare", "--time", "--monotonic", str(int(AHEAD_S)), "--fork")
TELL = "import sys, time\nfor _ in sys.stdin: print(time.perf_counter(), flush=True)"


class ElsewhereProcess(LoadProcess):
    """A load generator whose monotonic clock is a thousand seconds ahead, in a time namespace."""

    command = (*IN_ANOTHER_TIME, *LoadProcess.command)

    def clock_offset(self) -> ClockOffset:
        """Exchange time stamps with a process that has the same clock."""
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        command = [*IN_ANOTHER_TIME, sys.executable, "-c", TELL]
        with subprocess.Popen(command, text=True, **pipes) as other:

            def ask() -> tuple[float, float]:
                other.stdin.write("\n")
                other.stdin.flush()
                at_s = float(other.stdout.readline())
                return at_s, at_s

            offset = measure_offset(ask, MonotonicClock())
            other.stdin.close()
        return offset


@pytest.mark.slow
@pytest.mark.skipif(
    subprocess.run([*IN_ANOTHER_TIME, "true"], capture_output=True, check=False).returncode != 0
    if shutil.which("unshare")
    else True,
    reason="this user, or this kernel, makes no time namespaces",
)
async def test_clocks_that_differ_merge_on_the_driver_s(make_job) -> None:
    async with running_mock(MockTiming(ttft_s=0.0, tokens=1)) as server:
        elsewhere = ElsewhereProcess()
        made = iter([LoadProcess(), elsewhere])
        with Fleet(2, lambda: next(made)) as fleet:
            job = make_job(server.base_url, LoadPoint(rate=100.0, requests=60, warmup=0))
            before_s = time.perf_counter()
            records = await asyncio.to_thread(fleet.records, job)
            after_s = time.perf_counter()
            offset = elsewhere.clock_offset()
    split = fleet.split
    assert split is not None
    # The true offset is known, and within the error that is stated.
    assert abs(offset.ahead_s - AHEAD_S) <= offset.error_of(offset.ahead_s) < AHEAD_S / 10
    error_s = split.clock_error_s
    assert 0 < error_s < AHEAD_S / 10
    # The records of both are on one clock: that of the driver, and of one schedule.
    assert all(
        before_s - error_s < record.sent_s < record.end_s < after_s + error_s for record in records
    )
    due_s = {record.index: record.due_s for record in records if record.phase == "measure"}
    assert sorted(due_s) == list(range(60))
    for index in range(60):
        assert due_s[index] - due_s[0] == pytest.approx(index / 100)
    assert split.start_spread_s is not None
    assert split.start_spread_s >= 0


@pytest.mark.parametrize(
    ("cores", "points", "count"),
    [
        (2, [LoadPoint(concurrency=1000)], 1),
        (1, [LoadPoint(concurrency=1)], 1),
        (16, [LoadPoint(concurrency=1), LoadPoint(concurrency=256)], 1),
        (16, [LoadPoint(concurrency=1000)], 4),
        (16, [LoadPoint(concurrency=9000)], 8),
        (16, [LoadPoint(rate=1200.0)], 3),
        (16, [LoadPoint(due_s=tuple(k / 1000 for k in range(5000)))], 3),
    ],
)
def test_processes_follow_load_and_cores(monkeypatch, cores, points, count) -> None:
    monkeypatch.setattr(module, "cores", lambda: cores)
    assert processes_for(points) == count


def test_progress() -> None:
    progress = LoadProgress(Counter({"ok": 5, "timeout": 2, "connect": 1}), 3, ())
    assert progress.failed == 3
