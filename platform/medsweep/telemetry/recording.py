"""What the sensors of a machine read: samples, and a recording of them."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Sample:
    """What the sensors read at one moment; a value that a sensor does not give is absent.

    Attributes:
        at_s: when, in seconds since 1970: machines share this clock to within milliseconds.
        counters: only differences mean anything; units are in the names.
        gauges: values of the moment; units are in the names.
        reasons: why the GPUs' clocks were held back, in NVML's words.
        missing: why a group of sensors gives nothing, by group.
    """

    at_s: float
    counters: dict[str, float] = field(default_factory=dict)
    gauges: dict[str, float] = field(default_factory=dict)
    reasons: set[str] = field(default_factory=set)
    missing: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Recording:
    """The samples of one load; can be sent to another machine.

    Attributes:
        samples: in order of time, including one at the start and one at the end.
        cost_s: CPU time that sampling took, in seconds.
    """

    samples: tuple[Sample, ...]
    cost_s: float

    @property
    def cpu_share(self) -> float | None:
        """CPU time that sampling took, as a share of one core; None if no time passed."""
        span_s = self.samples[-1].at_s - self.samples[0].at_s
        return self.cost_s / span_s if span_s else None
