import asyncio
import json
import os
import signal
from collections import Counter
from contextlib import suppress
from itertools import pairwise

import pytest

from medsweep.errors import StageError
from medsweep.loadgen import fleet as module
from medsweep.loadgen.failures import LoadAborted
from medsweep.loadgen.fleet import Fleet, LoadProgress, processes_for
from medsweep.loadgen.mock.server import running_mock
from medsweep.loadgen.mock.timing import MockTiming
from medsweep.loadgen.objective import Objective
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


@pytest.mark.slow
async def test_dead_process_is_reported(make_job) -> None:
    async with running_mock(MockTiming(ttft_s=0.01, tokens=1)) as server:
        job = make_job(server.base_url, LoadPoint(concurrency=2, requests=1_000_000))
        with Fleet(2) as fleet:

            def kill(_: LoadProgress) -> bool:
                with suppress(ProcessLookupError):
                    os.kill(fleet.pids[0], signal.SIGKILL)
                return True

            with pytest.raises(StageError, match="exit code -9"):
                await asyncio.to_thread(run, fleet, job, kill)


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
