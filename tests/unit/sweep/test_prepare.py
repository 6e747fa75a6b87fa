"""What happens to an adapter and its base before a cell is deployed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from faked_sweep import HERE, THERE, FakedSweep, sweep
from medsweep.errors import StageError
from medsweep.finetune.adapter import Adapter
from medsweep.hardware.catalog import PROFILES
from medsweep.serving.equality import Equality
from medsweep.sweep import finish, measure, prepare, run


def test_base_weights_are_not_fetched_where_they_are(ran: FakedSweep) -> None:
    (ran.out / "base").mkdir()
    run.run_sweep(sweep(), ran.out)
    assert ran.built == []
    assert len(ran.cluster.fetched) == 3


def test_the_first_batch_is_started_beside_the_fine_tune(
    ran: FakedSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = PROFILES["2xa100-4cpu"]
    started: list[Any] = []

    def finetune(*_: Any, meanwhile: Any, **__: Any) -> dict[str, str]:
        if meanwhile is not None and not started:
            meanwhile(training)
        return {}

    monkeypatch.setattr(run, "finetune_missing", finetune)
    monkeypatch.setattr(
        prepare, "start_ingress", lambda port, loopback: started.append((port, loopback))
    )
    monkeypatch.setattr(
        ran.cluster,
        "ensure_nodes",
        lambda profiles: started.append([profile.name for profile in profiles]),
    )
    resolved = sweep()
    run.run_sweep(resolved, ran.out)
    assert started[0] == (ran.cluster.port, True)
    assert started[1][0] == training.name, "its node trains"
    assert started[1][1:] == started[2], "the first batch's nodes, which are then needed"


def test_a_merged_adapter_is_compared_and_its_base_deployed_alone(
    ran: FakedSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, int, int]] = []
    merged: list[str] = []

    def compare(one: Adapter, _: Path, dtype: str, prompts: Sequence[str], longest: int) -> Any:
        if asked and "gpt2" in one.folder.name:
            raise MemoryError("and the text of a prompt")
        if "gpt2" in one.folder.name:
            asked.append((dtype, len(prompts), longest))
        return Equality(8, 0.75, 0.5)

    monkeypatch.setattr(prepare, "compare_merged", compare)
    monkeypatch.setattr(prepare, "merged_folder", lambda _, base, dtype: merged.append(dtype))
    serve = {"engine": "continuous", "adapters": "merged"}
    resolved = sweep(serve=serve)
    summary = run.run_sweep(resolved, ran.out)
    assert summary.states["ok"] == 2
    here = ran.rows(HERE)
    assert [(row["variant"], row["deployment"]) for row in here] == [
        ("adapter", 1),
        ("adapter", 1),
        ("base", 2),
    ]
    assert {row["adapters"] for row in here} == {"merged"}
    deployed = [batch for batch in ran.deployed if HERE in batch]
    assert len(deployed) == 2
    # Without this machine's GPU, the CPU that stands in for it computes in float32.
    assert set(merged) == {"float32"}
    compared, other = (ran.rows(cell)[0] for cell in (HERE, THERE))
    if compared["merged_reason"] is not None:
        compared, other = other, compared
    assert asked == [("float32", 8, 8)]  # max_tokens is 8
    assert (compared["merged_questions"], compared["merged_equal_share"]) == (8, 0.75)
    assert (compared["merged_logit_difference"], compared["merged_reason"]) == (0.5, None)
    assert other["merged_reason"] == "could not be compared: MemoryError"
    assert other["merged_equal_share"] is None


def test_a_run_that_lacks_only_a_merged_cell_s_base_deploys_only_that(
    ran: FakedSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "compare_merged", lambda *_: Equality(8, 1.0, 0.0))
    monkeypatch.setattr(prepare, "merged_folder", lambda *_: None)
    alone: list[bool] = []

    def deploy(deployments: Sequence[Any]) -> dict[str, Any]:
        alone.append(not deployments[0].settings.adapters)
        if len(alone) == 2:
            return {each.name: StageError("no memory for the base") for each in deployments}
        return ran.deploy(deployments)

    monkeypatch.setattr(measure, "deploy", deploy)
    resolved = sweep(cells=[HERE.removeprefix("standin-")], serve={"adapters": "merged"})
    assert run.run_sweep(resolved, ran.out).failures == {HERE: "no memory for the base"}
    assert alone == [False, True]
    assert run.run_sweep(resolved, ran.out).states == {"ok": 1}
    assert alone == [False, True, True]
    assert [row["variant"] for row in ran.rows(HERE)] == ["adapter", "adapter", "base"]


def test_a_cell_is_predicted_for_the_longest_request_that_its_engine_is_started_for(
    ran: FakedSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []
    predicted: list[int] = []

    def deploy(deployments: Sequence[Any]) -> dict[str, Any]:
        started.extend(each.settings.longest_request for each in deployments)
        return ran.deploy(deployments)

    def columns(*_: Any, longest: int) -> dict[str, Any]:
        predicted.append(longest)
        return {}

    monkeypatch.setattr(measure, "deploy", deploy)
    monkeypatch.setattr(finish, "roofline_columns", columns)
    run.run_sweep(sweep(cells=[HERE.removeprefix("standin-")]), ran.out)
    assert len(started) == 1
    assert predicted == started
