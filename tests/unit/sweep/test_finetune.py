"""The fine-tune stage: workers have no token, so weights of the hub are fetched before."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from medsweep.models.weights import fetch_weights
from medsweep.sweep.finetune import finetune_missing
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
