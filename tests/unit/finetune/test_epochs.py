import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from medsweep.clock import FakeClock
from medsweep.cluster.cpu_pinning import GrantedCpus
from medsweep.datasets.split import Split
from medsweep.finetune import ray_train
from medsweep.finetune.epochs import EpochLog, LatestStep, epoch_line, epoch_row
from medsweep.finetune.job import FineTuneJob
from medsweep.finetune.loop import EpochStats
from medsweep.finetune.recipe import Recipe
from medsweep.hardware.profile import GIB, HardwareProfile
from medsweep.models.catalog import MODELS
from medsweep.models.weights import Weights


def row(epoch: int, **changes: Any) -> dict[str, Any]:
    figures = {"token_f1": 0.25, "rouge_l": 0.2, "corpus_bleu": 0.1, "ngram_match": 0.15}
    start = {"epoch": epoch, "loss": 1.5, "eval_loss": 2.0, "tokens": 640, "seconds": 1.25}
    return {**start, **figures, **changes}


def test_a_line_has_the_figures_of_the_paper_s_figure_3() -> None:
    assert epoch_line(row(2)) == (
        "epoch 2: loss 1.500, evaluation loss 2.000, token F1 0.250, ROUGE-L 0.200, BLEU 0.100, "
        "n-gram match 0.150, 640 tokens in 1.2 s"
    )


def test_before_training_there_is_no_time_and_no_loss() -> None:
    assert epoch_line(row(0, loss=None, corpus_bleu=None)) == (
        "epoch 0: base model, evaluation loss 2.000, token F1 0.250, ROUGE-L 0.200, "
        "n-gram match 0.150"
    )


def test_each_epoch_is_told_once(tmp_path: Path) -> None:
    path = tmp_path / "ray" / "run.epochs"
    log = EpochLog(path)
    assert log.new() == []
    EpochLog.add(path, row(0))
    EpochLog.add(path, row(1))
    assert [each["epoch"] for each in log.new()] == [0, 1]
    assert log.new() == []
    # A worker that is killed after its report evaluates the epoch again.
    EpochLog.add(path, row(1))
    EpochLog.add(path, row(2))
    assert [each["epoch"] for each in log.new()] == [2]
    log.close()
    assert not path.exists()


def test_half_a_line_waits_for_its_end(tmp_path: Path) -> None:
    path = tmp_path / "run.epochs"
    log = EpochLog(path)
    EpochLog.add(path, row(0))
    whole = path.read_text()
    path.write_text(whole + whole[:20])
    assert [each["epoch"] for each in log.new()] == [0]
    path.write_text(whole + whole.replace('"epoch": 0', '"epoch": 1'))
    assert [each["epoch"] for each in log.new()] == [1]


def test_a_line_that_a_killed_writer_left_is_dropped(tmp_path: Path) -> None:
    EpochLog.add(tmp_path / "lines", row(1))
    line = (tmp_path / "lines").read_bytes()
    for length in range(len(line)):
        path = tmp_path / "run.epochs"
        log = EpochLog(path)
        EpochLog.add(path, row(0))
        with path.open("ab") as killed:
            killed.write(line[:length])
        assert [each["epoch"] for each in log.new()] == [0]
        # The next worker continues from the checkpoint, and reports that epoch whole.
        EpochLog.add(path, row(1, loss=1.25))
        EpochLog.add(path, row(2))
        fresh = log.new()
        # A line that lacks its end alone is the row that was written.
        loss = 1.5 if length == len(line) - 1 else 1.25
        assert [(each["epoch"], each["loss"]) for each in fresh] == [(1, loss), (2, 1.5)]


def test_what_an_earlier_run_left_is_not_told(tmp_path: Path) -> None:
    EpochLog.add(tmp_path / "run.epochs", row(0))
    assert EpochLog(tmp_path / "run.epochs").new() == []


