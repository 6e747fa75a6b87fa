from __future__ import annotations

from dataclasses import dataclass, field, replace

from medsweep.finetune.train_metrics import METRICS, TrainingMetrics, basis_of, memory_held_bytes
from medsweep.hardware.catalog import PROFILES
from medsweep.hardware.observe import ObservedHardware, host_profile, observe_host

ROW = {
    "epoch": 1,
    "loss": 1.5,
    "steps": 10,
    "tokens": 3000,
    "seconds": 2.0,
    "eval_loss": 1.25,
    "token_f1": 0.25,
}
LABELS = {"sweep": "s", "model": "m", "profile": "p", "basis": "emulated", "worker": "0"}


@dataclass
class Written:
    """Gauges that remember what they were set to."""

    values: dict[str, tuple[float, dict[str, str]]] = field(default_factory=dict)

    def gauge(self, name: str, meaning: str) -> OneGauge:
        assert meaning
        return OneGauge(self, name)


@dataclass
class OneGauge:
    written: Written
    name: str

    def set(self, value: float, tags: dict[str, str]) -> None:
        self.written.values[self.name] = (value, tags)


def test_an_epoch_sets_every_gauge() -> None:
    written = Written()
    TrainingMetrics(LABELS, written.gauge).epoch(ROW, 2**30)
    assert set(written.values) == set(METRICS)
    assert {tuple(tags.items()) for _, tags in written.values.values()} == {tuple(LABELS.items())}
    assert written.values["medsweep_finetune_tokens_per_second"][0] == 1500
    assert written.values["medsweep_finetune_loss_nats"][0] == 1.5
    assert written.values["medsweep_finetune_memory_bytes"][0] == 2**30


def test_what_is_not_known_before_the_first_epoch_is_not_set() -> None:
    written = Written()
    row = {**ROW, "epoch": 0, "loss": None, "tokens": 0, "seconds": 0.0}
    TrainingMetrics(LABELS, written.gauge).epoch(row, 1)
    missing = set(METRICS) - set(written.values)
    assert missing == {"medsweep_finetune_loss_nats", "medsweep_finetune_tokens_per_second"}


def test_the_basis_is_that_of_the_worker_s_own_gpu() -> None:
    profile = PROFILES["2xv100-4cpu"]
    assert profile.accelerator is not None
    worker = ObservedHardware("h", "cpu", 2, 2.0, 2**34, None, gpus=(profile.accelerator.product,))
    assert basis_of(profile, worker) == "observed"
    assert basis_of(profile, replace(worker, gpus=("NVIDIA A100-SXM4-40GB",))) == "emulated"
    assert basis_of(profile, replace(worker, gpus=())) == "emulated"
    assert basis_of(host_profile(), observe_host()) == "observed"


def test_memory_is_of_this_process() -> None:
    assert memory_held_bytes() > 10 * 2**20


def test_what_was_not_asked_is_not_set() -> None:
    written = Written()
    unasked = {name: value for name, value in ROW.items() if name != "token_f1"}
    TrainingMetrics(LABELS, written.gauge).epoch(unasked, 2**30)
    assert "medsweep_finetune_token_f1" not in written.values
    assert written.values["medsweep_finetune_eval_loss_nats"][0] == 1.25
