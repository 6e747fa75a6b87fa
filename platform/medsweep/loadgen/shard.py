"""A load generator process on another machine: an actor on a CPU node of the Ray cluster."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Generator, Sequence
from queue import Empty, SimpleQueue
from typing import Any, Self

from medsweep.clock import MonotonicClock
from medsweep.errors import StageError
from medsweep.loadgen.calibrate import calibrate
from medsweep.loadgen.calibration import Calibration, CalibrationLoad
from medsweep.loadgen.clock_offset import ClockOffset, measure_offset
from medsweep.loadgen.process import LAST, LoadProcess
from medsweep.loadgen.spec import LoadJob

LABELS = {"medsweep.io/gpu": "none", "medsweep.io/role": "load"}
"""Ray labels of the nodes that shards run on: of the CPU pool, and nothing else runs there."""

START_TIMEOUT_S = 600.0
# A batch of lines crosses the network this often.
_EVERY_S = 0.05


class Shard:
    """A context manager around one load generator process on another machine.

    It is used as `LoadProcess` is. Its process ends with the driver, even if that is killed.

    Args:
        start_timeout_s: how long to wait for a node with a free CPU, in seconds.
    """

    lead_s = 1.0
    """Time for a job to reach every shard before the common start, in seconds."""

    def __init__(self, start_timeout_s: float = START_TIMEOUT_S) -> None:
        self._start_timeout_s = start_timeout_s
        self._actor: Any = None
        self._place = "on a node that is not known yet"

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> None:
        import ray

        # Several calls at once: lines are taken while the clock is asked and the load is stopped.
        options: dict[str, Any] = {"num_cpus": 1, "label_selector": LABELS, "max_concurrency": 4}
        self._actor = ray.remote(_Host).options(**options).remote()

    def wait_ready(self) -> None:
        """Wait until the process can begin a job at once.

        Raises:
            StageError: no node had a free CPU in time, or the process died.
        """
        if self._actor is None:
            self._start()  # the one before died in its job, which failed; this job need not
        self._place = f"on node {self._ask('wait_ready', timeout_s=self._start_timeout_s)}"

    def clock_offset(self) -> ClockOffset:
        """Return how far the clock of the shard's machine is ahead of this one's."""
        return measure_offset(lambda: self._ask("stamps"), MonotonicClock())

    def lines(self, job: LoadJob) -> Generator[bytes]:
        """Start one load point and yield what the process writes, up to its last line.

        Raises:
            StageError: the shard died.
        """
        complete = False
        try:
            self.wait_ready()
            self._ask("begin", job.to_json())
            while not complete:
                for line in self._ask("take"):
                    complete = line.startswith(LAST)
                    yield line
        finally:
            # Lines of this load are still to come: the next job would take them for its own.
            if not complete:
                self.close()

    def stop(self, *, drop: bool) -> None:
        """Have the running job send nothing more; with `drop` give up what is in flight too."""
        if self._actor is not None:
            self._actor.stop.remote(drop)  # if it has died, `lines` reports it

    def calibrate(
        self, loads: Sequence[CalibrationLoad], *, requests_per_worker: int
    ) -> list[Calibration]:
        """Measure the process's own error with a mock server on its own machine.

        Raises:
            StageError: it could not be measured.
        """
        self.wait_ready()
        measured: list[Calibration] = self._ask("calibrate", list(loads), requests_per_worker)
        return measured

    def close(self) -> None:
        """End the process; may be called twice."""
        if self._actor is not None:
            import ray

            ray.kill(self._actor)
            self._actor = None

    def _ask(self, method: str, *arguments: object, timeout_s: float | None = None) -> Any:
        import ray
        from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

        actor = self._actor
        if actor is None:
            raise StageError(f"a shard of the load generator {self._place} was stopped")
        try:
            return ray.get(getattr(actor, method).remote(*arguments), timeout=timeout_s)
        except GetTimeoutError:
            labels = ", ".join(f"{name}={value}" for name, value in LABELS.items())
            raise StageError(
                f"a shard of the load generator did not start within {timeout_s:.0f} s: no node of "
                f"the Ray cluster with the labels {labels} has a free CPU"
            ) from None
        except RayTaskError as error:
            raise error.cause or error from None
        except RayActorError as error:
            raise StageError(f"a shard of the load generator {self._place} died: {error}") from None


class _Host:
    """Runs on the shard's node, between its load generator process and the driver."""

    def __init__(self) -> None:
        self._process = LoadProcess()
        self._process.__enter__()
        self._inbox: SimpleQueue[bytes | Exception] = SimpleQueue()

    def wait_ready(self) -> str:
        import ray

        self._process.wait_ready()
        return str(ray.util.get_node_ip_address())

    def stamps(self) -> tuple[float, float]:
        received_s = time.perf_counter()
        return received_s, time.perf_counter()

    def begin(self, job: dict[str, Any]) -> None:
        self._inbox = SimpleQueue()
        arguments = LoadJob.from_json(job), self._inbox
        threading.Thread(target=self._read, args=arguments, daemon=True).start()

    def _read(self, job: LoadJob, inbox: SimpleQueue[bytes | Exception]) -> None:
        try:
            for line in self._process.lines(job):
                inbox.put(line)
        except Exception as error:  # noqa: BLE001 `take` raises it in the driver
            inbox.put(error)

    def take(self) -> list[bytes]:
        """Return the lines that have come since the last call; waits for one."""
        lines: list[bytes] = []
        item: bytes | Exception = self._inbox.get()
        time.sleep(_EVERY_S)
        with contextlib.suppress(Empty):
            while not isinstance(item, Exception):
                lines.append(item)
                item = self._inbox.get_nowait()
        if isinstance(item, Exception):
            if not lines:
                raise item
            self._inbox.put(item)  # nothing comes behind it
        return lines

    def stop(self, drop: bool) -> None:
        self._process.stop(drop=drop)

    def calibrate(
        self, loads: list[CalibrationLoad], requests_per_worker: int
    ) -> list[Calibration]:
        return calibrate(loads, requests_per_worker=requests_per_worker)
