"""Waiting for a moment on the injected clock."""

from __future__ import annotations

import asyncio

from medsweep.clock import Clock


async def sleep_until(clock: Clock, at_s: float) -> None:
    """Wait until `clock` reads at least `at_s` seconds; give way once even if it already does."""
    while True:
        await asyncio.sleep(max(0.0, at_s - clock.now()))
        # uvloop counts whole milliseconds and wakes up to one early; a request sent early would
        # have a negative dispatch delay.
        if clock.now() >= at_s:
            return
