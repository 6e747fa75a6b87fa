"""A sweep whose cluster, engines and load generator are fakes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import pytest

from made_rows import NODE, REPLICA, calibration, request_record
from medsweep.errors import EnvironmentFault, StageError
from medsweep.finetune.adapter import Adapter
from medsweep.hardware.profile import HardwareProfile
from medsweep.loadgen.calibration import Calibration, CalibrationLoad
from medsweep.loadgen.fleet import Split
from medsweep.loadgen.spec import LoadJob
from medsweep.metrics import tally
from medsweep.metrics.quality import score_and_count
from medsweep.metrics.request_record import RequestRecord
from medsweep.models.weights import Weights
from medsweep.report import page
from medsweep.results.store import exclusive, read_rows
from medsweep.serving.engines.null import is_null
from medsweep.sweep import calibration as calibration_module
from medsweep.sweep import context, deployed, finish, measure, measure_load, prepare, run
from medsweep.sweep.resolve import Resolved, resolve
from support import make_spec

V100 = {"name": "1xv100-here", "cpus": 1, "gpus": 1, "accelerator": "v100", "host_memory_gib": 4}
PRICE = {"usd_per_hour": 3.6, "source": "a list", "date": "2026-01-02"}
HERE, THERE = "standin-distilgpt2@1xv100-here", "standin-distilgpt2@1xa100-1cpu"
BROKEN, REFUSED = "standin-gemma-1.1-7b@1xv100-here", "standin-gemma-1.1-7b@tiny"


def sweep(**changes: Any) -> Resolved:
    """Four cells: observed, emulated, one whose engine does not start, and one refused."""
    values: dict[str, Any] = {
        "cells": [cell.removeprefix("standin-") for cell in (HERE, THERE, BROKEN, REFUSED)],
        "own_profiles": [V100, {"name": "tiny", "cpus": 1, "gpus": 0, "host_memory_gib": 0.001}],
        "prices": {"1xv100-here": PRICE},
        "load": {
            "points": [{"concurrency": 1, "requests": 6}],
            "repeats": 2,
            "compare_base": True,
            "max_tokens": 8,
        },
        "finetune": {"profile": "1xv100-here"},
        "keep_text": True,
        "cells_together": 2,
    }
    return resolve(make_spec(**values | changes))


class FakeCluster:
    """A cluster whose nodes are there at once, and whose node has an empty cache (fake)."""

    port, emulates = 9, True

    def __init__(self) -> None:
        self.entered = 0
        self.nodes: list[list[str]] = []
        self.fetched: list[str] = []
        self.fault: str | None = None
        self.no_cpus: str | None = None
        self.cpus: list[tuple[dict[str, str], int]] = []

    def __enter__(self) -> Self:
        self.entered += 1
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def ensure_nodes(self, profiles: Sequence[HardwareProfile]) -> None:
        if self.fault is not None:
            raise EnvironmentFault(self.fault)
        self.nodes.append([profile.name for profile in profiles])

    def ensure_cpus(self, labels: Mapping[str, str], count: int) -> None:
        if self.no_cpus is not None:
            raise EnvironmentFault(self.no_cpus)
        self.cpus.append((dict(labels), count))

    def call_on_node(
        self,
        profile: HardwareProfile,
        function: Callable[..., object],
        *arguments: object,
        gpus: int = 0,
    ) -> object:
        self.fetched.append(profile.name)
        return function(*arguments)


class FakeLoad:
    """A load generator whose requests take 0.1 s to the first token and 0.2 s more (fake).

    A null model takes 1 ms to the first token for each request in flight, and 0.5 ms more per token
    than its pace.
    """

    split: Split | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def records(self, job: LoadJob, on_record: Any = None) -> list[RequestRecord]:
        """Answer every second question with its own words."""
        warmup = job.point.warmup_requests
        records = []
        rate, first_s, gap_s = job.point.rate, 0.1, 0.1
        if is_null(job.model):
            concurrency = job.point.concurrency or 0
            first_s = 0.001 * concurrency
            gap_s = float(job.model.partition(":")[2]) + 0.0005 * concurrency
        for index in range(warmup + job.point.requests):
            prompt = job.prompts[index % len(job.prompts)]
            sent_s = 10.0 + index * (1 / rate if rate else 0.3)
            records.append(
                request_record(
                    index=index,
                    phase="warmup" if index < warmup else "measure",
                    question_id=prompt.question_id,
                    due_s=sent_s if rate else None,
                    sent_s=sent_s,
                    first_text_s=sent_s + first_s,
                    end_s=sent_s + first_s + 2 * gap_s,
                    chunk_gaps_s=(0.1, 0.1),
                    prompt_tokens=20,
                    text=prompt.text if index % 2 else "nothing",
                )
            )
            if on_record is not None:
                on_record(records[-1])
        return records


class FakeTelemetry:
    """A node without sensors, on which the engine lasts (fake)."""

    lasted, recording = True, None

    def __init__(self, cell: str) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class FakedSweep:
    """Runs a sweep with fakes, and notes what was done."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.out = folder
        self.cluster = FakeCluster()
        self.trained: list[str] = []
        self.deployed: list[list[str]] = []
        self.graded = Counter[str]()
        self.failing: dict[str, str] = {}
        self.built: list[str] = []
        self.ahead: list[str] = []
        self.locked: list[bool] = []
        self.client_errors_s = iter([0.001] * 99)
        base = folder / "base"
        for name, value in {
            "deploy": self.deploy,
            "start_ingress": lambda port, loopback: f"http://127.0.0.1:{port}",
            "undeploy": lambda names: None,
            "throttled_periods": lambda name: 5,
            "Fleet": lambda *_: FakeLoad(),
            "read_adapter": lambda path: Adapter(path, "m", base, "alpaca", (), "a" * 64),
            "fetch_weights": lambda weights: self.built.append(weights.spec.name),
        }.items():
            user = next(each for each in (measure, measure_load, prepare) if hasattr(each, name))
            monkeypatch.setattr(user, name, value)
        monkeypatch.setattr(deployed, "NodeTelemetry", FakeTelemetry)
        monkeypatch.setattr(context, "observe_host", lambda: NODE)
        monkeypatch.setattr(run, "LocalCluster", lambda: self.cluster)
        monkeypatch.setattr(run, "JoinedCluster", lambda: self.cluster)
        monkeypatch.setattr(run, "fetched_ahead", self._ahead)
        monkeypatch.setattr(run, "finetune_missing", self._finetune)
        monkeypatch.setattr(calibration_module, "calibrate_fleet", self._calibrate)
        monkeypatch.setattr(finish, "read_adapter", prepare.read_adapter)
        monkeypatch.setattr(tally, "score_and_count", self._score)
        monkeypatch.setattr(page, "write_report", lambda folder: None)

    def rows(self, cell: str) -> list[dict[str, Any]]:
        """The rows of one cell, in order of variant and repeat."""
        found = read_rows(self.out / "small" / "benchmark.parquet")
        return [row for row in found if row["cell"] == cell]

    def deploy(self, deployments: Sequence[Any]) -> dict[str, Any]:
        self.deployed.append([f"{d.settings.model.name}@{d.profile.name}" for d in deployments])
        self.locked.append(
            any(is_locked(self.out / "small" / "cells" / d.name) for d in deployments)
        )
        return {
            d.name: StageError("serving did not start: no memory")
            if "gemma" in d.settings.model.name
            else REPLICA | {"started_after_s": 2.0 + place}
            for place, d in enumerate(deployments)
        }

    @contextmanager
    def _ahead(self, weights: Sequence[Weights]) -> Iterator[None]:
        self.ahead += [each.spec.name for each in weights]
        yield

    def _finetune(
        self, resolved: Resolved, folder: Path, adapters: Sequence[Any], **_: object
    ) -> dict[str, str]:
        self.trained += [each.model.name for each in adapters]
        failures = {each.key: self.failing.get(each.model.name) for each in adapters}
        return {key: reason for key, reason in failures.items() if reason}

    def _calibrate(self, fleet: object, loads: Sequence[CalibrationLoad]) -> list[Calibration]:
        error_s = next(self.client_errors_s)
        return [calibration(load.concurrency, error_s=error_s) for load in loads]

    def _score(self, answer: str, reference: str, *given: Any) -> Any:
        self.graded[answer] += 1
        return score_and_count(answer, reference, *given)


def is_locked(folder: Path) -> bool:
    """Whether another holds the lock of a folder."""
    try:
        with exclusive(folder):
            return False
    except EnvironmentFault:
        return True
