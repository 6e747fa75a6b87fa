"""A cell whose node is not the hardware of its profile; nothing is served here."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from made_rows import REPLICA
from medsweep.cluster.joined import JoinedCluster
from medsweep.cluster.local import LocalCluster
from medsweep.sweep import measure, prepare
from medsweep.sweep.context import MeasurementContext
from medsweep.sweep.measure import measure_batch
from medsweep.sweep.progress import SweepProgress
from medsweep.sweep.resolve import resolve
from support import make_spec


class Nowhere:
    """A cluster whose nodes are only said to be there."""

    def __init__(self, emulates: bool) -> None:
        self.emulates = emulates

    port = 9

    def ensure_nodes(self, profiles: object) -> None:
        pass

    def call_on_node(self, profile: object, function: object, *arguments: object) -> None:
        pass


def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, emulates: bool, **found: Any) -> Any:
    """The record of one cell on a node, once it was deployed there; None where it goes on."""
    resolved = resolve(make_spec(cells=["distilgpt2@1xv100-1cpu"]))
    (cell,) = resolved.plan.runnable
    went_on: list[object] = []
    monkeypatch.setattr(measure, "deploy", lambda _: {cell.key: {**REPLICA, **found}})
    monkeypatch.setattr(measure, "start_ingress", lambda port, loopback: f"http://127.0.0.1:{port}")
    monkeypatch.setattr(measure, "undeploy", lambda _: None)
    monkeypatch.setattr(
        measure, "_measure_all", lambda _, deployed, number: went_on.extend(deployed)
    )
    adapter = SimpleNamespace(
        folder=tmp_path / "adapter", sha256="a" * 64, base=tmp_path, template="alpaca"
    )
    monkeypatch.setattr(prepare, "read_adapter", lambda folder: adapter)
    progress = SweepProgress()
    progress.expect({"deploy": 1, "load": 100})
    context = MeasurementContext(resolved, tmp_path, SimpleNamespace(), progress)  # type: ignore[arg-type]
    measure_batch(context, Nowhere(emulates), [cell], {}, 1)  # type: ignore[arg-type]
    record = context.cell_folder(cell).record()
    assert (record is None) == (len(went_on) == 1)
    return record


def test_nodes_that_were_chosen_for_their_hardware_stand_in_for_nothing() -> None:
    assert LocalCluster.emulates
    assert not JoinedCluster.emulates


def test_another_gpu_than_was_asked_for_fails_the_cell_where_it_was_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = {"gpus": ("NVIDIA A100-SXM4-40GB",)}
    assert measured(tmp_path / "here", monkeypatch, True, **other) is None
    record = measured(tmp_path / "there", monkeypatch, False, **other)
    assert record["status"] == "failed"
    assert record["reason"] == (
        "the node has other hardware: 1xv100-1cpu has 1 x Tesla V100-SXM2-16GB, this "
        "machine has 1 x NVIDIA A100-SXM4-40GB"
    )
    (row,) = record["rows"]
    assert (row["device"], row["hostname"]) == ("NVIDIA A100-SXM4-40GB", "node")


def test_another_dtype_than_was_asked_for_fails_it_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert measured(tmp_path / "as-asked", monkeypatch, False) is None
    record = measured(tmp_path / "other", monkeypatch, True, dtype="float32")
    assert record["reason"] == "compute dtype: float16 requested, float32 given"
