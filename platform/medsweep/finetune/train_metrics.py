"""What a fine-tune tells Prometheus while it runs; Ray's agents export it, with `ray_` before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from medsweep.hardware.observe import ObservedHardware, matches
from medsweep.hardware.profile import HardwareProfile

LABELS = ("sweep", "model", "profile", "basis", "worker")

METRICS: dict[str, str] = {
    "medsweep_finetune_epoch": "Epochs that are over",
    "medsweep_finetune_loss_nats": "Mean loss of an answer token in training",
    "medsweep_finetune_eval_loss_nats": "Mean loss of an answer token on the evaluation side",
    "medsweep_finetune_token_f1": "Token F1 of the answers to the held-out questions",
    "medsweep_finetune_tokens_per_second": "Tokens that went through the model in the last epoch",
    "medsweep_finetune_memory_bytes": "Most memory that a worker has held: of its GPU, or its own",
}
"""Gauges; dashboards and the reference page read them here."""


class Gauge(Protocol):
    """A metric that is set."""

    def set(self, value: float, tags: dict[str, str]) -> None:
        """Set its value for some labels."""
        ...


def ray_gauge(name: str, meaning: str) -> Gauge:
    """Return one of Ray's own gauges."""
    from ray.util.metrics import Gauge as RayGauge

    gauge: Gauge = RayGauge(name, meaning, tag_keys=LABELS)
    return gauge


class TrainingMetrics:
    """The gauges of one worker.

    Args:
        labels: a value for each of LABELS.
        gauge: makes a gauge of a name and a meaning.
    """

    def __init__(
        self, labels: Mapping[str, str], gauge: Callable[[str, str], Gauge] = ray_gauge
    ) -> None:
        self._labels = dict(labels)
        self._gauges = {name: gauge(name, meaning) for name, meaning in METRICS.items()}

    def epoch(self, row: Mapping[str, Any], memory_bytes: int) -> None:
        """Set the gauges after an epoch; what is null is not set.

        Args:
            row: of `training.parquet`.
            memory_bytes: most that the worker has held.
        """
        values = {
            "epoch": row["epoch"],
            "loss_nats": row["loss"],
            "eval_loss_nats": row["eval_loss"],
            "token_f1": row["token_f1"],
            "tokens_per_second": row["tokens"] / row["seconds"] if row["seconds"] else None,
            "memory_bytes": memory_bytes,
        }
        for name, value in values.items():
            if value is not None:
                self._gauges[f"medsweep_finetune_{name}"].set(value, self._labels)


def basis_of(profile: HardwareProfile, observed: ObservedHardware) -> str:
    """Return whether a worker's hardware is the profile's.

    Ray Train shows each worker its own GPU and its share of the CPUs alone: the type is compared.

    Args:
        profile: what was asked for.
        observed: what the worker sees.
    """
    share = replace(
        profile,
        gpus=len(observed.gpus) or profile.gpus,
        cpus=int(observed.usable_cpus),
        host_memory_bytes=0,
    )
    return "observed" if matches(share, observed) is None else "emulated"


def memory_held_bytes() -> int:
    """Return the most memory that this process has held: of its GPU, or without one its own."""
    import resource

    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
