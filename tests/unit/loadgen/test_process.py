import asyncio
import json
import os
import select
import subprocess
import sys

import pytest

from medsweep.errors import StageError
from medsweep.loadgen.failures import LoadAborted
from medsweep.loadgen.fleet import Fleet
from medsweep.loadgen.mock.server import running_mock
from medsweep.loadgen.mock.timing import MockTiming
from medsweep.loadgen.process import LoadProcess
from medsweep.loadgen.spec import LoadJob, LoadPoint
from medsweep.metrics.request_record import RequestRecord


async def in_thread(function, *arguments):
    """Leave this event loop to the mock server while the driver blocks."""
    return await asyncio.to_thread(function, *arguments)


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def test_several_jobs_in_one_process(make_job) -> None:
    seen: list[RequestRecord] = []
    async with running_mock(MockTiming(ttft_s=0.01, gap_s=0.001, tokens=3)) as server:
        process = LoadProcess()
        with Fleet(1, lambda: process) as fleet:
            pid = process.pid
            job = make_job(server.base_url, LoadPoint(concurrency=3, requests=9))
            first = await in_thread(fleet.records, job, seen.append)
            job = make_job(server.base_url, LoadPoint(rate=100.0, requests=4, warmup=1))
            second = await in_thread(fleet.records, job)
    assert seen == first
    assert sum(r.phase == "measure" for r in first) == 9
    assert sum(r.phase == "measure" for r in second) == 4
    assert {r.status for r in [*first, *second]} == {"ok"}
    assert first[0].text == " word word word"
    assert is_gone(pid)


async def test_aborted_load_leaves_the_process_usable(make_job) -> None:
    point = LoadPoint(concurrency=2, requests=20)
    async with (
        running_mock(MockTiming(fail="http_500")) as broken,
        running_mock(MockTiming(ttft_s=0.0, tokens=1)) as sound,
    ):
        with Fleet(1) as fleet:
            with pytest.raises(LoadAborted, match="http_500 10"):
                await in_thread(fleet.records, make_job(broken.base_url, point))
            records = await in_thread(fleet.records, make_job(sound.base_url, point))
    assert {r.status for r in records} == {"ok"}


async def test_death_is_reported_with_its_last_words(make_job) -> None:
    with LoadProcess() as process:
        job = make_job("http://127.0.0.1:1/v1")
        object.__setattr__(job, "endpoint", "nonsense")
        with pytest.raises(StageError, match="exit code 1") as caught:
            await in_thread(list, process.lines(job))
        assert "nonsense" in str(caught.value)
        dead = process.pid
        with pytest.raises(StageError, match="exit code 1"):
            await in_thread(list, process.lines(job))
        assert process.pid != dead  # another took its place


def start_and_read_one(job: LoadJob) -> tuple[subprocess.Popen[bytes], bytes]:
    process = subprocess.Popen(
        [sys.executable, "-m", "medsweep.loadgen"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdin.write(json.dumps(job.to_json()).encode() + b"\n")
    process.stdin.flush()
    return process, process.stdout.readline()


async def test_closing_stdin_ends_a_load_in_the_middle(make_job) -> None:
    async with running_mock(MockTiming(ttft_s=0.005, tokens=1)) as server:
        job = make_job(server.base_url, LoadPoint(concurrency=2, requests=1_000_000))
        process, line = await in_thread(start_and_read_one, job)
        assert json.loads(line) == {"ready": True}
        lines = iter(process.stdout.readline, b"")
        records = (json.loads(line)["record"] for line in lines if b'"record"' in line)
        assert (await in_thread(next, records))["phase"] == "warmup"
        # Closes stdin and reads the rest.
        rest, errors = await in_thread(process.communicate, None, 60)
    assert process.returncode == 0
    assert b'"done"' not in rest
    assert errors == b""


async def test_failing_driver_leaves_no_orphan(make_job) -> None:
    def fail(_: RequestRecord) -> None:
        raise ZeroDivisionError

    async with running_mock(MockTiming(ttft_s=0.0, tokens=1)) as server:
        job = make_job(server.base_url, LoadPoint(concurrency=2, requests=50))
        process = LoadProcess()
        with Fleet(1, lambda: process) as fleet:
            pid = process.pid
            with pytest.raises(ZeroDivisionError):
                await in_thread(fleet.records, job, fail)
    assert is_gone(pid)


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="waits on a process that is no child")
def test_killed_driver_leaves_no_orphan() -> None:
    program = """
from medsweep.loadgen.fleet import Fleet
from medsweep.loadgen.process import LoadProcess
with LoadProcess() as process:
    print(process.pid, flush=True)
    input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as driver:
        descriptor = os.pidfd_open(int(driver.stdout.readline()))
        try:
            driver.kill()
            ended, _, _ = select.select([descriptor], [], [], 60)
        finally:
            os.close(descriptor)
    assert ended


def test_load_generator_starts_light() -> None:
    program = (
        "import medsweep.loadgen.__main__, medsweep.loadgen.calibrate, sys; print(*sys.modules)"
    )
    loaded = subprocess.check_output([sys.executable, "-c", program], text=True).split()
    assert "httptools" in loaded
    heavy = {"torch", "ray", "pandas", "pyarrow", "transformers", "scipy", "aiohttp", "pydantic"}
    assert heavy.isdisjoint(loaded)


def test_mock_server_ends_with_its_parent() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "medsweep.loadgen.mock.server", "--die-with-stdin", "--no-usage"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as server:
        assert json.loads(server.stdout.readline())["port"] > 0
        server.stdin.close()
        assert server.wait(60) == 0


class NoProgram(LoadProcess):
    """A load generator that is not there."""

    command = ("/no/such/program",)


def test_a_process_that_does_not_start_ends_those_that_did() -> None:
    first = LoadProcess()
    made = iter([first, NoProgram()])
    with (
        pytest.raises(StageError, match="does not start: /no/such/program: No such file"),
        Fleet(2, lambda: next(made)),
    ):
        pytest.fail("it was entered")
    assert is_gone(first.pid)
