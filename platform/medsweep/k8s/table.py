"""How a sweep in a cluster is shown: a table that is drawn again on a terminal, or plain lines."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TextIO

from medsweep.k8s.state import JobState, Phase
from medsweep.k8s.submit import OVER, Submission, TaskState
from medsweep.reporter import Reporter
from medsweep.sweep.progress import duration

_ORDER: tuple[Phase, ...] = ("failed", "running", "starting", "ending", "queued", "waiting", "done")

REDRAW_S = 1.0


class Table:
    """Shows a submission as it goes on.

    Args:
        out: where to; None is standard error.
    """

    def __init__(self, out: TextIO | None = None) -> None:
        self._reporter = Reporter(out)
        self._drawn_at = float("-inf")
        self._said: dict[str, tuple[str, str | None]] = {}

    @property
    def is_terminal(self) -> bool:
        """Whether the table is drawn, and so has to be drawn again."""
        return self._reporter.is_terminal

    def show(self, submission: Submission) -> None:
        """Draw the table again, or write a line for each task whose phase or reason changed."""
        changed = submission.changed()
        if self.is_terminal:
            # It holds every job: at 10,000 of them it must not be drawn at every change.
            if time.monotonic() - self._drawn_at >= REDRAW_S or not submission.left:
                self._draw(submission.states)
                self._drawn_at = time.monotonic()
            return
        for each in changed:
            now = (each.job.phase, each.job.reason)
            before = self._said.get(each.job.name, ("waiting", None))
            if now != before:
                self._reporter.line(f"{each.task.stage} {each.task.what}: {_words(each.job)}")
                self._said[each.job.name] = now

    def _draw(self, states: Sequence[TaskState]) -> None:
        shown = sorted(states, key=lambda each: _ORDER.index(each.job.phase))
        rows = max(self._reporter.height - 3, 1)
        lines = [summary(states)]
        width = max((len(each.task.what) for each in shown[:rows]), default=0)
        lines += [
            f"  {each.task.stage:<9}  {each.task.what:<{width}}  {_words(each.job)}"
            for each in shown[:rows]
        ]
        if len(shown) > rows:
            lines.append(f"  … and {len(shown) - rows} more")
        self._reporter.status(lines)


def summary(states: Sequence[TaskState]) -> str:
    """Return the tasks by phase, and how long the rest will take as far as that is known."""
    counts = Counter(each.job.phase for each in states)
    parts = ", ".join(f"{counts[phase]} {phase}" for phase in _ORDER if counts[phase])
    eta = eta_s(states)
    left = f"; about {duration(eta)} left" if eta else ""
    return f"{len(states)} jobs: {parts or 'none'}{left}"


def eta_s(states: Sequence[TaskState]) -> float | None:
    """Return the seconds left: what is left of each stage times its mean, over jobs at work.

    None before a job of every stage that is left has been seen to its end.
    """
    total, working = 0.0, 0
    for stage in {each.task.stage for each in states}:
        ours = [each.job for each in states if each.task.stage == stage]
        left = sum(job.phase not in OVER for job in ours)
        took = [job.seconds for job in ours if job.phase == "done" and job.seconds is not None]
        working += sum(job.phase == "running" for job in ours)
        if left and not took:
            return None
        total += left * sum(took) / len(took) if left else 0.0
    return total / max(working, 1)


def job_row(job: JobState) -> dict[str, str | float | None]:
    """Return one job for a table or for JSON."""
    return {
        "job": job.name,
        "stage": job.stage,
        "key": job.key,
        "profile": job.profile,
        "phase": job.phase,
        "node": job.node,
        "seconds": job.seconds if job.seconds is not None else _since(job),
        "reason": job.reason,
    }


def _words(job: JobState) -> str:
    seconds = job.seconds if job.seconds is not None else _since(job)
    parts: list[str] = [job.phase]
    parts += [f"on {job.node}"] if job.node and job.phase not in OVER else []
    parts += [f"({duration(seconds)})"] if seconds is not None else []
    return " ".join(parts) + (f": {job.reason}" if job.reason else "")


def _since(job: JobState) -> float | None:
    if job.started is None or job.phase != "running":
        return None
    return (datetime.now(UTC) - job.started).total_seconds()
