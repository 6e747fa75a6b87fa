"""Several load generator processes that share one load."""

from __future__ import annotations

import json
import math
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from typing import Any, Protocol, Self

from medsweep.hardware.cgroup import cpu_quota
from medsweep.loadgen.calibration import Calibration, CalibrationLoad
from medsweep.loadgen.clock_offset import ClockOffset
from medsweep.loadgen.failures import LoadAborted
from medsweep.loadgen.process import LoadProcess
from medsweep.loadgen.spec import LoadJob, LoadPoint
from medsweep.metrics.request_record import RequestRecord

# One process can time about a thousand streams of a hundred chunks per second each; well before
# that a second process is a better use of an idle core.
_STREAMS_PER_PROCESS = 256
_RATE_PER_PROCESS = 500
_LAST_WORDS_S = 5.0

Inbox = SimpleQueue[tuple[int, bytes | Exception]]
"""What the processes write, line by line, each with the place of its process; or why one ended."""


def cores() -> float:
    """Return how many cores this process may keep busy."""
    try:
        count: float = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS has no affinity mask
        count = os.cpu_count() or 1
    quota = cpu_quota()
    return count if quota is None else min(count, quota)


def processes_for(points: Sequence[LoadPoint]) -> int:
    """Return how many processes the largest of these loads needs on this machine.

    Half of the cores are left to other programs, such as the server itself.
    """
    needed = max(
        max(
            (point.concurrency or 0) / _STREAMS_PER_PROCESS,
            (point.mean_rate or 0) / _RATE_PER_PROCESS,
        )
        for point in points
    )
    return max(1, min(int(cores() // 2), math.ceil(needed)))


@dataclass(frozen=True)
class LoadProgress:
    """The progress of a load, over all processes.

    Attributes:
        by_status: requests that have ended, of all phases.
        in_flight: requests that have not.
        missed: for each objective of the job, measured requests that missed its limit or failed.
        ttft_mean_s: of the measured requests so far, in seconds; None before the first.
    """

    by_status: Counter[str]
    in_flight: int
    missed: tuple[int, ...]
    ttft_mean_s: float | None = None

    @property
    def failed(self) -> int:
        """Requests that have failed."""
        return self.by_status.total() - self.by_status["ok"]


@dataclass(frozen=True)
class Split:
    """How several processes shared a load.

    Attributes:
        processes: that took part.
        clock_error_s: greatest error of their clocks against the driver's while the load ran, in
            seconds; 0 where all are on one machine. Records and start are accurate to this.
        start_spread_s: from the first process's start to the last's, in seconds on the driver's
            clock; None if one did not finish.
    """

    processes: int
    clock_error_s: float
    start_spread_s: float | None


class RemoteProcess(Protocol):
    """A load generator process on another machine; see `LoadProcess` for what it shares."""

    lead_s: float

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def wait_ready(self) -> None:
        """Wait until the process can begin a job at once."""

    def clock_offset(self) -> ClockOffset:
        """Return how far its clock is ahead of this machine's."""
        ...

    def lines(self, job: LoadJob) -> Generator[bytes]:
        """Start one load point and yield what the process writes, up to its last line."""
        ...

    def stop(self, *, drop: bool) -> None:
        """Have the running job send nothing more; with `drop` give up what is in flight too."""

    def calibrate(
        self, loads: Sequence[CalibrationLoad], *, requests_per_worker: int
    ) -> list[Calibration]:
        """Measure its own error with a mock server on its own machine."""
        ...


class Fleet:
    """A context manager around several load generator processes, on this machine or others.

    Args:
        count: how many.
        make: makes one that is not started; by default one on this machine.

    Attributes:
        split: how the last load was shared; None if one process sent it.
    """

    def __init__(
        self, count: int, make: Callable[[], LoadProcess | RemoteProcess] = LoadProcess
    ) -> None:
        self.count = count
        self.split: Split | None = None
        self._make = make
        self._started = ExitStack()
        self._processes: list[LoadProcess | RemoteProcess] = []

    def __enter__(self) -> Self:
        with ExitStack() as started:  # ends those that run if one does not start
            for _ in range(self.count):
                process = self._make()
                started.enter_context(process)
                self._processes.append(process)
            self._started = started.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._started.close()

    @property
    def remote(self) -> list[RemoteProcess]:
        """The processes that are on other machines."""
        return [each for each in self._processes if not isinstance(each, LoadProcess)]

    def run(
        self,
        job: LoadJob,
        take_line: Callable[[bytes], None],
        on_progress: Callable[[LoadProgress], bool] = lambda _: True,
    ) -> bool:
        """Run one load point; its parts start together and end together.

        Args:
            job: what to send, as if one process did.
            take_line: called with the JSON line of each record.
            on_progress: called several times per second; returns False to drop the load.

        Returns:
            Whether it ran to its end.

        Raises:
            LoadAborted: too many requests failed.
            StageError: a process died.
            Exception: what `take_line` or `on_progress` raised, after the load has been stopped.
            KeyboardInterrupt: after the processes have sent what had ended.
        """
        parts = min(self.count, job.point.concurrency or self.count)
        processes = self._processes[:parts]
        self.split = None
        for process in processes:
            process.wait_ready()
        offsets = [process.clock_offset() for process in processes]
        if parts > 1:
            lead_s = max(process.lead_s for process in processes)
            job = replace(job, start_s=time.perf_counter() + lead_s)
        inbox: Inbox = SimpleQueue()
        for place, (process, offset) in enumerate(zip(processes, offsets, strict=True)):
            part = replace(job, shard=place, shards=parts, clock_ahead_s=offset.ahead_s)
            threading.Thread(target=_read, args=(place, process, part, inbox), daemon=True).start()
        run = _Run(processes, take_line, on_progress)
        complete = run.until_over(inbox)
        if parts > 1:
            # Clocks drift apart, so an offset may be less accurate at the end than at first.
            errors = [
                max(
                    before.error_of(before.ahead_s), process.clock_offset().error_of(before.ahead_s)
                )
                for process, before in zip(processes, offsets, strict=True)
            ]
            self.split = Split(parts, max(errors), run.start_spread_s)
        return complete

    def records(
        self, job: LoadJob, on_record: Callable[[RequestRecord], None] = lambda _: None
    ) -> list[RequestRecord]:
        """Run one load point and return its records of all phases, in order of ending.

        Args:
            job: what to send.
            on_record: called with each record as it comes in.

        Raises:
            LoadAborted: too many requests failed.
            StageError: a process died.
        """
        records: list[RequestRecord] = []

        def take(line: bytes) -> None:
            records.append(RequestRecord.from_json(json.loads(line)["record"]))
            on_record(records[-1])

        self.run(job, take)
        return records


class _Run:
    def __init__(
        self,
        processes: Sequence[LoadProcess | RemoteProcess],
        take_line: Callable[[bytes], None],
        on_progress: Callable[[LoadProgress], bool],
    ) -> None:
        self._processes = processes
        self._take_line, self._on_progress = take_line, on_progress
        self._progress: dict[int, dict[str, Any]] = {}
        self._unmeasured = len(processes)
        self._started_s: list[float] = []
        self._running = 0
        self._failure: Exception | None = None
        self._dropped = False

    @property
    def start_spread_s(self) -> float | None:
        """From the first process's start to the last's; None if one did not finish."""
        if len(self._started_s) < len(self._processes):
            return None
        return max(self._started_s) - min(self._started_s)

    def until_over(self, inbox: Inbox) -> bool:
        self._running = len(self._processes)
        interrupted = False
        while self._running:
            try:
                # After an interruption a message may have been lost on its way.
                self._take(*inbox.get(timeout=_LAST_WORDS_S if interrupted else None))
            except Empty:
                break
            except KeyboardInterrupt:
                if interrupted:
                    raise
                # What has ended so far is still to come from the processes.
                interrupted = True
                self._stop(drop=True)
            except Exception as error:  # noqa: BLE001 raised when the processes have ended
                # The caller's: it is called no more, and the load must not go on without it.
                self._take_line, self._on_progress = lambda _: None, lambda _: True
                self._fail(error)
        if interrupted:
            raise KeyboardInterrupt
        if self._failure is not None:
            raise self._failure
        return not self._dropped

    def _take(self, place: int, line: bytes | Exception) -> None:
        if isinstance(line, Exception):
            self._running -= 1
            self._fail(line)
        elif line.startswith(b'{"record"'):
            self._take_line(line)
        else:
            message = json.loads(line)
            self._running -= "done" in message or "aborted" in message
            if "aborted" in message and not self._dropped:
                self._fail(LoadAborted(message["aborted"]))
            self._take_news(place, message)

    def _take_news(self, place: int, message: dict[str, Any]) -> None:
        if "measured" in message:
            self._unmeasured -= 1
            self._started_s.append(message["measured"]["started_s"])
            if self._unmeasured == 0 and len(self._processes) > 1:
                self._stop(drop=False)
        elif "progress" in message:
            self._progress[place] = message["progress"]
            parts = self._progress.values()
            ttfts = sum(part["ttfts"] for part in parts)
            ttft_total_s = sum(part["ttft_total_s"] for part in parts)
            progress = LoadProgress(
                by_status=sum((Counter(part["by_status"]) for part in parts), Counter()),
                in_flight=sum(part["in_flight"] for part in parts),
                missed=tuple(map(sum, zip(*(part["missed"] for part in parts), strict=True))),
                ttft_mean_s=ttft_total_s / ttfts if ttfts else None,
            )
            if not self._on_progress(progress) and not self._dropped:
                self._stop(drop=True)

    def _fail(self, error: Exception) -> None:
        self._failure = self._failure or error
        self._stop(drop=True)

    def _stop(self, *, drop: bool) -> None:
        self._dropped |= drop
        for process in self._processes:
            process.stop(drop=drop)


def _read(place: int, process: LoadProcess | RemoteProcess, job: LoadJob, inbox: Inbox) -> None:
    try:
        for line in process.lines(job):
            inbox.put((place, line))
    except Exception as error:  # noqa: BLE001 `run` raises it; it would wait for ever otherwise
        inbox.put((place, error))
