"""The load generator's own process: `python -m medsweep.loadgen`.

Reads one `LoadJob` as a JSON line on stdin at a time and writes JSON lines on stdout: one
`{"record": ...}` per request as it ends, then `{"done": {"records": n}}` or
`{"aborted": "reason"}`. Ends as soon as stdin is closed, also in the middle of a load, so that it
never outlives its parent.
"""

from __future__ import annotations

import asyncio
import gc
import json
import signal
import sys

from medsweep.clock import MonotonicClock
from medsweep.errors import StageError
from medsweep.loadgen.eventloop import open_stdin, run
from medsweep.loadgen.line_writer import LineWriter
from medsweep.loadgen.runner import run_load
from medsweep.loadgen.spec import LoadJob
from medsweep.metrics.definitions import RequestRecord


def main() -> None:
    """Serve jobs until stdin is closed."""
    # Ctrl-C reaches the whole terminal; the parent decides what becomes of the load.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A collection stops every stream at once and would show as latency of the server. What the
    # imports left is taken out of the collector's sight, and the rest is collected between loads.
    gc.collect()
    gc.freeze()
    gc.disable()
    run(_serve())


async def _serve() -> None:
    stdin = await open_stdin()
    lines: asyncio.Queue[bytes] = asyncio.Queue()
    async with asyncio.TaskGroup() as group:
        performer = group.create_task(_perform_all(lines))
        async for line in stdin:
            lines.put_nowait(line)
        performer.cancel()


async def _perform_all(lines: asyncio.Queue[bytes]) -> None:
    out = LineWriter(sys.stdout.fileno())
    while True:
        await _perform(LoadJob.from_json(json.loads(await lines.get())), out)
        gc.collect()


async def _perform(job: LoadJob, out: LineWriter) -> None:
    records = 0

    def emit(record: RequestRecord) -> None:
        nonlocal records
        records += 1
        out.put({"record": record.to_json()})

    try:
        await run_load(job, emit, MonotonicClock())
    except StageError as error:
        out.put({"aborted": str(error)})
    else:
        out.put({"done": {"records": records}})


if __name__ == "__main__":
    main()
