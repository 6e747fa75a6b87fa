"""The client's own error on this machine, measured with a server whose timing is known.

The text of every chunk of the calibration server is the moment at which it was sent, on the
machine's one monotonic clock. What passes from then to the moment that the client noted is the
client's error; the server's lateness before that is not, however busy the machine is.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from statistics import fmean

from medsweep.errors import StageError
from medsweep.loadgen.calibration import (
    CALIBRATED,
    TRUTH,
    Calibration,
    CalibrationLoad,
    ClientError,
    worst,
)
from medsweep.loadgen.failures import LoadAborted
from medsweep.loadgen.figures import figures_of
from medsweep.loadgen.fleet import Fleet, RemoteProcess
from medsweep.loadgen.mock.timing import MockTiming
from medsweep.loadgen.spec import LoadJob, LoadPoint, Prompt
from medsweep.metrics.latency import LatencySketch
from medsweep.metrics.request_record import RequestRecord
from medsweep.processes import start_process

HIGHEST_CONCURRENCY = 4096
"""Most requests in flight that one machine is calibrated at."""

GAPS_S = (TRUTH.gap_s, 0.02, 0.05, 0.1)
"""Between the tokens of a calibration with many requests in flight; a few, so that few calibrations
serve many points, and at most ten times the first, so that none takes long."""

EASY_TOKENS_PER_S = 25_000
"""Tokens per second, of some 280 requests in flight, up to which tokens come as fast as in `TRUTH`.
Above that, calibration must not be a harder load than the measured one: a thousand slow streams
need less of the client than a thousand fast ones."""

# A rate that is so close to what a concurrency can give is that concurrency.
_ABOUT = 0.95


def calibrate(
    loads: Sequence[CalibrationLoad], *, requests_per_worker: int = 3
) -> list[Calibration]:
    """Measure a server with 50 ms to the first of 32 tokens and a known time between them.

    Args:
        loads: closed loops to try, one after the other; each takes about
            `(0.1 + 32 * gap_s) * (requests_per_worker + 2)` seconds.
        requests_per_worker: measured requests are this many times the concurrency, at least 6.

    Returns:
        One calibration per load, in the order given; at most 4,096 requests in flight per machine.

    Raises:
        StageError: the server or the load generator did not start, or a request failed.
    """
    with Fleet(1) as fleet:
        return calibrate_fleet(fleet, loads, requests_per_worker=requests_per_worker)


def calibrate_fleet(
    fleet: Fleet, loads: Sequence[CalibrationLoad], *, requests_per_worker: int = 3
) -> list[Calibration]:
    """Calibrate as `calibrate` does, with load generators that are already running.

    Those on other machines each measure a server on their own, all at the same time.
    """
    machines = len(fleet.remote) or 1
    limit = HIGHEST_CONCURRENCY * machines
    levels = [replace(load, concurrency=min(load.concurrency, limit)) for load in loads]
    if fleet.remote:
        with ThreadPoolExecutor(machines) as pool:

            def of_shard(shard: RemoteProcess, share: CalibrationLoad) -> Calibration:
                return shard.calibrate([share], requests_per_worker=requests_per_worker)[0]

            return [
                worst(list(pool.map(of_shard, fleet.remote, _shares(load, machines))))
                for load in levels
            ]
    measured: dict[CalibrationLoad, Calibration] = {}
    for gap_s in {load.gap_s for load in levels}:
        with _mock_process(gap_s) as base_url:
            for load in (load for load in levels if load.gap_s == gap_s):
                requests = max(requests_per_worker * load.concurrency, 6)
                measured[load] = _measure(fleet, base_url, load, requests)
    return [measured[load] for load in levels]


def _shares(load: CalibrationLoad, shards: int) -> list[CalibrationLoad]:
    """Return what each shard is calibrated at; small loads leave some shards out."""
    used = min(load.concurrency, shards)
    parts = (len(range(place, load.concurrency, used)) for place in range(used))
    return [replace(load, concurrency=part) for part in parts]


def like_load(
    point: LoadPoint,
    requests_per_s: float | None = None,
    output_tokens_per_s: float | None = None,
) -> CalibrationLoad:
    """Return the calibration that makes the client work as hard as a load did.

    By requests or by tokens per second, whichever is more. Where the load's own concurrency is too
    little, it is a power of two, so that few calibrations serve many points. Where it would be far
    too much (`EASY_TOKENS_PER_S`), tokens come less often: with the longest of `GAPS_S` that makes
    no lighter load.

    Args:
        point: the load.
        requests_per_s: measured rate; None if unknown, as before the load.
        output_tokens_per_s: measured rate of output tokens; None if unknown.
    """
    own = point.concurrency or 1
    answers_per_s = max(
        requests_per_s or point.mean_rate or 0, (output_tokens_per_s or 0) / TRUTH.tokens
    )
    like = answers_per_s * TRUTH.service_s
    if own < like * _ABOUT:
        return CalibrationLoad(2 ** math.ceil(math.log2(like)))
    fastest = CalibrationLoad(own)
    if fastest.tokens_per_s <= EASY_TOKENS_PER_S or output_tokens_per_s is None:
        return fastest
    loads = (CalibrationLoad(own, gap_s) for gap_s in reversed(GAPS_S))
    least = answers_per_s * TRUTH.tokens * _ABOUT
    return next((load for load in loads if load.tokens_per_s >= least), fastest)


def loads_before(points: Iterable[LoadPoint]) -> set[CalibrationLoad]:
    """Return what to calibrate at before loads whose rates are not known yet.

    Closed loops of many requests are left out: whether they are fast is known afterwards.
    """
    pairs = ((point, like_load(point)) for point in points)
    return {
        load
        for point, load in pairs
        if point.concurrency is None or load.tokens_per_s <= EASY_TOKENS_PER_S
    }


def highest_honest_rate(fleet: Fleet, known: Sequence[Calibration]) -> tuple[float, bool]:
    """Find the highest rate at which the client is not the bottleneck.

    Doubles the concurrency until it is, or until the server is.

    Args:
        fleet: the load generators.
        known: calibrations so far.

    Returns:
        Requests of 32 tokens per second, and whether the client's limit was reached; if not, the
        true rate may be higher.
    """
    honest = [each for each in known if not each.client_limited]
    best = max(honest, key=lambda each: each.requests_per_s, default=None)
    found_limit = len(honest) < len(known)
    over = any(each.client_limited is not False for each in known)
    concurrency = 2 * best.concurrency if best else 1
    with _mock_process() as base_url:
        while not over and concurrency <= HIGHEST_CONCURRENCY:
            tried = _measure(fleet, base_url, CalibrationLoad(concurrency), 3 * concurrency)
            found_limit = bool(tried.client_limited)
            over = tried.client_limited is not False
            if not found_limit:
                best = tried
            concurrency *= 2
    return (best.requests_per_s if best else 0.0), found_limit


@contextlib.contextmanager
def _mock_process(gap_s: float = TRUTH.gap_s) -> Iterator[str]:
    command = [sys.executable, "-m", "medsweep.loadgen.mock.server", "--port", "0"]
    command += ["--die-with-stdin", "--stamps", "--ttft-s", str(TRUTH.ttft_s)]
    command += ["--gap-s", str(gap_s), "--tokens", str(TRUTH.tokens)]
    with start_process(
        "calibration: the mock server", command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as server:
        try:
            line = server.stdout.readline() if server.stdout else b""
            if not line:
                raise StageError("calibration: the mock server did not start; see above")
            yield f"http://127.0.0.1:{json.loads(line)['port']}/v1"
        finally:
            server.kill()


def _measure(fleet: Fleet, base_url: str, load: CalibrationLoad, requests: int) -> Calibration:
    job = LoadJob(
        base_url=base_url,
        model="mock",
        prompts=(Prompt("calibration", "What is measured here?"),),
        point=LoadPoint(concurrency=load.concurrency, requests=requests),
        seed=0,
        max_tokens=TRUTH.tokens,
    )
    lines: list[bytes] = []
    try:
        fleet.run(job, lines.append)
    except LoadAborted as error:
        raise StageError(f"calibration: {error}") from None
    records = [RequestRecord.from_json(json.loads(line)["record"]) for line in lines]
    return compare(job.point, records, fleet.count, load.timing)


def compare(
    point: LoadPoint,
    records: Sequence[RequestRecord],
    processes: int = 1,
    timing: MockTiming = TRUTH,
) -> Calibration:
    """Compare what the client noted with what the calibration server wrote into its answers.

    Args:
        point: a closed loop.
        records: of all phases, with their texts.
        processes: number of the client's processes.
        timing: of the server.

    Raises:
        StageError: a request failed.
    """
    concurrency = point.concurrency or 1
    failed = [record for record in records if record.status != "ok"]
    if failed:
        raise StageError(f"calibration: {len(failed)} requests failed: {failed[0].status}")
    late: list[float] = []
    service: list[float] = []
    errors: dict[str, list[float]] = {name: [] for name in CALIBRATED}
    for record in records:
        if record.phase != "measure":
            continue
        sent_s = [float(text) for text in record.text.split()]
        received_s = itertools.accumulate(record.chunk_gaps_s, initial=record.first_text_s or 0.0)
        ways = [there - here for there, here in zip(received_s, sent_s, strict=True)]
        errors["ttft"].append(ways[0])
        errors["itl"] += [after - before for before, after in itertools.pairwise(ways)]
        errors["tpot"].append((ways[-1] - ways[0]) / (len(ways) - 1))
        errors["e2e"].append(ways[-1])
        late.append(sent_s[0] - record.sent_s - timing.ttft_s)
        service.append(sent_s[-1] - record.sent_s)
    return Calibration(
        concurrency=concurrency,
        errors={name: _client_error(samples) for name, samples in errors.items()},
        server_late_s=fmean(late),
        requests_per_s=figures_of(records, point).requests_per_s or 0.0,
        ideal_requests_per_s=concurrency / fmean(service),
        processes=processes,
        service_s=timing.service_s,
    )


def _client_error(errors: Sequence[float]) -> ClientError:
    absolute = LatencySketch()
    absolute.add(*map(abs, errors))
    p50, p90, p95, p99, most = (absolute.quantile(p) or 0.0 for p in (0.5, 0.9, 0.95, 0.99, 1.0))
    return ClientError(fmean(errors), p50, p90, p95, p99, most)
