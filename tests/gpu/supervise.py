"""Runs the parts of the check in processes, so that none takes the others' figures with it."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence

from gpu.report import Report

START_S = 120.0
"""Longest time until a process begins its first part: it imports PyTorch."""


def run_parts(parts: Sequence[tuple[str, float]], command: Sequence[str], report: Report) -> None:
    """Run parts one after another in one process; after a part that went wrong, in another one.

    Args:
        parts: each with its longest time, in seconds.
        command: runs the parts whose names are appended, and prints their rows.
        report: receives what the process cannot say itself; its failed rows include the process's.
    """
    left = dict(parts)
    while left:
        with _process([*command, *left]) as (process, lines):
            lost = _follow(process, lines, left, report)
        if lost is not None:
            part = next(iter(left))
            left.pop(part)
            report.row(part, ok=False, error=lost)


def _follow(
    process: "subprocess.Popen[str]",
    lines: "queue.Queue[str | None]",
    left: dict[str, float],
    report: Report,
) -> str | None:
    """Take the parts that a process ends out of `left`; return why it did not end the first one.

    None means that every part that it began was ended.
    """
    started = begun = False
    limit_s = START_S
    deadline = time.monotonic() + limit_s
    while left:
        try:
            line = lines.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            return f"not done within {limit_s:.0f} s"
        if line is None:
            ended = f"its process ended with exit code {process.wait()}"
            return ended if begun or not started else None
        stage = _show(line, report)
        if stage == f"{next(iter(left))} began":
            started = begun = True
            limit_s = left[next(iter(left))]
        elif stage == f"{next(iter(left))} ended":
            left.pop(next(iter(left)))
            begun, limit_s = False, START_S
        else:
            continue
        deadline = time.monotonic() + limit_s
    return None


def _show(line: str, report: Report) -> str | None:
    """Print a line of the process; return the stage if it is a row."""
    print(line, end="", flush=True)
    try:
        row = json.loads(line)
    except ValueError:
        return None
    if not isinstance(row, dict) or "stage" not in row:
        return None
    if row.get("ok") is False:
        report.failed.append(row)
    return str(row["stage"])


@contextlib.contextmanager
def _process(
    command: Sequence[str],
) -> Iterator[tuple[subprocess.Popen[str], "queue.Queue[str | None]"]]:
    """Start a process in a session of its own; give its lines, and None at its end."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, errors="replace", start_new_session=True
    )
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    try:
        yield process, lines
    finally:
        # Its children too, such as a server that a part has started.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
