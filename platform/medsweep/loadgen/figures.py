"""From the records of one load point to its figures, in bounded memory.

A rate is a number of answers over the length of a window. What is counted depends on the load:

- Closed loop. The window runs from the first measured send to the last measured end. Each answer,
  of any phase, counts by the share of its own time inside the window: a server that answers in
  waves ends as many answers at once as there are workers, and whether such a wave falls just
  inside the window would otherwise decide the figure.
- Open loop that keeps up. Answers leave at the rate at which requests arrive. The window covers the
  due times of the measured requests and the gap after the last: n arrivals, evenly spaced at rate
  r, cover n / r seconds. The answers to the requests that were due in it count, whenever they
  ended. The window must be longer than an answer, or nothing shows whether the server kept up:
  the rates are None then, and `rate_reason` says why.
- Open loop whose queue grows, or that was ended early. The window runs from the first measured end
  to the last, and the answers that ended in it count: that is the server's own rate.

Goodput is the same rate times the share of measured answers that meet every objective, so it
never exceeds the rate. A failure is no answer: it counts in neither.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from medsweep.loadgen.growth import Growth
from medsweep.loadgen.objective import Objective
from medsweep.loadgen.spec import LoadPoint
from medsweep.metrics.latency import LatencySketch, LatencySummary
from medsweep.metrics.request_record import RequestRecord
from medsweep.results.schema import LATENCIES


@dataclass(frozen=True)
class LoadWindow:
    """The time that the rates of a load point cover.

    Attributes:
        start_s: its start, in seconds on the clock of the records.
        stop_s: its end, on the same clock.
        last_s: when the last event that counts happened; before `stop_s` where a gap follows.
        counts: what of an answer is counted in it: the `share` of its time that lies inside, or
            the whole answer if its request was `due` or its last byte `ended` inside.
    """

    start_s: float
    stop_s: float
    last_s: float
    counts: Literal["share", "due", "ended"]

    @property
    def length_s(self) -> float:
        """Length in seconds."""
        return self.stop_s - self.start_s

    def weight(self, record: RequestRecord) -> float:
        """Return how much of an answer counts, 0 to 1."""
        if self.counts == "share":
            return self._share(record.sent_s, record.end_s)
        if self.counts == "due":
            return float(record.due_s is not None and self.start_s <= record.due_s <= self.last_s)
        return float(self.start_s < record.end_s <= self.stop_s)

    def token_weight(self, record: RequestRecord) -> float:
        """Return how much of an answer's tokens counts, 0 to 1.

        By the share of its time, tokens count as spread evenly from the first text to the end.
        """
        if self.counts != "share":
            return self.weight(record)
        first_s = record.end_s if record.first_text_s is None else record.first_text_s
        return self._share(first_s, record.end_s)

    def _share(self, begin_s: float, end_s: float) -> float:
        """Return the share of the time from `begin_s` to `end_s` that lies in the window."""
        if begin_s >= end_s:
            return float(self.start_s < end_s <= self.stop_s)
        overlap_s = min(end_s, self.stop_s) - max(begin_s, self.start_s)
        return max(overlap_s, 0.0) / (end_s - begin_s)


@dataclass(frozen=True)
class LoadFigures:
    """What was measured at one load point. Only measured requests count, except in the rates.

    Attributes:
        sent: measured requests that have ended.
        ok: those that were answered.
        failed_by_kind: the others.
        unmeasured_failed_by_kind: failures of warm-up and cool-down, which count in no figure.
        first_errors: for each kind of failure the message of the first.
        empty: answers without any text.
        uncounted: answers for which the server gave no number of tokens.
        at_once: answers whose tokens all came in one read, which have neither TPOT nor ITL.
        coarse: others of which too much came in the first read, which have no TPOT.
        latencies: summaries in seconds of the answered requests, by name
            (`results.schema.LATENCIES`); the gaps between tokens of all answers are pooled.
        itl_unit: what `itl` is a gap between: `token`, or `chunk` where the server does not say
            how many tokens each chunk holds; None without gaps.
        prompt_tokens_mean: tokens per prompt; None if unknown.
        output_tokens_mean: tokens per answer; None if unknown.
        window: the time that the rates cover; None where nothing was measured.
        requests_per_s: answers per second; see above.
        output_tokens_per_s: their tokens per second; None also if tokens are unknown.
        goodput_rps: answers per second that meet every objective; None without objectives.
        rate_reason: why the rates are None; None where they are known.
        missed: for each objective, the measured requests that missed it or failed.
        untimed: for each objective, the answers of which it is not known, as they have no TPOT;
            they do not count as goodput.
        growth: seconds by which answers got slower per second of an open loop, where the server
            fell behind; None where it did not.
    """

    sent: int
    ok: int
    failed_by_kind: dict[str, int]
    unmeasured_failed_by_kind: dict[str, int]
    first_errors: dict[str, str]
    empty: int
    uncounted: int
    at_once: int
    coarse: int
    latencies: dict[str, LatencySummary]
    itl_unit: Literal["token", "chunk"] | None
    prompt_tokens_mean: float | None
    output_tokens_mean: float | None
    window: LoadWindow | None
    requests_per_s: float | None
    output_tokens_per_s: float | None
    goodput_rps: float | None
    rate_reason: str | None
    missed: tuple[int, ...]
    untimed: tuple[int, ...] = ()
    growth: float | None = None

    @property
    def failed(self) -> int:
        """Measured requests without a complete answer."""
        return sum(self.failed_by_kind.values())

    @property
    def window_s(self) -> float | None:
        """Length of the window, in seconds."""
        return None if self.window is None else self.window.length_s


def figures_of(
    records: Iterable[RequestRecord],
    point: LoadPoint,
    objectives: Sequence[Objective] = (),
    *,
    complete: bool = True,
) -> LoadFigures:
    """Return the figures of a load point; the definitions are those at the top of this module.

    Args:
        records: of all phases, in any order; read twice.
        point: the load that they are of.
        objectives: what an answer must meet to count as goodput.
        complete: whether the load ran to its end; otherwise requests were dropped in flight.
    """
    counts = _Counts(objectives)
    for record in records:
        counts.add(record)
    status = dict(counts.status)
    ok = status.pop("ok", 0)
    ends = counts.growth.slope is not None or not complete
    window = counts.span.window(point, ends=ends)
    latencies = {name: sketch.summary() for name, sketch in counts.latencies.items()}
    reason = _rate_reason(window, latencies["e2e"].mean)
    answers_per_s, tokens_per_s = (
        (None, None) if window is None or reason else _rates(records, window)
    )
    goodput_rps: float | None = None
    if objectives and answers_per_s is not None:
        goodput_rps = answers_per_s * counts.good / ok if ok else 0.0
    itl_unit: Literal["token", "chunk"] | None = None
    if latencies["itl"].samples:
        itl_unit = "chunk" if counts.chunked else "token"
    return LoadFigures(
        sent=ok + sum(status.values()),
        ok=ok,
        failed_by_kind=status,
        unmeasured_failed_by_kind=dict(+counts.unmeasured),
        first_errors=counts.first_errors,
        empty=counts.empty,
        uncounted=counts.uncounted,
        at_once=counts.at_once,
        coarse=counts.coarse,
        latencies=latencies,
        itl_unit=itl_unit,
        prompt_tokens_mean=counts.prompt_tokens.mean,
        output_tokens_mean=counts.output_tokens.mean,
        window=window,
        requests_per_s=answers_per_s,
        output_tokens_per_s=tokens_per_s,
        goodput_rps=goodput_rps,
        rate_reason=reason,
        missed=tuple(counts.missed),
        untimed=tuple(counts.untimed),
        growth=counts.growth.slope,
    )


class _Counts:
    """What the records of a load point add up to; names as in `LoadFigures`."""

    def __init__(self, objectives: Sequence[Objective]) -> None:
        self._objectives = objectives
        self.latencies = {name: LatencySketch() for name in LATENCIES}
        self.prompt_tokens, self.output_tokens = LatencySketch(), LatencySketch()
        self.status, self.unmeasured = Counter[str](), Counter[str]()
        self.first_errors: dict[str, str] = {}
        self.empty = self.uncounted = self.at_once = self.coarse = 0
        self.good = 0  # answers that meet every objective
        self.chunked = 0  # answers of which it is not known how many tokens a chunk holds
        self.missed, self.untimed = [0] * len(objectives), [0] * len(objectives)
        self.growth, self.span = Growth(), _Span()

    def add(self, record: RequestRecord) -> None:
        if record.error is not None:
            self.first_errors.setdefault(record.status, record.error)
        if record.phase != "measure":
            self.unmeasured[record.status] += record.status != "ok"
            return
        self.status[record.status] += 1
        self.span.add(record)
        verdicts = [objective.met_by(record) for objective in self._objectives]
        for place, met in enumerate(verdicts):
            self.missed[place] += met is False
            self.untimed[place] += met is None
        if record.status != "ok":
            return
        self.good += all(verdicts)
        self.growth.add(record.due_s, record.e2e_s)
        self.empty += record.first_text_s is None
        self.uncounted += record.output_tokens is None
        self.at_once += record.came_at_once
        self.coarse += record.is_coarse
        self.chunked += any(record.chunk_gaps_s) and record.chunk_tokens is None
        for name, sketch in self.latencies.items():
            sketch.add(*record.itl_s if name == "itl" else (getattr(record, f"{name}_s"),))
        self.prompt_tokens.add(record.prompt_tokens)
        self.output_tokens.add(record.output_tokens)


class _Span:
    """First and last moments of the measured requests."""

    def __init__(self) -> None:
        self._count = 0
        self._sent_s = self._first_due_s = self._first_end_s = float("inf")
        self._last_due_s = self._last_end_s = float("-inf")

    def add(self, record: RequestRecord) -> None:
        self._count += 1
        self._sent_s = min(self._sent_s, record.sent_s)
        self._last_end_s = max(self._last_end_s, record.end_s)
        if record.status == "ok":
            self._first_end_s = min(self._first_end_s, record.end_s)
        if record.due_s is not None:
            self._first_due_s = min(self._first_due_s, record.due_s)
            self._last_due_s = max(self._last_due_s, record.due_s)

    def window(self, point: LoadPoint, *, ends: bool) -> LoadWindow | None:
        """Return the window of the rates.

        Args:
            point: the load.
            ends: whether an open loop is measured by its ends.
        """
        if not self._count:
            return None
        begin_s, last_s, gap_s = self._sent_s, self._last_end_s, 0.0
        counts: Literal["share", "due", "ended"] = "share"
        if point.concurrency is None and ends and self._first_end_s < self._last_end_s:
            begin_s, counts = self._first_end_s, "ended"
        elif point.concurrency is None:
            begin_s, last_s, counts = self._first_due_s, self._last_due_s, "due"
            gap_s = self._gap_s(point)
        window = LoadWindow(begin_s, last_s + gap_s, last_s, counts)
        return window if window.length_s > 0 else None

    def _gap_s(self, point: LoadPoint) -> float:
        """Return the time from the last arrival, or burst, to the next."""
        if point.rate is not None:
            return point.together / point.rate
        return (self._last_due_s - self._first_due_s) / max(1, self._count - 1)


def _rate_reason(window: LoadWindow | None, answer_s: float | None) -> str | None:
    if window is None:
        return "no rates: there is no measured time"
    if window.counts == "due" and answer_s is not None and window.length_s <= answer_s:
        return (
            f"no rates: requests were sent for {window.length_s:.3g} s and an answer takes "
            f"{answer_s:.3g} s; measure for longer (requests, duration)"
        )
    return None


def _rates(records: Iterable[RequestRecord], window: LoadWindow) -> tuple[float, float | None]:
    """Return answers and output tokens per second; None for tokens if some are unknown."""
    answers, tokens, unknown = 0.0, 0.0, False
    for record in records:
        if record.status != "ok":
            continue
        answers += window.weight(record)
        share = window.token_weight(record)
        if share:
            unknown |= record.output_tokens is None
            tokens += share * (record.output_tokens or 0)
    return answers / window.length_s, None if unknown else tokens / window.length_s
