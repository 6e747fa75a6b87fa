"""Several load generator processes that share one load."""

from __future__ import annotations

import json
import math
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from typing import Any, Self

from medsweep.errors import StageError
from medsweep.hardware.cgroup import cpu_quota
from medsweep.loadgen.failures import LoadAborted
from medsweep.loadgen.process import LoadProcess
from medsweep.loadgen.spec import LoadJob, LoadPoint

# One process can time about a thousand streams of a hundred chunks per second each; well before
# that a second process is a better use of an idle core.
_STREAMS_PER_PROCESS = 256
_RATE_PER_PROCESS = 500
# Between handing out the parts of a load and their common start.
_LEAD_S = 0.05
_LAST_WORDS_S = 5.0


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
    """

    by_status: Counter[str]
    in_flight: int
    missed: tuple[int, ...]

    @property
    def failed(self) -> int:
        """Requests that have failed."""
        return self.by_status.total() - self.by_status["ok"]


class Fleet:
    """A context manager around several load generator processes.

    Args:
        count: how many.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._stack = ExitStack()
        self._processes: list[LoadProcess] = []

    def __enter__(self) -> Self:
        for _ in range(self.count):
            self._processes.append(self._stack.enter_context(LoadProcess()))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def pids(self) -> list[int]:
        """Process ids, to measure the CPU time of the load generator itself."""
        return [process.pid for process in self._processes]

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
            KeyboardInterrupt: after the processes have sent what had ended.
        """
        parts = min(self.count, job.point.concurrency or self.count)
        processes = self._processes[:parts]
        if parts > 1:
            for process in processes:
                process.wait_ready()
            job = replace(job, start_s=time.perf_counter() + _LEAD_S)
        inbox: SimpleQueue[tuple[int, bytes | StageError]] = SimpleQueue()
        for place, process in enumerate(processes):
            part = replace(job, shard=place, shards=parts)
            threading.Thread(target=_read, args=(place, process, part, inbox), daemon=True).start()
        return _Run(processes, take_line, on_progress).until_over(inbox)


class _Run:
    def __init__(
        self,
        processes: Sequence[LoadProcess],
        take_line: Callable[[bytes], None],
        on_progress: Callable[[LoadProgress], bool],
    ) -> None:
        self._processes = processes
        self._take_line, self._on_progress = take_line, on_progress
        self._progress: dict[int, dict[str, Any]] = {}
        self._unmeasured = len(processes)
        self._running = 0
        self._failure: StageError | None = None
        self._dropped = False

    def until_over(self, inbox: SimpleQueue[tuple[int, bytes | StageError]]) -> bool:
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
        if interrupted:
            raise KeyboardInterrupt
        if self._failure is not None:
            raise self._failure
        return not self._dropped

    def _take(self, place: int, line: bytes | StageError) -> None:
        if isinstance(line, StageError):
            self._running -= 1
            self._failure = self._failure or line
            self._stop(drop=True)
        elif line.startswith(b'{"record"'):
            self._take_line(line)
        else:
            message = json.loads(line)
            self._running -= "done" in message or "aborted" in message
            if "aborted" in message and not self._dropped:
                self._failure = self._failure or LoadAborted(message["aborted"])
                self._stop(drop=True)
            self._take_news(place, message)

    def _take_news(self, place: int, message: dict[str, Any]) -> None:
        if "measured" in message:
            self._unmeasured -= 1
            if self._unmeasured == 0 and len(self._processes) > 1:
                self._stop(drop=False)
        elif "progress" in message:
            self._progress[place] = message["progress"]
            parts = self._progress.values()
            progress = LoadProgress(
                by_status=sum((Counter(part["by_status"]) for part in parts), Counter()),
                in_flight=sum(part["in_flight"] for part in parts),
                missed=tuple(map(sum, zip(*(part["missed"] for part in parts), strict=True))),
            )
            if not self._on_progress(progress) and not self._dropped:
                self._stop(drop=True)

    def _stop(self, *, drop: bool) -> None:
        self._dropped |= drop
        for process in self._processes:
            process.stop(drop=drop)


def _read(
    place: int,
    process: LoadProcess,
    job: LoadJob,
    inbox: SimpleQueue[tuple[int, bytes | StageError]],
) -> None:
    try:
        for line in process.lines(job):
            inbox.put((place, line))
    except StageError as error:
        inbox.put((place, error))
