"""One look at the machine: counters that only grow, and gauges of the moment."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Sample:
    """What the sensors said at one moment. What a sensor did not say is absent.

    Attributes:
        at_s: when, in seconds since 1970, a clock that machines share to some milliseconds.
        counters: only differences mean anything; units are in the names.
        gauges: values of the moment; units are in the names.
        reasons: why the GPUs' clocks were held back, in NVML's words.
        missing: by group of sensors, why it says nothing.
    """

    at_s: float
    counters: dict[str, float] = field(default_factory=dict)
    gauges: dict[str, float] = field(default_factory=dict)
    reasons: set[str] = field(default_factory=set)
    missing: dict[str, str] = field(default_factory=dict)
