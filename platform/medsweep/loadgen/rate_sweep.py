"""Loads from one request at a time to saturation, chosen by what the server shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from medsweep.loadgen.bench import Bench, MeasuredPoint, enough_requests
from medsweep.loadgen.spec import LoadPoint

CONCURRENCIES = (1, 4, 16, 64, 256)
"""Closed loops, until a larger one is no faster."""

SHARES = (0.2, 0.4, 0.6, 0.8, 0.95)
"""Rates, as shares of the throughput of the fastest closed loop."""

_FASTER = 1.15


def sweep_rates(
    bench: Bench,
    first: LoadPoint,
    requests: int | None,
    on_measured: Callable[[MeasuredPoint], None],
) -> float | None:
    """Measure closed loops until the throughput no longer grows, then rates below it.

    Args:
        bench: measures.
        first: an open loop with the arrivals and the warm-up of the rates.
        requests: measured at each load; None takes the default of its kind.
        on_measured: called with each load when it ends.

    Returns:
        The highest throughput of a closed loop, in requests per second; None if nothing was
        answered.
    """
    highest: float | None = None
    for concurrency in CONCURRENCIES:
        count = requests or enough_requests(concurrency=concurrency)
        point = LoadPoint(concurrency=concurrency, requests=count, duration_s=first.duration_s)
        bench.calibrate_before([point])
        on_measured(measured := bench.measure(point))
        rate = measured.figures.requests_per_s
        if rate is None or measured.gave_up:
            break
        grows = highest is None or rate > _FASTER * highest
        highest = rate if highest is None else max(highest, rate)
        if not grows:
            break
    if highest is None:
        return None
    rates = [float(f"{share * highest:.3g}") for share in SHARES]
    points = [
        replace(first, rate=rate, requests=requests or enough_requests(rate=rate)) for rate in rates
    ]
    bench.calibrate_before(points)
    for point in points:
        on_measured(bench.measure(point))
    return highest
