"""Progress of a run: phase, elapsed time, time left, and what the running step does."""

from __future__ import annotations

import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TextIO

from medsweep.metrics.request_record import RequestRecord
from medsweep.report.numbers import seconds as time_text
from medsweep.reporter import Reporter

# Of a step that has done less than this share, the rest cannot be told from it.
_LEAST_SHARE = 0.05
_NOTES_KEPT = 12


@dataclass
class _Step:
    kind: str
    text: str
    count: int
    began_s: float
    detail: str = ""
    share: float | None = None


class SweepProgress:
    """Counts steps by kind and estimates the time left.

    A step of a kind that was seen takes as long as those before it, on average; one of a kind that
    was not takes what the plan predicts.

    Args:
        out: where to write; None is standard error.
        begins: is called with the kind of each step that begins.
        now: reads the clock, in seconds.
    """

    def __init__(
        self,
        out: TextIO | None = None,
        begins: Callable[[str], None] = lambda kind: None,
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._begins = begins
        self._left: dict[str, int] = {}
        self._total = 0
        self._took: dict[str, list[float]] = defaultdict(list)
        self._predicted_s: Mapping[str, float] = {}
        self._reporter = Reporter(out)
        self._now, self._began_s = now, now()
        self._running: _Step | None = None
        self._notes = deque[str](maxlen=_NOTES_KEPT)
        # The status is drawn by a thread of its own too.
        self._lock = threading.RLock()

    def expect(
        self, steps: Mapping[str, int], predicted_s: Mapping[str, float] | None = None
    ) -> None:
        """Set the number of steps, by kind ("fine-tune", "deploy", "load").

        Args:
            steps: how many of each kind.
            predicted_s: what the plan predicts for a step of a kind, in seconds; a kind without a
                prediction is left out.
        """
        self._left = dict(steps)
        self._total = sum(steps.values())
        self._predicted_s = predicted_s or {}

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
        step = _Step(kind, f"{kind}: {what}", count, self._now())
        with self._doing(step, stays=announce):
            yield
        took = self._now() - step.began_s
        self._took[kind] += [took / count] * count
        self._left[kind] -= count
        self._show(f"{step.text} ({took:.1f} s)", stays=True)

    @contextmanager
    def phase(self, text: str) -> Iterator[None]:
        """Show what is done that is no step, and for how long."""
        with self._doing(_Step("", text, 0, self._now()), stays=False):
            yield

    @contextmanager
    def _doing(self, step: _Step, *, stays: bool) -> Iterator[None]:
        with self._lock:
            self._running = step
            self._show(step.text, stays=stays)
        ended = threading.Event()
        ticker = threading.Thread(target=self._tick, args=(ended,), name="progress", daemon=True)
        ticker.start()
        try:
            yield
        finally:
            ended.set()
            ticker.join()
            with self._lock:
                self._running = None

    def detail(self, text: str, share: float | None = None) -> None:
        """Say what the running step does.

        Args:
            text: its figures so far.
            share: of it that is done, 0 to 1; None if that is not known.
        """
        with self._lock:
            if self._running is not None:
                self._running.detail, self._running.share = text, share

    def training(self, row: Mapping[str, Any]) -> None:
        """Show where a fine-tune is: a row of `finetune.session.finetune`'s `on_step`."""
        parts = [f"step {row['step']} of {row['steps']}", f"loss {row['loss']:.3f}"]
        if row["tokens_per_s"] is not None:
            parts.append(f"{row['tokens_per_s']:.0f} tokens/s")
        self.detail(", ".join(parts), row["step"] / row["steps"])

    def load(self, requests: int | None) -> Callable[[RequestRecord], None]:
        """Return what takes the records of a load as they come, and shows its figures.

        Args:
            requests: how many are to be measured; None if the duration decides.
        """
        first_s, count, failed, ttfts = float("inf"), 0, 0, list[float]()

        def take(record: RequestRecord) -> None:
            nonlocal first_s, count, failed
            if record.phase != "measure":
                return
            first_s = min(first_s, record.sent_s)
            count += 1
            failed += record.status != "ok"
            if record.ttft_s is not None:
                ttfts.append(record.ttft_s)
            parts = [f"{count}{'' if requests is None else f' of {requests}'} requests"]
            if (elapsed_s := record.end_s - first_s) > 0:
                parts.append(f"{count / elapsed_s:.3g} requests/s")
            if ttfts:
                parts.append(f"TTFT {time_text(sum(ttfts) / len(ttfts))}")
            if failed:
                parts.append(f"{failed} failed")
            self.detail(", ".join(parts), None if requests is None else min(1.0, count / requests))

        return take

    def note(self, text: str) -> None:
        """Write a line that stays."""
        with self._lock:
            self._notes.append(text)
            self._reporter.line(text)

    def skip(self, kind: str, count: int) -> None:
        """Remove steps that are not needed."""
        self._left[kind] -= count

    @property
    def state(self) -> dict[str, Any]:
        """What is done now: the status line, and the last lines that stayed."""
        with self._lock:
            return {"status": self._line(), "notes": list(self._notes)}

    def _estimate(self) -> tuple[float, bool]:
        """Return the seconds left that are known of, and whether that is all of them."""
        total, complete, running = 0.0, True, self._running
        for kind, left in self._left.items():
            if left <= 0:
                continue
            took = self._took[kind]
            each_s = sum(took) / len(took) if took else self._predicted_s.get(kind)
            if running is not None and running.kind == kind:
                left -= running.count
                elapsed_s = self._now() - running.began_s
                if running.share is not None and running.share >= _LEAST_SHARE:
                    total += elapsed_s / running.share - elapsed_s
                elif each_s is not None:
                    total += max(0.0, each_s * running.count - elapsed_s)
                else:
                    complete = False
                if each_s is None and running.share is not None and left > 0:
                    each_s = elapsed_s / max(running.share, _LEAST_SHARE)
            if each_s is None:
                complete &= left <= 0
            else:
                total += max(0, left) * each_s
        return total, complete

    def _tick(self, ended: threading.Event) -> None:
        """Redraw the status every second, or write a line now and then."""
        while not ended.wait(self._reporter.every_s):
            with self._lock:
                if self._running is not None and not ended.is_set():
                    if self._reporter.is_terminal:
                        self._reporter.status([self._line()])
                    else:
                        self._reporter.line(self._line())

    def _line(self, text: str | None = None) -> str:
        """Return the line of the running step, or of another text."""
        count = self._total - sum(self._left.values())
        seconds, complete = self._estimate()
        left = None
        if count < self._total and (complete or seconds >= 1):
            left = f"{'about' if complete else 'at least'} {duration(seconds)}"
        if text is None:
            running = self._running
            text = "" if running is None else running.text
            if running is not None and running.detail:
                text += f": {running.detail}"
        return f"{place(count, self._total, self._now() - self._began_s, left)} {text}"

    def _show(self, text: str, *, stays: bool) -> None:
        with self._lock:
            line = self._line(text)
            over = sum(self._left.values()) <= 0 and self._running is None
            if over:
                self._reporter.clear()
            if stays:
                self._notes.append(line)
            if stays and (over or not self._reporter.is_terminal):
                self._reporter.line(line)
            else:
                self._reporter.status([line])


def place(count: int, total: int | None, elapsed_s: float, left: str | None = None) -> str:
    """Return how far a command is, as every progress line begins: `[2/7, 5 s, about 9 s left]`.

    Args:
        count: number of what is done, or is being done.
        total: of all; None if that is not known.
        elapsed_s: since the command began, in seconds.
        left: the time left in words; None if it is not known.
    """
    parts = [f"{count}" if total is None else f"{count}/{total}", duration(elapsed_s)]
    parts += [] if left is None else [f"{left} left"]
    return f"[{', '.join(parts)}]"


def duration(seconds: float) -> str:
    """Return a time in words: `45 s`, `3 min 20 s`, `2 h 5 min`."""
    rounded = round(seconds)
    if rounded < 60:
        return f"{rounded} s"
    if rounded < 3600:
        return f"{rounded // 60} min {rounded % 60} s"
    return f"{rounded // 3600} h {rounded % 3600 // 60} min"
