"""How cells are loaded, and a node that is not the hardware of its profile; all is faked."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from faked_sweep import HERE, FakedSweep, FakeLoad, sweep
from made_rows import REPLICA
from medsweep.cluster.joined import JoinedCluster
from medsweep.cluster.local import LocalCluster
from medsweep.errors import EnvironmentFault, InputError, StageError
from medsweep.loadgen.fleet import Split
from medsweep.loadgen.shard import LABELS, Shard
from medsweep.sweep import measure, prepare, run
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


def test_a_load_from_several_machines_says_so_in_each_row(
    ran: FakedSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[int, object]] = []

    def fleet(count: int, make: object = None) -> FakeLoad:
        made.append((count, make))
        load = FakeLoad()
        load.split = Split(count, 0.0004, 0.003)
        return load

    monkeypatch.setattr(measure, "Fleet", fleet)
    points = [{"concurrency": 8, "requests": 12}]
    load = {"points": points, "repeats": 1, "max_tokens": 8, "shards": 4}
    run.run_sweep(sweep(cells=["distilgpt2@1xv100-here"], load=load), ran.out)
    assert ran.cluster.cpus == [(LABELS, 4)]
    assert made == [(4, Shard)]
    for row in ran.rows(HERE):
        assert (row["load_shards"], row["shard_clock_error_s"]) == (4, 0.0004)
        assert row["shard_start_spread_s"] == 0.003


def test_one_load_generator_needs_no_node_of_its_own(ran: FakedSweep) -> None:
    run.run_sweep(sweep(cells=["distilgpt2@1xv100-here"]), ran.out)
    assert ran.cluster.cpus == []
    assert {(r["load_shards"], r["shard_clock_error_s"]) for r in ran.rows(HERE)} == {(1, None)}


def test_without_nodes_for_the_load_every_cell_fails_with_that_reason(ran: FakedSweep) -> None:
    ran.cluster.no_cpus = "0 of 4 CPUs on Ray nodes with medsweep.io/role=load after 600 s"
    load = {"points": [{"concurrency": 8, "requests": 12}], "repeats": 1, "shards": 4}
    run.run_sweep(sweep(cells=["distilgpt2@1xv100-here"], load=load), ran.out)
    [row] = ran.rows(HERE)
    assert (row["status"], row["reason"]) == ("failed", ran.cluster.no_cpus)


@pytest.mark.parametrize("error", [StageError, EnvironmentFault, InputError])
def test_whatever_is_wrong_with_one_cell_is_kept_from_the_others(error: type[Exception]) -> None:
    cell = SimpleNamespace(failure=None)
    with measure._failure_recorded(cell):  # type: ignore[arg-type]
        raise error("a header must be ASCII")
    assert cell.failure == "a header must be ASCII"


@pytest.mark.parametrize("cause", [None, KeyboardInterrupt, ValueError])
def test_engines_that_do_not_stop_hide_no_other_cause(
    ran: FakedSweep, monkeypatch: pytest.MonkeyPatch, cause: type[BaseException] | None
) -> None:
    stopped: list[object] = []

    def undeploy(keys: object) -> None:
        stopped.append(keys)
        raise StageError("serving did not stop")

    def measure_all(*_: object) -> None:
        if cause is not None:
            raise cause

    monkeypatch.setattr(measure, "undeploy", undeploy)
    monkeypatch.setattr(measure, "_measure_all", measure_all)
    with pytest.raises(cause or StageError):
        run.run_sweep(sweep(cells=["distilgpt2@1xv100-here"]), ran.out)
    assert len(stopped) == 1
