"""Show the progress of a sweep in a cluster: a live table on a terminal, otherwise plain lines."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TextIO

from medsweep.k8s.state import JobState, Phase
from medsweep.k8s.submit import OVER, Submission, TaskState
from medsweep.reporter import Reporter
from medsweep.sweep.progress import duration, place

_ORDER: tuple[Phase, ...] = ("failed", "running", "starting", "ending", "queued", "waiting", "done")


class SubmissionTable:
    """Shows the progress of a submission.

    Args:
        out: stream to write to; None means standard error.
        now: reads the clock, in seconds.
    """

    def __init__(
        self, out: TextIO | None = None, *, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._reporter = Reporter(out)
        self._now, self._began_s = now, now()
        self._shown_s = float("-inf") if self._reporter.is_terminal else self._began_s
        self._written: dict[str, tuple[str, str | None]] = {}

    @property
    def every_s(self) -> float:
        """Seconds after which to call `show` again although nothing changed."""
        return self._reporter.every_s

    def show(self, submission: Submission) -> None:
        """Redraw the table, or write what changed, and the number of jobs in each phase.

        Those numbers cover every job: with 10,000 of them, once per change would be too often.
        """
        changed, is_terminal = submission.changed(), self._reporter.is_terminal
        if not is_terminal:
            self._write(changed, submission)
        is_last = is_terminal and not submission.left
        if is_last or self._now() - self._shown_s >= self.every_s:
            self._shown_s = self._now()
            if is_terminal:
                self._draw(submission.states)
            else:
                self._reporter.line(self._overview(submission.states))

    def _write(self, changed: Sequence[TaskState], submission: Submission) -> None:
        """Write a line for each task whose phase or reason changed."""
        begun = place(submission.total - submission.left, submission.total, self._elapsed_s)
        for each in changed:
            phase = (each.job.phase, each.job.reason)
            if phase != self._written.get(each.job.name, ("waiting", None)):
                self._reporter.line(
                    f"{begun} {each.task.stage} {each.task.what}: {_describe(each.job)}"
                )
                self._written[each.job.name] = phase

    @property
    def _elapsed_s(self) -> float:
        return self._now() - self._began_s

    def _overview(self, states: Sequence[TaskState]) -> str:
        over, left_s = sum(each.job.phase in OVER for each in states), eta_s(states)
        left = f"about {duration(left_s)}" if left_s else None
        return f"{place(over, len(states), self._elapsed_s, left)} {_counts(states)}"

    def _draw(self, states: Sequence[TaskState]) -> None:
        ordered = sorted(states, key=lambda each: _ORDER.index(each.job.phase))
        visible = ordered[: max(self._reporter.height - 3, 1)]
        lines = [self._overview(states)]
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
