"""The load generator's own process: `python -m medsweep.loadgen`.

Reads JSON lines on stdin: a `LoadJob`, and while it runs `{"stop": "drain"}` or
`{"stop": "drop"}`. Writes JSON lines on stdout: `{"ready": true}` once; then for each job one
`{"record": ...}` per request as it ends, `{"progress": ...}` now and then,
`{"measured": {"started_s": t}}` when the measured ones have ended, at last
`{"done": {"records": n}}` or `{"aborted": "reason"}`.
Ends as soon as stdin is closed, also in the middle of a load, so that it never outlives its parent.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import signal
import sys

from medsweep.clock import MonotonicClock
from medsweep.errors import StageError
from medsweep.loadgen.eventloop import allow_many_connections, open_stdin, run
from medsweep.loadgen.line_writer import LineWriter
from medsweep.loadgen.runner import Load, run_load
from medsweep.loadgen.spec import LoadJob
from medsweep.metrics.request_record import RequestRecord

_PROGRESS_EVERY_S = 0.25
# In turns of the above; takes a millisecond or two with hundreds of streams.
_COLLECT_EVERY = 80


def main() -> None:
    """Serve jobs until stdin is closed."""
    # Ctrl-C and a closed terminal reach the whole process group, as does SIGTERM of `timeout`; the
    # parent decides what becomes of the load, and ends it by closing stdin.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    allow_many_connections()
    # A collection stops every stream at once and would show as latency of the server. So it is done
    # now and then, over nothing but what the load itself left behind.
    gc.disable()
    run(_serve())


async def _serve() -> None:
    stdin = await open_stdin()
    performer = _Performer(LineWriter(sys.stdout.fileno()))
    async with asyncio.TaskGroup() as group:
        task = group.create_task(performer.perform_all())
        async for line in stdin:
            performer.take(json.loads(line))
        task.cancel()


class _Performer:
    def __init__(self, out: LineWriter) -> None:
        self._out = out
        self._jobs: asyncio.Queue[LoadJob] = asyncio.Queue()
        self._load: Load | None = None

    def take(self, message: dict[str, object]) -> None:
        if "stop" not in message:
            self._jobs.put_nowait(LoadJob.from_json(message))
        elif self._load is not None:
            self._load.stop(drop=message["stop"] == "drop")

    async def perform_all(self) -> None:
        self._out.put({"ready": True})
        while True:
            job = await self._jobs.get()
            gc.collect()
            gc.freeze()
            await self._perform(job)
            gc.unfreeze()

    async def _perform(self, job: LoadJob) -> None:
        out, records, clock = self._out, 0, MonotonicClock(job.clock_ahead_s)

        def emit(record: RequestRecord) -> None:
            nonlocal records
            records += 1
            out.put({"record": record})

        self._load = load = Load(job, emit, clock)
        reporter = asyncio.create_task(_report(load, out))
        try:
            await run_load(job, emit, clock, load)
        except StageError as error:
            out.put({"aborted": str(error)})
        else:
            out.put({"done": {"records": records}})
        finally:
            reporter.cancel()
            self._load = None


async def _report(load: Load, out: LineWriter) -> None:
    """Tell how far the load is, and collect garbage; ends when all that counts is measured."""
    for turn in itertools.count(1):
        if turn % _COLLECT_EVERY == 0:
            gc.collect()
        try:
            async with asyncio.timeout(_PROGRESS_EVERY_S):
                await load.measured.wait()
        except TimeoutError:
            out.put({"progress": load.progress()})
        else:
            out.put({"measured": {"started_s": load.started_s}})
            return


if __name__ == "__main__":
    main()
