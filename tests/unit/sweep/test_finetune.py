"""The fine-tune stage: workers have no token, so weights of the hub are fetched before."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from medsweep.errors import StageError
from medsweep.finetune.job import FineTuneJob
from medsweep.models.weights import fetch_weights
from medsweep.sweep.finetune import adapter_folder, finetune_missing
from medsweep.sweep.progress import SweepProgress
from medsweep.sweep.resolve import resolve
from medsweep.sweep.spec import SweepSpec
from support import SWEEP


class NotedCalls:
    """A cluster that notes what it is told to call (fake)."""

    def __init__(self, calls: list[Any]) -> None:
        self.calls = calls

    def ensure_nodes(self, profiles: object) -> None:
        pass

    def call_on_node(self, profile: object, function: object, *arguments: object) -> None:
        self.calls.append((function, *arguments))


@pytest.mark.parametrize("stand_ins", [False, True])
def test_weights_of_the_hub_are_fetched_before_the_workers_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stand_ins: bool
) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(
        "medsweep.finetune.ray_train.finetune_on", lambda *_, **__: calls.append("fine-tune")
    )
    resolved = resolve(SweepSpec.model_validate(yaml.safe_load(SWEEP) | {"stand_ins": stand_ins}))
    (adapter,) = resolved.plan.adapters.values()
    progress = SweepProgress()
    progress.expect({"fine-tune": 1})
    failures = finetune_missing(
        resolved,
        tmp_path,
        [adapter],
        cluster=NotedCalls(calls),  # type: ignore[arg-type]  # what this stage needs of one
        progress=progress,
    )
    assert failures == {}
    fetched = [] if stand_ins else [(fetch_weights, resolved.weights["distilgpt2"])]
    assert calls == [*fetched, "fine-tune"]


@pytest.mark.parametrize("stand_ins", [False, True])
def test_stand_ins_of_one_profile_share_a_run_and_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stand_ins: bool
) -> None:
    models = ["distilgpt2", "smollm2-135m", "gemma-1.1-7b"]
    if stand_ins:
        models[1] = "llama-3-8b"
    changes = {
        "stand_ins": stand_ins,
        "cells": [f"{model}@2xa100-4cpu" for model in models],
    }
    resolved = resolve(SweepSpec.model_validate(yaml.safe_load(SWEEP) | changes))
    adapters = list(resolved.plan.adapters.values())
    bad = adapters[1].model.name
    runs: list[list[str]] = []
    beside: list[tuple[str, int]] = []

    def train(profile: object, *jobs: FineTuneJob, meanwhile: Any, **_: object) -> None:
        runs.append([job.weights.spec.name for job in jobs])
        if meanwhile is not None:
            meanwhile()
        for job in jobs:
            if job.weights.spec.name == bad:
                raise StageError(f"{bad} fails")
            job.folder.mkdir(parents=True)

    monkeypatch.setattr("medsweep.finetune.ray_train.finetune_on", train)
    progress = SweepProgress()
    progress.expect({"fine-tune": len(adapters)})
    failures = finetune_missing(
        resolved,
        tmp_path,
        adapters,
        cluster=NotedCalls([]),  # type: ignore[arg-type]  # what this stage needs of one
        progress=progress,
        meanwhile=lambda profile: beside.append((profile.name, len(runs))),
    )
    names = [adapter.model.name for adapter in adapters]
    if stand_ins:
        assert runs == [names, *([name] for name in names[names.index(bad) :])]
        assert beside == [("2xa100-4cpu", 1), ("2xa100-4cpu", len(runs))]
    else:
        assert runs == [[name] for name in names]
        assert beside == [("2xa100-4cpu", len(runs))], "beside the last run alone"
    absent = [each for each in adapters if not adapter_folder(tmp_path, each).is_dir()]
    assert [each.model.name for each in absent] == [bad]
    assert failures == {absent[0].key: f"{bad} fails"}
    assert re.match(r"\[(\d+)/\1, ", progress.state["status"]), "no step is left"
