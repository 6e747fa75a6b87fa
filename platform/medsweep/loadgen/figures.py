"""From the records of one load point to its figures, in bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from medsweep.loadgen.growth import Growth
from medsweep.loadgen.objective import Objective
from medsweep.loadgen.reservoir import Sample
from medsweep.metrics.latency import Summary, share_inside
from medsweep.metrics.request_record import RequestRecord

LATENCIES = ("ttft", "tpot", "itl", "e2e", "dispatch_delay")


@dataclass(frozen=True)
class Figures:
    """What was measured of one load point. Only measured requests count, except in throughput.

    Attributes:
        sent: measured requests that have ended.
        ok: those that were answered.
        failed_by_kind: the others.
        unmeasured_failed_by_kind: failures of warm-up and cool-down, which count for nothing.
        words: for each kind of failure what the first one said.
        empty: answers without any text.
        uncounted: answers of which the server did not say how many tokens they held.
        latencies: summaries in seconds of the answered requests, by name (`LATENCIES`); of the
            gaps between tokens, all are pooled.
        prompt_tokens_mean: tokens of a prompt; None if unknown.
        output_tokens_mean: tokens of an answer; None if unknown.
        window_s: from the first measured send to the last measured end.
        requests_per_s: answers of any phase from the first measured send to the first send after
            the measured ones, over that time. In an open loop those that ended in it. In a closed
            loop each counts by the share of its own time that lies in it: a server that answers in
            waves ends as many as there are workers at once, and whether such a wave falls just
            inside or outside would decide the figure.
        output_tokens_per_s: tokens that came in that time, over it; None if unknown.
        goodput_rps: the part of `requests_per_s` that is within all objectives; None without any.
        late: for each objective the measured requests that missed it or failed.
        growth: seconds that answers took longer for each second of an open loop, where the server
            fell behind; None where it did not.
    """

    sent: int
    ok: int
    failed_by_kind: dict[str, int]
    unmeasured_failed_by_kind: dict[str, int]
    words: dict[str, str]
    empty: int
    uncounted: int
    latencies: dict[str, Summary]
    prompt_tokens_mean: float | None
    output_tokens_mean: float | None
    window_s: float | None
    requests_per_s: float | None
    output_tokens_per_s: float | None
    goodput_rps: float | None
    late: tuple[int, ...]
    growth: float | None = None

    @property
    def failed(self) -> int:
        """Measured requests without a whole answer."""
        return sum(self.failed_by_kind.values())


def figures_of(records: Iterable[RequestRecord], objectives: Sequence[Objective] = ()) -> Figures:
    """Return the figures of a load point.

    The definitions are those of `metrics.latency`, computed while the records pass by.

    Args:
        records: of all phases; gone through twice.
        objectives: what an answer must meet to count as goodput.
    """
    samples = {name: Sample() for name in LATENCIES}
    prompt_tokens, output_tokens = Sample(), Sample()
    status: Counter[str] = Counter()
    unmeasured: Counter[str] = Counter()
    words: dict[str, str] = {}
    empty = uncounted = good = 0
    late = [0] * len(objectives)
    growth = Growth()
    first_s, last_s, next_s = float("inf"), float("-inf"), float("inf")
    for record in records:
        if record.error is not None:
            words.setdefault(record.status, record.error)
        if record.phase != "measure":
            unmeasured[record.status] += record.status != "ok"
            if record.phase == "cooldown":
                next_s = min(next_s, record.sent_s)
            continue
        status[record.status] += 1
        first_s, last_s = min(first_s, record.sent_s), max(last_s, record.end_s)
        missed = [not objective.met_by(record) for objective in objectives]
        late = [count + one for count, one in zip(late, missed, strict=True)]
        if record.status != "ok":
            continue
        good += not any(missed)
        growth.add(record.due_s, record.e2e_s)
        empty += record.first_text_s is None
        uncounted += record.output_tokens is None
        samples["ttft"].add([record.ttft_s])
        samples["tpot"].add([record.tpot_s])
        samples["itl"].add(record.itl_s)
        samples["e2e"].add([record.e2e_s])
        samples["dispatch_delay"].add([record.dispatch_delay_s])
        prompt_tokens.add([record.prompt_tokens])
        output_tokens.add([record.output_tokens])
    ok = status.pop("ok", 0)
    ended, produced = _throughput(records, first_s, min(next_s, last_s))
    return Figures(
        sent=ok + status.total(),
        ok=ok,
        failed_by_kind=dict(status),
        unmeasured_failed_by_kind=dict(+unmeasured),
        words=words,
        empty=empty,
        uncounted=uncounted,
        latencies={name: sample.summary() for name, sample in samples.items()},
        prompt_tokens_mean=prompt_tokens.summary().mean,
        output_tokens_mean=output_tokens.summary().mean,
        window_s=last_s - first_s if last_s > first_s else None,
        requests_per_s=ended,
        output_tokens_per_s=produced,
        goodput_rps=ended * good / ok if objectives and ended is not None and ok else None,
        late=tuple(late),
        growth=growth.slope,
    )


def _throughput(
    records: Iterable[RequestRecord], start_s: float, stop_s: float
) -> tuple[float | None, float | None]:
    """Return answers and output tokens a second; None where there is no time, or tokens unknown."""
    if stop_s <= start_s:
        return None, None
    ended, produced, unknown = 0.0, 0.0, False
    for record in records:
        if record.status != "ok":
            continue
        if record.due_s is None:
            ended += share_inside(record.sent_s, record.end_s, start_s, stop_s)
        else:
            ended += start_s < record.end_s <= stop_s
        # Tokens count as spread evenly from the first text to the end.
        first_s = record.end_s if record.first_text_s is None else record.first_text_s
        share = share_inside(first_s, record.end_s, start_s, stop_s)
        if share:
            unknown |= record.output_tokens is None
            produced += share * (record.output_tokens or 0)
    took_s = stop_s - start_s
    return ended / took_s, None if unknown else produced / took_s
