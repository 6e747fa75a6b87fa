"""Progress of a run: finished and remaining steps, and an estimate of the time left."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from medsweep.reporter import Reporter


class SweepProgress:
    """Counts steps by kind, and estimates the time left from how long steps of each kind took.

    Args:
        out: where to write; None is standard error.
        begins: is called with the kind of each step that begins.
    """

    def __init__(
        self, out: TextIO | None = None, begins: Callable[[str], None] = lambda kind: None
    ) -> None:
        self._begins = begins
        self._left: dict[str, int] = {}
        self._total = 0
        self._took: dict[str, list[float]] = defaultdict(list)
        self._reporter = Reporter(out)

    def expect(self, steps: dict[str, int]) -> None:
        """Set the number of steps, by kind ("fine-tune", "deploy", "load")."""
        self._left = dict(steps)
        self._total = sum(steps.values())

    @contextmanager
    def step(
        self, kind: str, what: str, count: int = 1, *, announce: bool = False
    ) -> Iterator[None]:
        """Show that steps start, and count them when they end.

        Args:
            kind: of the steps.
            what: what they work on.
            count: number of steps done at once.
            announce: write a line at the start even without a terminal, for steps of minutes.
        """
        self._begins(kind)
        self._show(f"{kind}: {what}", stays=announce)
        started = time.monotonic()
        yield
        took = time.monotonic() - started
        self._took[kind] += [took / count] * count
        self._left[kind] -= count
        self._show(f"{kind}: {what} ({took:.1f} s)", stays=True)

    def note(self, text: str) -> None:
        """Write a line that stays."""
        self._reporter.line(text)

    def skip(self, kind: str, count: int) -> None:
        """Remove steps that are not needed."""
        self._left[kind] -= count

    @property
    def eta_s(self) -> float | None:
        """Seconds left; None until a step of every remaining kind has ended."""
        total = 0.0
        for kind, left in self._left.items():
            if left > 0:
                took = self._took[kind]
                if not took:
                    return None
                total += left * sum(took) / len(took)
        return total

    def _show(self, text: str, *, stays: bool) -> None:
        count = self._total - sum(self._left.values())
        eta = self.eta_s
        left = f", about {duration(eta)} left" if eta is not None and count < self._total else ""
        line = f"[{count}/{self._total}{left}] {text}"
        if count == self._total:
            self._reporter.clear()
        if stays and (count == self._total or not self._reporter.is_terminal):
            self._reporter.line(line)
        else:
            self._reporter.status([line])


def duration(seconds: float) -> str:
    """Return a time in words: `45 s`, `3 min 20 s`, `2 h 5 min`."""
    rounded = round(seconds)
    if rounded < 60:
        return f"{rounded} s"
    if rounded < 3600:
        return f"{rounded // 60} min {rounded % 60} s"
    return f"{rounded // 3600} h {rounded % 3600 // 60} min"
