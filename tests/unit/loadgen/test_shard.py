"""Shards of the load generator as actors of a real Ray cluster, and their merging to one load."""

import asyncio
import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest

from medsweep.cluster.local import LocalCluster
from medsweep.errors import StageError
from medsweep.loadgen.calibrate import calibrate_fleet
from medsweep.loadgen.calibration import CalibrationLoad
from medsweep.loadgen.figures import figures_of
from medsweep.loadgen.fleet import Fleet, LoadProgress
from medsweep.loadgen.load_columns import load_columns
from medsweep.loadgen.mock.server import running_mock
from medsweep.loadgen.mock.timing import MockTiming
from medsweep.loadgen.schedule import due_times
from medsweep.loadgen.shard import LABELS, Shard
from medsweep.loadgen.spec import LoadPoint

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def shards() -> Iterator[Fleet]:
    """Two shards on a CPU node of a Ray cluster."""
    with LocalCluster() as cluster:
        cluster.ensure_cpus(LABELS, 3)
        with Fleet(2, Shard) as fleet:
            yield fleet


async def test_a_closed_loop_is_divided_exactly_and_merges_to_one_row(make_job, shards) -> None:
    point = LoadPoint(concurrency=5, requests=20)
    # So long that the second shard sends in it, however late a busy machine lets it begin.
    async with running_mock(MockTiming(ttft_s=0.4, gap_s=0.001, tokens=3)) as server:
        job = make_job(server.base_url, point)
        records = await asyncio.to_thread(shards.records, job)
        assert server.peak >= 5
    measured = [record for record in records if record.phase == "measure"]
    assert sorted(record.index for record in measured) == list(range(5, 25))
    assert {record.status for record in records} == {"ok"}
    first = {record.index: record for record in records}
    # In the first wave each of 3 + 2 streams has one request: index by index to the shards in turn.
    assert max(first[index].sent_s for index in range(5)) < min(first[i].end_s for i in range(5))
    row = load_columns(point, 1, "served", figures_of(records, point), split=shards.split)
    assert (row["load_shards"], row["sent"], row["concurrency"]) == (2, 20, 5)
    assert row["shard_clock_error_s"] > 0
    assert row["ttft_mean_s"] >= 0.4


async def test_arrivals_of_all_shards_are_those_of_one(make_job, shards) -> None:
    point = LoadPoint(rate=100.0, arrivals="poisson", requests=60, warmup=4)
    async with running_mock(MockTiming(ttft_s=0.0, tokens=1)) as server:
        job = make_job(server.base_url, point)
        records = await asyncio.to_thread(shards.records, job)
    due_s = {record.index: record.due_s for record in records if record.phase != "cooldown"}
    assert sorted(due_s) == list(range(64))
    schedule = dict(zip(range(64), due_times(point, job.seed), strict=False))
    clock_error_s = shards.split.clock_error_s
    for index in range(1, 64):
        gap_s, expected_s = due_s[index] - due_s[0], schedule[index] - schedule[0]
        # The two halves are on one clock, but for the error that the row states.
        assert gap_s == pytest.approx(expected_s, abs=2 * clock_error_s + 1e-9)


async def test_each_machine_calibrates_itself_and_the_worst_counts(make_job, shards) -> None:
    load = [CalibrationLoad(3)]
    [found] = await asyncio.to_thread(calibrate_fleet, shards, load, requests_per_worker=2)
    assert [each.concurrency for each in found.shards] == [2, 1]
    assert (found.concurrency, found.processes) == (3, 2)
    for name, error in found.errors.items():
        assert error.p99 == max(each.errors[name].p99 for each in found.shards)


async def test_a_shard_that_dies_fails_the_load_and_the_next_one_runs(make_job, shards) -> None:
    import ray

    killed: list[Any] = []

    def kill(progress: LoadProgress) -> bool:
        if not killed and progress.by_status["ok"] > 20:
            killed.append(shards.remote[1])
            ray.kill(killed[0]._actor)
        return True

    lines: list[bytes] = []
    async with running_mock(MockTiming(ttft_s=0.01, tokens=1)) as server:
        job = make_job(server.base_url, LoadPoint(concurrency=4, requests=1_000_000))
        with pytest.raises(StageError, match=r"a shard of the load generator on node \S+ died"):
            await asyncio.to_thread(shards.run, job, lines.append, kill)
        assert lines  # what had been measured was there, and was not taken for the whole
        again = dataclasses.replace(job, point=LoadPoint(concurrency=4, requests=8))
        records = await asyncio.to_thread(shards.records, again)
    measured = sorted(record.index for record in records if record.phase == "measure")
    assert measured == list(range(4, 12))


async def test_requests_that_fail_on_a_shard_say_why(make_job, shards) -> None:
    point = LoadPoint(concurrency=4, requests=8)
    async with running_mock(MockTiming(fail="drop", fail_share=0.5)) as server:
        job = make_job(server.base_url, point, max_error_rate=1.0)
        records = await asyncio.to_thread(shards.records, job)
    figures = figures_of(records, point)
    assert (figures.sent, figures.ok + figures.failed) == (8, 8)
    assert figures.failed > 0
    assert set(figures.first_errors) == set(figures.failed_by_kind)


def test_without_a_free_cpu_the_reason_is_said(shards) -> None:
    """The node has three CPUs, of which one is free."""
    with Shard() as third, Shard(start_timeout_s=3.0) as fourth:
        third.wait_ready()
        with pytest.raises(StageError, match="medsweep.io/gpu=none, medsweep.io/role=load"):
            fourth.wait_ready()
