"""Show the progress of a sweep in a cluster: a live table on a terminal, otherwise plain lines."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TextIO

from medsweep.k8s.state import JobState, Phase
from medsweep.k8s.submit import OVER, Submission, TaskState
from medsweep.reporter import Reporter
from medsweep.sweep.progress import duration, place

_ORDER: tuple[Phase, ...] = ("failed", "running", "starting", "ending", "queued", "waiting", "done")

REDRAW_S = 1.0


class SubmissionTable:
    """Shows the progress of a submission.

    Args:
        out: stream to write to; None means standard error.
    """

    def __init__(self, out: TextIO | None = None) -> None:
        self._reporter = Reporter(out)
        self._began_s, self._drawn_at = time.monotonic(), float("-inf")
        self._written: dict[str, tuple[str, str | None]] = {}

    @property
    def is_terminal(self) -> bool:
        """Whether the output is a terminal, on which the table is redrawn."""
        return self._reporter.is_terminal

    def show(self, submission: Submission) -> None:
        """Redraw the table, or write a line for each task whose phase or reason changed."""
        changed = submission.changed()
        if self.is_terminal:
            # Drawing covers every job: with 10,000 of them, once per change would be too often.
            if time.monotonic() - self._drawn_at >= REDRAW_S or not submission.left:
                self._draw(submission.states)
                self._drawn_at = time.monotonic()
            return
        for each in changed:
            now = (each.job.phase, each.job.reason)
            before = self._written.get(each.job.name, ("waiting", None))
            if now != before:
                self._reporter.line(f"{each.task.stage} {each.task.what}: {_describe(each.job)}")
                self._written[each.job.name] = now

    def _draw(self, states: Sequence[TaskState]) -> None:
        ordered = sorted(states, key=lambda each: _ORDER.index(each.job.phase))
        visible = ordered[: max(self._reporter.height - 3, 1)]
        over, left_s = sum(each.job.phase in OVER for each in states), eta_s(states)
        left = f"about {duration(left_s)}" if left_s else None
        elapsed_s = time.monotonic() - self._began_s
        lines = [f"{place(over, len(states), elapsed_s, left)} {_counts(states)}"]
        width = max((len(each.task.what) for each in visible), default=0)
        lines += [
            f"  {each.task.stage:<9}  {each.task.what:<{width}}  {_describe(each.job)}"
            for each in visible
        ]
        if len(ordered) > len(visible):
            lines.append(f"  … and {len(ordered) - len(visible)} more")
        self._reporter.status(lines)


def summary(states: Sequence[TaskState]) -> str:
    """Return the number of tasks in each phase, and the remaining time if it can be estimated."""
    eta = eta_s(states)
    left = f"; about {duration(eta)} left" if eta else ""
    return f"{len(states)} jobs: {_counts(states) or 'none'}{left}"


def _counts(states: Sequence[TaskState]) -> str:
    counts = Counter(each.job.phase for each in states)
    return ", ".join(f"{counts[phase]} {phase}" for phase in _ORDER if counts[phase])


def eta_s(states: Sequence[TaskState]) -> float | None:
    """Return the remaining time in seconds, or None if a remaining stage has no finished job yet.

    It is the number of unfinished jobs times the mean duration, summed over stages and divided by
    the number of running jobs.
    """
    total, running = 0.0, 0
    for stage in {each.task.stage for each in states}:
        jobs = [each.job for each in states if each.task.stage == stage]
        left = sum(job.phase not in OVER for job in jobs)
        took = [job.seconds for job in jobs if job.phase == "done" and job.seconds is not None]
        running += sum(job.phase == "running" for job in jobs)
        if left and not took:
            return None
        total += left * sum(took) / len(took) if left else 0.0
    return total / max(running, 1)


def job_row(job: JobState) -> dict[str, str | int | None]:
    """Return one job as a row of a table or of JSON."""
    seconds = job.seconds if job.seconds is not None else _since(job)
    return {
        "job": job.name,
        "stage": job.stage,
        "key": job.key,
        "profile": job.profile,
        "phase": job.phase,
        "node": job.node,
        "seconds": None if seconds is None else round(seconds),
        "reason": job.reason,
    }


def _describe(job: JobState) -> str:
    seconds = job.seconds if job.seconds is not None else _since(job)
    parts: list[str] = [job.phase]
    parts += [f"on {job.node}"] if job.node and job.phase not in OVER else []
    parts += [f"({duration(seconds)})"] if seconds is not None else []
    return " ".join(parts) + (f": {job.reason}" if job.reason else "")


def _since(job: JobState) -> float | None:
    if job.started is None or job.phase != "running":
        return None
    return (datetime.now(UTC) - job.started).total_seconds()
