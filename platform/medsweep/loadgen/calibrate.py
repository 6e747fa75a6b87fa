"""The client's own error on this machine, measured with a server whose timing is known."""

from __future__ import annotations

import contextlib
import json
import math
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from medsweep.errors import StageError
from medsweep.loadgen.failures import LoadAborted
from medsweep.loadgen.figures import figures_of
from medsweep.loadgen.fleet import Fleet
from medsweep.loadgen.mock.timing import MockTiming
from medsweep.loadgen.spec import LoadJob, LoadPoint, Prompt
from medsweep.metrics.latency import LatencySketch
from medsweep.metrics.request_record import RequestRecord

TRUTH = MockTiming(ttft_s=0.05, gap_s=0.01, tokens=32)
HIGHEST_CONCURRENCY = 4096
# Below this share of the rate that the server allows, the client was the bottleneck.
_HONEST_SHARE = 0.93


@dataclass(frozen=True)
class Calibration:
    """What the client measured of a server whose timing is known; both share the machine.

    Attributes:
        concurrency: requests kept in flight.
        ttft_bias_s: mean measured minus true time to first text, in seconds.
        ttft_max_error_s: the largest single such difference, in seconds.
        itl_bias_s: mean measured minus true gap between tokens, in seconds.
        requests_per_s: measured rate.
        ideal_requests_per_s: rate of a client that takes no time.
        ttft_p99_error_s: 99th percentile of the differences, in seconds; of under 662 requests it
            is close to the largest.
        itl_p99_error_s: the same of the gaps between tokens.
        processes: number of the client's processes.
    """

    concurrency: int
    ttft_bias_s: float
    ttft_max_error_s: float
    itl_bias_s: float
    requests_per_s: float
    ideal_requests_per_s: float
    ttft_p99_error_s: float | None = None
    itl_p99_error_s: float | None = None
    processes: int = 1

    @property
    def client_limited(self) -> bool:
        """Whether the client, and not the server, limited the rate."""
        return self.requests_per_s < _HONEST_SHARE * self.ideal_requests_per_s


def calibrate(
    concurrencies: Sequence[int], *, requests_per_worker: int = 3, processes: int = 1
) -> list[Calibration]:
    """Measure a server with 50 ms to the first of 32 tokens and 10 ms between them.

    Args:
        concurrencies: closed-loop load points to try, one after the other; each takes about
            `0.4 * (requests_per_worker + 2)` seconds.
        requests_per_worker: measured requests are this many times the concurrency, at least 6.
        processes: how many load generators share the load.

    Returns:
        One calibration per concurrency, in the order given.

    Raises:
        StageError: the server or the load generator did not start, or a request failed.
    """
    with Fleet(processes) as fleet:
        return calibrate_fleet(fleet, concurrencies, requests_per_worker=requests_per_worker)


def calibrate_fleet(
    fleet: Fleet, concurrencies: Sequence[int], *, requests_per_worker: int = 3
) -> list[Calibration]:
    """Calibrate as `calibrate` does, with load generators that are already running."""
    with _mock_process() as base_url:
        return [
            _measure(fleet, base_url, n, max(requests_per_worker * n, 6)) for n in concurrencies
        ]


def highest_honest_rate(fleet: Fleet, known: Sequence[Calibration]) -> tuple[float, bool]:
    """Find the highest rate at which the client is not the bottleneck.

    Doubles the concurrency until it is.

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
    concurrency = 2 * best.concurrency if best else 1
    with _mock_process() as base_url:
        while not found_limit and concurrency <= HIGHEST_CONCURRENCY:
            tried = _measure(fleet, base_url, concurrency, 3 * concurrency)
            found_limit = tried.client_limited
            if not found_limit:
                best = tried
            concurrency *= 2
    return (best.requests_per_s if best else 0.0), found_limit


@contextlib.contextmanager
def _mock_process() -> Iterator[str]:
    command = [sys.executable, "-m", "medsweep.loadgen.mock.server", "--port", "0"]
    command += ["--die-with-stdin", "--ttft-s", str(TRUTH.ttft_s)]
    command += ["--gap-s", str(TRUTH.gap_s), "--tokens", str(TRUTH.tokens)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        try:
            line = server.stdout.readline() if server.stdout else b""
            if not line:
                raise StageError("calibration: the mock server did not start; see above")
            yield f"http://127.0.0.1:{json.loads(line)['port']}/v1"
        finally:
            server.kill()


def _measure(fleet: Fleet, base_url: str, concurrency: int, requests: int) -> Calibration:
    job = LoadJob(
        base_url=base_url,
        model="mock",
        prompts=(Prompt("calibration", "What is measured here?"),),
        point=LoadPoint(concurrency=concurrency, requests=requests),
        seed=0,
        max_tokens=TRUTH.tokens,
        keep_text=False,
    )
    lines: list[bytes] = []
    try:
        fleet.run(job, lines.append)
    except LoadAborted as error:
        raise StageError(f"calibration: {error}") from None
    records = [RequestRecord.from_json(json.loads(line)["record"]) for line in lines]
    return _compare(job.point, records, fleet.count)


def _compare(point: LoadPoint, records: Sequence[RequestRecord], processes: int) -> Calibration:
    concurrency = point.concurrency or 1
    failed = [record for record in records if record.status != "ok"]
    if failed:
        raise StageError(f"calibration: {len(failed)} requests failed: {failed[0].status}")
    measured = [record for record in records if record.phase == "measure"]
    ttft, gaps = LatencySketch(), LatencySketch()
    for record in measured:
        ttft.add(record.ttft_s)
        gaps.add(*record.chunk_gaps_s)
    return Calibration(
        concurrency=concurrency,
        ttft_bias_s=_error(ttft.mean, TRUTH.ttft_s),
        ttft_max_error_s=_error(ttft.summary().max, TRUTH.ttft_s),
        itl_bias_s=_error(gaps.mean, TRUTH.gap_s),
        requests_per_s=figures_of(records, point).requests_per_s or 0.0,
        ideal_requests_per_s=concurrency / TRUTH.service_s,
        ttft_p99_error_s=_error(ttft.quantile(0.99), TRUTH.ttft_s),
        itl_p99_error_s=_error(gaps.quantile(0.99), TRUTH.gap_s),
        processes=processes,
    )


def _error(measured_s: float | None, true_s: float) -> float:
    return math.nan if measured_s is None else measured_s - true_s
