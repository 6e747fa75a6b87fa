"""The growing table of a load test, and a progress line below it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import TextIO

from medsweep.loadgen.bench import MeasuredPoint
from medsweep.loadgen.bench_results import notes
from medsweep.loadgen.failures import kinds_of
from medsweep.loadgen.fleet import LoadProgress
from medsweep.loadgen.spec import LoadPoint
from medsweep.report.numbers import seconds
from medsweep.reporter import Reporter
from medsweep.sweep.progress import place

COLUMNS = (
    ("load", 12),
    ("ok/sent", 9),
    ("TTFT ms", 8),
    ("p95 ms", 8),
    ("TPOT ms", 7),
    ("E2E s", 7),
    ("p95 s", 7),
    ("req/s", 7),
    ("tokens/s", 8),
)
"""Heading and width of each column; TTFT, TPOT and E2E are means. In all 80 columns."""
# Without a terminal a line is written this often.
_PLAIN_EVERY_S = 10.0


class Live:
    """Prints one row per finished load point, and the progress of the current one.

    Args:
        total: number of measurements to come, all repeats of all load points; None if unknown.
        rows: stream for the rows.
        progress: stream for the progress line.
        now: reads the clock, in seconds.
    """

    def __init__(
        self,
        total: int | None,
        rows: TextIO | None = None,
        progress: TextIO | None = None,
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total, self._now = total, now
        self._began_s = now()
        self._load: tuple[LoadPoint, int] | None = None
        self._load_began: tuple[float, int] = (0.0, 0)
        self._rows, self._reporter = rows or sys.stdout, Reporter(progress)
        self._done = 0
        self._shown_s = now()
        self._rows.write(_line([name for name, _ in COLUMNS]))
        self._rows.flush()

    def show(self, point: LoadPoint, repeat: int, progress: LoadProgress) -> None:
        """Print the progress of a load point; on a terminal, in one line that is rewritten."""
        now_s, ended = self._now(), progress.by_status.total()
        if self._load != (point, repeat):
            self._load, self._load_began = (point, repeat), (now_s, ended)
        if not self._reporter.is_terminal and now_s - self._shown_s < _PLAIN_EVERY_S:
            return
        self._shown_s = now_s
        total = point.measured_requests
        of = f"/{total + point.warmup_requests}" if total is not None else ""
        begun = place(self._done + 1, self._total, now_s - self._began_s)
        text = f"{begun} {point.words}, repeat {repeat}: {ended}{of} ended"
        if point.concurrency is None:  # in a closed loop it is the number of clients
            text += f", {progress.in_flight} in flight"
        began_s, before = self._load_began
        if now_s > began_s and ended > before:
            text += f", {(ended - before) / (now_s - began_s):.3g} req/s"
        if progress.ttft_mean_s is not None:
            text += f", TTFT {seconds(progress.ttft_mean_s)}"
        if progress.failed:
            text += f", {progress.failed} failed ({kinds_of(progress.by_status)})"
        if self._reporter.is_terminal:
            self._reporter.status([text])
        else:
            self._reporter.line(text)

    def add(self, measured: MeasuredPoint) -> None:
        """Print the row of a finished load point, with its notes below."""
        self._done += 1
        self._reporter.clear()
        figures = measured.figures
        latencies = figures.latencies
        self._rows.write(
            _line(
                [
                    measured.point.name,
                    f"{figures.ok}/{figures.sent}",
                    _figure(latencies["ttft"].mean, 1e3),
                    _figure(latencies["ttft"].p95, 1e3),
                    _figure(latencies["tpot"].mean, 1e3),
                    _figure(latencies["e2e"].mean, 1.0, 3),
                    _figure(latencies["e2e"].p95, 1.0, 3),
                    _figure(figures.requests_per_s, 1.0, 2),
                    _figure(figures.output_tokens_per_s, 1.0),
                ]
            )
        )
        failed = figures.failed_by_kind or figures.unmeasured_failed_by_kind
        remarks = [f"failed: {kinds_of(failed)}"] if figures.failed_by_kind else []
        if measured.met is not None:
            remarks.append("meets the objectives" if measured.met else "misses the objectives")
        if measured.met_reason is not None:
            remarks.append(f"not known whether it meets the objectives: {measured.met_reason}")
        for text in (*remarks, *notes(measured)):
            self._rows.write(f"    {text}\n")
        self._rows.flush()


def _line(cells: Sequence[str]) -> str:
    first, *others = zip(cells, (width for _, width in COLUMNS), strict=True)
    padded = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
    return " ".join(padded).rstrip() + "\n"


def _figure(value: float | None, scale: float, digits: int = 1) -> str:
    """Return a number, or a dash if too few requests support it."""
    return "-" if value is None else f"{value * scale:.{digits}f}"
