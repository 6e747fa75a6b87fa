"""How far the client itself can be trusted on this machine, before it measures anything."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from medsweep.errors import StageError
from medsweep.loadgen.mock_answer import MockTiming
from medsweep.loadgen.process import LoadProcess
from medsweep.loadgen.spec import LoadJob, LoadPoint, Prompt
from medsweep.metrics.definitions import RequestRecord

_TRUTH = MockTiming(ttft_s=0.05, gap_s=0.01, tokens=32)
# Below this share of what the server could have given, the client was the bottleneck.
_HONEST_SHARE = 0.93


@dataclass(frozen=True)
class Calibration:
    """What the client measured of a server whose timing is known; server and client share the box.

    Attributes:
        concurrency: requests kept in flight.
        ttft_bias_s: mean measured minus true time to first text, in seconds.
        ttft_max_error_s: the largest single such difference, in seconds.
        itl_bias_s: mean measured minus true gap between tokens, in seconds.
        requests_per_s: rate that was reached.
        ideal_requests_per_s: rate of a client that takes no time at all.
    """

    concurrency: int
    ttft_bias_s: float
    ttft_max_error_s: float
    itl_bias_s: float
    requests_per_s: float
    ideal_requests_per_s: float

    @property
    def client_limited(self) -> bool:
        """Whether the client, and not the server, set the rate."""
        return self.requests_per_s < _HONEST_SHARE * self.ideal_requests_per_s


def calibrate(concurrencies: Sequence[int], *, requests_per_worker: int = 3) -> list[Calibration]:
    """Measure a server with 50 ms to the first of 32 tokens and 10 ms between them.

    Args:
        concurrencies: closed-loop load points to try, one after the other; each takes about
            `0.4 * (requests_per_worker + 2)` seconds.
        requests_per_worker: measured requests are this many times the concurrency, at least 6.

    Returns:
        One calibration per concurrency, in the order given.

    Raises:
        StageError: the server or the load generator did not start, or a request failed.
    """
    with _mock_process() as base_url, LoadProcess() as process:
        return [
            _compare(n, process.run(_job(base_url, n, max(requests_per_worker * n, 6))))
            for n in concurrencies
        ]


@contextlib.contextmanager
def _mock_process() -> Iterator[str]:
    command = [sys.executable, "-m", "medsweep.loadgen.mock_server", "--port", "0"]
    command += ["--die-with-stdin", "--ttft-s", str(_TRUTH.ttft_s)]
    command += ["--gap-s", str(_TRUTH.gap_s), "--tokens", str(_TRUTH.tokens)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        try:
            line = server.stdout.readline() if server.stdout else b""
            if not line:
                raise StageError("calibration: the mock server did not start; see above")
            yield f"http://127.0.0.1:{json.loads(line)['port']}/v1"
        finally:
            server.kill()


def _job(base_url: str, concurrency: int, requests: int) -> LoadJob:
    return LoadJob(
        base_url=base_url,
        model="mock",
        prompts=(Prompt("calibration", "What is measured here?"),),
        point=LoadPoint(concurrency=concurrency, requests=requests),
        seed=0,
        max_tokens=_TRUTH.tokens,
    )


def _compare(concurrency: int, records: Sequence[RequestRecord]) -> Calibration:
    failed = [record for record in records if record.status != "ok"]
    if failed:
        raise StageError(f"calibration: {len(failed)} requests failed: {failed[0].status}")
    measured = [record for record in records if record.phase == "measure"]
    ttft_s = [record.ttft_s for record in measured if record.ttft_s is not None]
    gaps_s = [gap_s for record in measured for gap_s in record.chunk_gaps_s]
    return Calibration(
        concurrency=concurrency,
        ttft_bias_s=float(np.mean(ttft_s)) - _TRUTH.ttft_s,
        ttft_max_error_s=max(ttft_s) - _TRUTH.ttft_s,
        itl_bias_s=float(np.mean(gaps_s)) - _TRUTH.gap_s,
        requests_per_s=len(measured) / _window_s(records),
        ideal_requests_per_s=concurrency / _TRUTH.service_s,
    )


def _window_s(records: Sequence[RequestRecord]) -> float:
    """Return the time from the first measured send to the first one after the measured ones.

    Exactly the measured requests leave in it, so that the ramps at both ends do not count. One
    worker alone sends nothing afterwards; there the window closes with the last answer.
    """
    measured = [record for record in records if record.phase == "measure"]
    later_s = [record.sent_s for record in records if record.phase == "cooldown"]
    end_s = min(later_s, default=max(record.end_s for record in measured))
    return end_s - min(record.sent_s for record in measured)