@pytest.mark.slow  # for the import of Ray alone
@pytest.mark.parametrize("rank", [0, 1])
def test_ray_train_s_first_worker_tells_whoever_waits(
    rank: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # Ray's part is played: the worker runs in the thread that waits for Ray Train.
    import ray.train.torch
    from ray import train

    context = SimpleNamespace(get_world_rank=lambda: rank, get_local_rank=lambda: 0)
    gauges = SimpleNamespace(epoch=lambda row, memory_bytes: None)
    reported: list[Any] = []
    monkeypatch.setattr(train, "get_context", lambda: context)
    monkeypatch.setattr(train, "report", reported.append)

    class Trainer:
        def __init__(self, loop: Any, *, train_loop_config: Any, **_: Any) -> None:
            self.fit = lambda: (workers_start.set(), loop(train_loop_config))

    workers_start, order = threading.Event(), list[str]()

    def meanwhile() -> None:
        assert workers_start.wait(60)
        time.sleep(0.3)  # in which a worker that does not wait would train
        order.append("meanwhile")
        raise RuntimeError("no ingress")

    def learn(job: Any, on_epoch: Any, on_step: Any) -> None:
        order.append("train")
        for number in range(3):
            on_epoch(row(number))
        if rank == 0:  # the leading worker alone
            on_step({"step": 7})

    monkeypatch.setattr(ray.train.torch, "TorchTrainer", Trainer)
    monkeypatch.setattr(ray_train, "finetune", learn)
    monkeypatch.setattr(ray_train, "read_adapter", lambda folder: None)
    monkeypatch.setattr(ray_train, "TrainingMetrics", lambda labels: gauges)
    monkeypatch.setattr(ray_train, "memory_held_bytes", lambda: 1)
    monkeypatch.setattr(ray_train, "take_cpus", lambda cpus, after: GrantedCpus(1, (), 1))
    job = FineTuneJob(
        recipe=Recipe(epochs=2),
        weights=Weights(MODELS["standin-distilgpt2"], "made-up"),
        split=Split((), (), "", ""),
        folder=tmp_path / "adapter",
        max_tokens=1,
        seed=0,
        provenance={},
    )
    caplog.set_level("DEBUG", "medsweep.finetune.ray_train")
    told: list[Any] = []
    steps: list[Any] = []
    profile = HardwareProfile("one", 1, 0, None, GIB)
    ray_train.finetune_on(
        profile,
        job,
        run_name="run",
        storage=tmp_path / "ray",
        on_epoch=lambda job, row: told.append(row),
        on_step=steps.append,
        meanwhile=meanwhile,
    )
    assert order == ["meanwhile", "train"]
    assert "beside the fine-tune failed: no ingress" in caplog.text
    assert steps == ([{"step": 7}] if rank == 0 else [])
    assert list((tmp_path / "ray").glob("run.*")) == []
    assert [each["epoch"] for each in reported] == [0, 1, 2]
    assert told == (reported if rank == 0 else [])


def test_a_worker_does_not_wait_for_ever_for_what_starts_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, ready = FakeClock(), tmp_path / "ready"
    fake_time = SimpleNamespace(monotonic=clock.now, sleep=clock.advance)
    monkeypatch.setattr(ray_train, "time", fake_time)
    began_s = clock.now()
    ray_train._await_ready(ready)
    waited_s = clock.now() - began_s
    assert waited_s == pytest.approx(120.0, abs=2 * ray_train.READY_POLL_S)
    ready.touch()
    ray_train._await_ready(ready)
    assert clock.now() - began_s == waited_s


def test_epoch_row() -> None:
    stats = EpochStats(epoch=2, loss=1.5, steps=8, tokens=640, seconds=3.5)
    quality = {"token_f1": 0.3, "token_f1_low": 0.2, "corpus_bleu": None}
    assert epoch_row(stats, 2.5, quality) == {
        "epoch": 2,
        "loss": 1.5,
        "steps": 8,
        "tokens": 640,
        "seconds": 3.5,
        "eval_loss": 2.5,
        **quality,
    }


def test_the_newest_step_is_what_another_process_reads(tmp_path: Path) -> None:
    now = [0.0]
    path = tmp_path / "deep" / "run.step"
    written = LatestStep(path, every_s=1.0, now=lambda: now[0])
    reader = LatestStep(path)
    assert reader.read() is None
    written.write({"step": 1, "loss": 2.5})
    written.write({"step": 2, "loss": 2.4})
    assert reader.read() == {"step": 1, "loss": 2.5}, "the second came too soon"
    now[0] = 1.5
    written.write({"step": 3, "loss": 2.3})
    assert reader.read() == {"step": 3, "loss": 2.3}
    reader.close()
    assert reader.read() is None
    assert list(path.parent.iterdir()) == []


def test_another_process_may_write_the_newest_step_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, rename = tmp_path / "run.step", Path.replace
    one, other = LatestStep(path), LatestStep(path)

    def rename_late(written: Path, target: Path) -> Path:
        monkeypatch.undo()
        other.write({"step": 2})
        return rename(written, target)

    monkeypatch.setattr(Path, "replace", rename_late)
    one.write({"step": 1})
    assert one.read() == {"step": 1}
    assert list(tmp_path.iterdir()) == [path]
