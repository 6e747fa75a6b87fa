"""Two workers under Ray Train: every strategy, and a worker that is killed."""

import contextlib
import json
import os
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from medsweep.cluster.local import LocalCluster
from medsweep.errors import InputError, StageError
from medsweep.finetune import ray_train
from medsweep.finetune.adapter import WEIGHTS_FILE, read_adapter
from medsweep.finetune.job import FineTuneJob
from medsweep.finetune.loop import Loop
from medsweep.finetune.ray_train import finetune_on
from medsweep.finetune.session import finetune
from medsweep.hardware.catalog import PROFILES
from medsweep.hardware.profile import GIB, HardwareProfile
from support import change_job

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PAIR = HardwareProfile("pair", 2, 0, None, 8 * GIB)

# ZeRO-3 last: transformers spreads whatever the process loads after it.
STRATEGIES = [(s, q) for s in ("ddp", "zero2", "zero3") for q in ("none", "nf4")]

CUT_AT = 3
KILLED_AT = 7


@pytest.fixture(scope="module")
def two_cpus() -> Iterator[LocalCluster]:
    with LocalCluster() as cluster:
        cluster.ensure_nodes([PAIR])
        yield cluster


@pytest.fixture
def job(fine_tuned: Any, tmp_path: Path) -> FineTuneJob:
    """The session's job without dropout, which each worker would draw for itself."""
    split = replace(fine_tuned.job.split, train=fine_tuned.job.split.train[:37])
    return change_job(
        fine_tuned.job,
        folder=tmp_path / "adapter",
        split=split,
        dropout=0.0,
        epochs=1,
        batch_size=8,
        max_tokens=4,
        micro_batch_size=2,
        workers=2,
    )


def losses(job: FineTuneJob) -> list[float]:
    rows = pq.read_table(job.folder / "training.parquet").to_pylist()
    return [row["eval_loss"] for row in rows] + [row["loss"] for row in rows[1:]]


def in_turn(jobs: Sequence[FineTuneJob], log: Path) -> Callable[[Any], None]:
    """Return a worker that does one job after another, each in two runs.

    It is a function inside, so that it is sent by value.
    """

    def worker(_: Any) -> None:
        step = Loop.step

        def cut_short(loop: Loop, what: Any) -> None:
            if loop.position.step == CUT_AT:
                raise InterruptedError
            step(loop, what)

        for each in jobs:
            try:
                Loop.step = cut_short  # type: ignore[method-assign]
                with contextlib.suppress(InterruptedError):
                    finetune(each, lambda row: None)
                Loop.step = step  # type: ignore[method-assign]
                finetune(each, lambda row: None)
            except Exception:
                with log.open("a") as opened:
                    opened.write(traceback.format_exc())
                raise

    return worker


def test_every_strategy_learns_in_two_runs_on_two_workers_what_one_learns_alone(
    two_cpus: LocalCluster, job: FineTuneJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = {q: change_job(job, quantization=q, folder=tmp_path / q) for q in ("none", "nf4")}
    for each in alone.values():
        finetune(each, lambda row: None)
    jobs = [
        change_job(
            job,
            strategy=strategy,
            quantization=q,
            folder=tmp_path / f"{strategy}-{q}",
            checkpoints=tmp_path / f"{strategy}-{q}-checkpoints",
            checkpoint_steps=2,
        )
        for strategy, q in STRATEGIES
    ]
    log = tmp_path / "failures.txt"
    monkeypatch.setattr(ray_train, "_worker", in_turn(jobs, log))
    try:
        finetune_on(PAIR, jobs[-1], run_name="strategies", storage=tmp_path / "ray")
    except StageError:
        pytest.fail(log.read_text())
    for each in jobs:
        read_adapter(each.folder)
        said = json.loads((each.folder / "provenance.json").read_text())
        assert (said["workers"], said["resumed"]) == (2, [f"resumed at step {CUT_AT - 1}"])
        assert losses(each) == pytest.approx(losses(alone[each.recipe.quantization]), abs=1e-3)
    assert losses(jobs[0]) != pytest.approx(losses(jobs[1]), abs=1e-3)


def dying(pids: Path) -> Callable[[Any], None]:
    """Return a worker that is killed in its first life, without a word, after some steps."""
    worker = ray_train._worker

    def mortal(config: Any) -> None:
        step = Loop.step
        first_life = len(list(pids.iterdir())) < 2

        def counting(loop: Loop, what: Any) -> None:
            if first_life and loop.position.step == KILLED_AT and loop.team.rank == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            step(loop, what)

        (pids / str(os.getpid())).touch()
        Loop.step = counting  # type: ignore[method-assign]
        worker(config)

    return mortal


def test_a_killed_worker_is_replaced_and_the_run_goes_on(
    two_cpus: LocalCluster, job: FineTuneJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = change_job(job, epochs=2, folder=tmp_path / "whole")
    finetune(whole, lambda row: None)
    cut = change_job(whole, folder=job.folder, checkpoints=tmp_path / "kept", checkpoint_steps=3)
    (tmp_path / "pids").mkdir()
    monkeypatch.setattr(ray_train, "_worker", dying(tmp_path / "pids"))
    told: list[int] = []
    finetune_on(
        PAIR,
        cut,
        run_name="killed",
        storage=tmp_path / "ray",
        on_epoch=lambda job, row: told.append(row["epoch"]),
    )
    assert told == [0, 1, 2]
    assert len(list((tmp_path / "pids").iterdir())) == 4
    said = json.loads((cut.folder / "provenance.json").read_text())
    assert said["resumed"] == ["resumed at step 6"]
    assert said["cpus"]["asked"] == 1
    assert losses(cut) == pytest.approx(losses(whole), abs=1e-3)
    adapters = [load_file(each.folder / WEIGHTS_FILE) for each in (cut, whole)]
    for name, weights in adapters[1].items():
        assert torch.allclose(adapters[0][name], weights, atol=1e-3), name
    assert not (tmp_path / "kept").exists()


def test_a_worker_without_its_gpu_says_so_before_nccl_does(
    two_cpus: LocalCluster, job: FineTuneJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a cluster, whose nodes should have GPUs; here Ray only counts some."""
    profile = PROFILES["2xv100-4cpu"]
    two_cpus.ensure_nodes([PAIR, profile])
    monkeypatch.setattr(ray_train, "has_gpus", lambda _: True)
    one = change_job(job, workers=None)
    with pytest.raises(StageError, match=f"{profile.name} has 1 GPU, and this worker can use 0"):
        finetune_on(profile, one, run_name="no-gpu", storage=tmp_path / "ray")
    assert not (tmp_path / "ray" / "no-gpu").exists(), "Ray Train did not begin"


def test_a_name_resumes_a_retry_and_never_a_repeat(job: FineTuneJob, tmp_path: Path) -> None:
    (tmp_path / "ray" / "name").mkdir(parents=True)
    with pytest.raises(InputError, match=r"an earlier one exists: \S+/ray/name; delete it"):
        finetune_on(PAIR, replace(job, fresh=True), run_name="name", storage=tmp_path / "ray")
