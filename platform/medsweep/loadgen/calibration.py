"""How much of what the load generator measures is its own error: the figures of a calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

from medsweep.loadgen.mock.timing import MockTiming

TRUTH = MockTiming(ttft_s=0.05, gap_s=0.01, tokens=32, stamps=True)
CALIBRATED = ("ttft", "tpot", "itl", "e2e")
"""The latencies that the client's error is known of."""
# Below this share of the rate that the server allows, the client was the bottleneck.
_HONEST_SHARE = 0.93


@dataclass(frozen=True, order=True)
class CalibrationLoad:
    """What the client is calibrated at.

    Attributes:
        concurrency: requests kept in flight.
        gap_s: between the tokens of an answer, in seconds.
    """

    concurrency: int
    gap_s: float = TRUTH.gap_s

    @property
    def timing(self) -> MockTiming:
        """How the calibration server answers."""
        return replace(TRUTH, gap_s=self.gap_s)

    @property
    def tokens_per_s(self) -> float:
        """Tokens per second that a client which takes no time gets."""
        return self.concurrency * TRUTH.tokens / self.timing.service_s


@dataclass(frozen=True)
class ClientError:
    """How much of one latency is the client's own error, in seconds.

    Attributes:
        mean: what the client adds to the mean latency; gaps may get shorter by it.
        p50, p90, p95, p99, max: of the absolute errors, however few the requests.
    """

    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
    max: float


@dataclass(frozen=True)
class Calibration:
    """What the client measured of a server whose timing is known; both share the machine.

    Attributes:
        concurrency: requests kept in flight.
        errors: the client's error by latency (`CALIBRATED`).
        server_late_s: mean time by which the server sent the first text late, in seconds.
        requests_per_s: measured rate.
        ideal_requests_per_s: rate of a client that takes no time, at the server's lateness.
        processes: number of the client's processes.
        service_s: time of one answer of the server, in seconds.
        shards: those of each machine, where the client's processes are on several.
    """

    concurrency: int
    errors: Mapping[str, ClientError]
    server_late_s: float
    requests_per_s: float
    ideal_requests_per_s: float
    processes: int = 1
    service_s: float = TRUTH.service_s
    shards: tuple[Calibration, ...] = ()

    @property
    def client_limited(self) -> bool | None:
        """Whether the client limited the rate; on several machines, whether any of them did.

        None where the server did, which shares the machine: then the client was not put to the test
        of this concurrency.
        """
        if self.shards:
            limited = {each.client_limited for each in self.shards}
            return True if True in limited else None if None in limited else False
        if self.requests_per_s < _HONEST_SHARE * self.ideal_requests_per_s:
            return True
        on_time = self.concurrency / self.service_s
        return None if self.ideal_requests_per_s < _HONEST_SHARE * on_time else False


def worst(shards: Sequence[Calibration]) -> Calibration:
    """Return one calibration of several machines: of each figure the worst shard's; rates add up.

    Args:
        shards: the calibration of each machine, at its share of the load.
    """
    if len(shards) == 1:
        return shards[0]
    names = [field.name for field in fields(ClientError)]
    return Calibration(
        concurrency=sum(each.concurrency for each in shards),
        errors={
            latency: ClientError(
                *(
                    max((getattr(each.errors[latency], name) for each in shards), key=abs)
                    for name in names
                )
            )
            for latency in CALIBRATED
        },
        server_late_s=max(each.server_late_s for each in shards),
        requests_per_s=sum(each.requests_per_s for each in shards),
        ideal_requests_per_s=sum(each.ideal_requests_per_s for each in shards),
        processes=sum(each.processes for each in shards),
        service_s=shards[0].service_s,
        shards=tuple(shards),
    )
