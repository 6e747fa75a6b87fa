"""A run that is cut short and resumed, without Ray."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medsweep.errors import InputError, StageError
from medsweep.finetune.job import FineTuneJob
from medsweep.finetune.loop import Loop
from medsweep.finetune.session import finetune
from support import change_job, same_weights

pytestmark = pytest.mark.slow

STEPS_AN_EPOCH = 16


class Killed(BaseException):
    """Nothing on the way catches it, as nothing catches a signal."""


@pytest.fixture
def cut_short(
    fine_tuned: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., FineTuneJob]:
    """The session's job with checkpoints, run until it has made a number of steps."""

    def run(at_step: int, **changes: Any) -> FineTuneJob:
        settings = {"checkpoint_steps": 5, "checkpoints": tmp_path / "checkpoints", **changes}
        job = change_job(fine_tuned.job, folder=tmp_path / "adapter", **settings)
        step = Loop.step

        def dying(loop: Loop, what: Any) -> None:
            if loop.position.step == at_step:
                raise Killed
            step(loop, what)

        with monkeypatch.context() as patch:
            patch.setattr(Loop, "step", dying)
            with pytest.raises(Killed):
                finetune(job, lambda _: None)
        return job

    return run


def said(job: FineTuneJob) -> list[str]:
    resumed: list[str] = json.loads((job.folder / "provenance.json").read_text())["resumed"]
    return resumed


def test_a_resumed_run_ends_with_the_weights_of_a_whole_one(
    fine_tuned: Any, cut_short: Callable[..., FineTuneJob]
) -> None:
    # In the middle of the second epoch, dropout and all.
    job = cut_short(at_step=STEPS_AN_EPOCH + 7)
    rows: list[Any] = []
    steps: list[Any] = []
    finetune(job, lambda row: rows.append(dict(row)), steps.append)
    assert same_weights(job.folder, fine_tuned.job.folder)
    assert said(job) == [f"resumed at step {STEPS_AN_EPOCH + 4}"]
    assert [each["step"] for each in steps] == list(
        range(STEPS_AN_EPOCH + 5, 3 * STEPS_AN_EPOCH + 1)
    )
    assert {each["steps"] for each in steps} == {3 * STEPS_AN_EPOCH}
    # At an epoch's last step, its loss so far is its loss, and its speed its tokens per second.
    assert steps[-1]["loss"] == rows[-1]["loss"]
    assert steps[-1]["tokens_per_s"] == rows[-1]["tokens"] / rows[-1]["seconds"]
    # Epochs 0 and 1 were not done again; the rows are those of a run that was not cut short.
    assert [row["epoch"] for row in rows] == [2, 3]
    for row, whole in zip(rows, fine_tuned.rows[2:], strict=True):
        assert row.keys() == whole.keys()
        for name in ("epoch", "steps", "tokens"):
            assert row[name] == whole[name]
        for name in ("loss", "eval_loss"):
            assert row[name] == pytest.approx(whole[name], abs=1e-3)
    assert job.checkpoints is not None
    assert not job.checkpoints.exists()


def test_a_run_cut_between_two_epochs_goes_on_with_the_evaluation(
    fine_tuned: Any, cut_short: Callable[..., FineTuneJob]
) -> None:
    job = cut_short(at_step=STEPS_AN_EPOCH)
    rows: list[Any] = []
    finetune(job, rows.append)
    assert said(job) == [f"resumed at step {STEPS_AN_EPOCH}"]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert rows[0]["loss"] == pytest.approx(fine_tuned.rows[1]["loss"], abs=1e-3)
    assert same_weights(job.folder, fine_tuned.job.folder)


def test_a_corrupt_checkpoint_costs_a_few_steps(
    fine_tuned: Any, cut_short: Callable[..., FineTuneJob], caplog: pytest.LogCaptureFixture
) -> None:
    job = cut_short(at_step=13)
    assert job.checkpoints is not None
    newest = max(job.checkpoints.iterdir())
    (newest / "tensors.safetensors").write_bytes(b"")
    finetune(job, lambda _: None)
    first, second = said(job)
    assert first.startswith(f"checkpoint {newest} is corrupt")
    assert second == "resumed at step 5"
    assert first in caplog.text
    assert same_weights(job.folder, fine_tuned.job.folder)


def test_a_fresh_run_does_not_resume(cut_short: Callable[..., FineTuneJob]) -> None:
    job = cut_short(at_step=7)
    with pytest.raises(InputError, match=r"an earlier one exists: \S+/checkpoints; delete it"):
        finetune(replace(job, fresh=True), lambda _: None)


def test_another_recipe_does_not_resume_but_another_way_to_compute_does(
    cut_short: Callable[..., FineTuneJob],
) -> None:
    job = cut_short(at_step=7)
    with pytest.raises(StageError, match="the checkpoints are of another fine-tune"):
        finetune(change_job(job, rank=4), lambda _: None)
    finetune(change_job(job, micro_batch_size=1), lambda _: None)
    assert said(job) == ["resumed at step 5"]


def test_without_questions_only_the_loss_of_the_answers_is_computed(
    fine_tuned: Any, tmp_path: Path
) -> None:
    job = change_job(fine_tuned.job, folder=tmp_path / "adapter", asks=False)
    rows: list[dict[str, Any]] = []
    finetune(job, lambda row: rows.append(dict(row)))
    losses = [row["eval_loss"] for row in rows]
    assert losses == pytest.approx([row["eval_loss"] for row in fine_tuned.rows])
    assert not any("token_f1" in row for row in rows)
