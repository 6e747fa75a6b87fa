"""The load generator seen from the driver: a process that takes jobs and returns records."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Generator, Mapping, Sequence
from typing import Any, Self

from medsweep.errors import StageError
from medsweep.loadgen.clock_offset import SAME_CLOCK, ClockOffset
from medsweep.loadgen.spec import LoadJob
from medsweep.processes import start_process

_GRACE_S = 5.0
_STDERR_LINES = 10

LAST = (b'{"done"', b'{"aborted"')
"""The last line of a job begins with one of these."""


class LoadProcess:
    """A context manager around one `python -m medsweep.loadgen`, kept for a whole sweep.

    It is a separate process so that nothing in the driver (garbage collection, Parquet, plots) can
    delay the moments at which requests are sent and timed.
    """

    command: Sequence[str] = (sys.executable, "-m", "medsweep.loadgen")

    lead_s = 0.05
    """Time for a job to reach every process before the common start, in seconds."""

    def __enter__(self) -> Self:
        self._start()
        return self

    def _start(self) -> None:
        """Start the process.

        Raises:
            StageError: the system does not start it.
        """
        with contextlib.ExitStack() as opened:  # closed if the process does not start
            # A file and not a pipe: a pipe that nobody reads fills up and stops the writer.
            stderr = opened.enter_context(tempfile.TemporaryFile())
            self._process = start_process(
                "the load generator",
                self.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
            )
            opened.pop_all()
        self._stderr, self._ready = stderr, False

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def lines(self, job: LoadJob) -> Generator[bytes]:
        """Start one load point and yield what the process writes, up to its last line.

        Raises:
            StageError: the load generator died; quotes the end of its stderr.
        """
        complete = False
        try:
            self.wait_ready()
            try:
                self._send(job.to_json())
            except BrokenPipeError:
                raise self._died() from None
            while not complete:
                line = self._receive()
                complete = line.startswith(LAST)
                yield line
        finally:
            # The rest of this load is still on the pipe: the next job would take it for its own.
            if not complete:
                self.close()

    def clock_offset(self) -> ClockOffset:
        """Return how far its clock is ahead: not at all, since a machine has one clock."""
        return SAME_CLOCK

    def wait_ready(self) -> None:
        """Wait until the process can begin a job at once."""
        if self._stderr.closed:
            self._start()  # the one before died in its job, which failed; this job need not
        if not self._ready:
            self._receive()
            self._ready = True

    def stop(self, *, drop: bool) -> None:
        """Have the running job send nothing more; with `drop` give up what is in flight too."""
        # If it has died, or its pipe was closed because of that, `lines` reports it.
        with contextlib.suppress(BrokenPipeError, ValueError):
            self._send({"stop": "drop" if drop else "drain"})

    def close(self) -> None:
        """End the process, by force if needed; may be called twice."""
        process = self._process
        for pipe in (process.stdin, process.stdout):
            if pipe is not None and not pipe.closed:
                # Unsent bytes for a process that has already ended.
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        try:
            process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._stderr.close()

    def _send(self, message: Mapping[str, Any]) -> None:
        stdin = self._process.stdin
        if stdin is None or stdin.closed:
            raise BrokenPipeError
        stdin.write(json.dumps(message).encode() + b"\n")
        stdin.flush()

    def _receive(self) -> bytes:
        line = self._process.stdout.readline() if self._process.stdout else b""
        if not line:
            raise self._died()
        return line

    def _died(self) -> StageError:
        code = self._process.wait()
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").splitlines()[-_STDERR_LINES:]
        output = "\n".join(lines) or "it wrote nothing on stderr"
        return StageError(f"the load generator ended with exit code {code}:\n{output}")
