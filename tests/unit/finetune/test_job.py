import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from medsweep.datasets.spec import Pair
from medsweep.errors import StageError
from medsweep.finetune import session
from medsweep.finetune.adapter import WEIGHTS_FILE, read_adapter
from medsweep.finetune.data import encode
from medsweep.finetune.ddp import Ddp
from medsweep.finetune.evaluate import Answer, answer_loss, grade
from medsweep.finetune.job import FineTuneJob
from medsweep.finetune.session import finetune
from medsweep.models.templates import TEMPLATES
from medsweep.models.weights import fetch_weights
from support import change_job, same_weights

pytestmark = pytest.mark.slow


def ignore(_: object) -> None:
    pass


@pytest.fixture
def again(fine_tuned: Any, tmp_path: Path) -> Callable[..., FineTuneJob]:
    """The job of the session with changes, for another folder."""

    def change(**changes: Any) -> FineTuneJob:
        return change_job(fine_tuned.job, folder=tmp_path / "again", **changes)

    return change


def test_fine_tuning_lowers_the_loss_on_what_it_has_not_seen(fine_tuned: Any) -> None:
    losses = [row["eval_loss"] for row in fine_tuned.rows]
    assert losses[0] - 0.1 > losses[-1] > 0


def test_the_rows_begin_with_the_base_model(fine_tuned: Any) -> None:
    base, *epochs = fine_tuned.rows
    assert [row["epoch"] for row in fine_tuned.rows] == [0, 1, 2, 3]
    assert (base["loss"], base["steps"], base["tokens"], base["seconds"]) == (None, 0, 0, 0.0)
    assert [row["steps"] for row in epochs] == [16, 32, 48]
    assert epochs[0]["tokens"] == epochs[1]["tokens"] > 64 * 20
    assert all(row["loss"] > 0 and row["seconds"] > 0 for row in epochs)
    assert all(0 <= row["token_f1"] <= 1 for row in fine_tuned.rows)


def test_the_folder_holds_what_was_reported(fine_tuned: Any) -> None:
    folder = fine_tuned.job.folder
    assert pq.read_table(folder / "training.parquet").to_pylist() == fine_tuned.rows
    adapter = read_adapter(folder)
    assert adapter.model == "standin-llama-3-8b"
    assert adapter.base == fetch_weights(fine_tuned.job.weights)
    assert (adapter.template, adapter.stop_tokens) == (
        "llama-3",
        ("<|end_of_text|>", "<|eot_id|>"),
    )
    assert [path.name for path in folder.parent.iterdir()] == ["one"]
    assert not [path for path in folder.iterdir() if path.suffix in (".bin", ".pt", ".pkl")]


def test_provenance_says_what_it_was_made_of(fine_tuned: Any) -> None:
    said = json.loads((fine_tuned.job.folder / "provenance.json").read_text())
    assert said["cpus"] == {"asked": 2}
    assert said["revision"] == fine_tuned.job.weights.revision
    assert (said["dataset_sha256"], said["train_pairs"]) == ("hash-of-the-data", 64)
    assert said["evaluation_pairs"] == 6
    assert said["recipe"]["rank"] == 8
    assert said["recipe"]["max_seq_length"] == 2048
    # Clamped to what the model has been built for.
    assert said["max_seq_length_used"] == 512
    assert (said["truncated_pairs"], said["pairs_without_room"]) == (0, 0)
    # As many tokens as fit: on this machine a whole step.
    assert said["micro_batch_tokens_used"] == said["recipe"]["batch_size"] * 512
    assert said["attention_used"] == "sdpa"
    assert said["machine"].keys() == {
        "cpu_model",
        "cpus",
        "gpus",
        "compute_capability",
        "driver",
        "cuda",
    }
    assert (said["machine"]["gpus"], said["machine"]["driver"]) == ([], None)


def test_the_same_job_gives_the_same_adapter(
    fine_tuned: Any, again: Callable[..., FineTuneJob]
) -> None:
    same = again()
    finetune(same, ignore)
    assert same_weights(same.folder, fine_tuned.job.folder)


def test_another_seed_gives_another_adapter(
    fine_tuned: Any, again: Callable[..., FineTuneJob]
) -> None:
    other = again(seed=8, epochs=1)
    finetune(other, ignore)
    assert not same_weights(other.folder, fine_tuned.job.folder)


def test_no_room_for_an_answer_is_said_before_training(again: Callable[..., FineTuneJob]) -> None:
    job = again(max_seq_length=16)
    with pytest.raises(StageError, match=r"finetune\.max_seq_length: 16 tokens hold no prompt"):
        finetune(job, ignore)
    assert not job.folder.exists()


def test_pairs_without_room_are_left_out_and_counted(
    fine_tuned: Any, again: Callable[..., FineTuneJob]
) -> None:
    whole = fine_tuned.job.split.train[:6]
    no_room = Pair("no room", "What is asthma? " * 100, "A disease.")
    cut = Pair("cut", "What is asthma?", "A disease of the airways. " * 100)
    split = replace(fine_tuned.job.split, train=(*whole, no_room, cut))
    job = again(split=split, max_seq_length=300, epochs=1)
    finetune(job, ignore)
    said = json.loads((job.folder / "provenance.json").read_text())
    assert (said["pairs_without_room"], said["truncated_pairs"]) == (1, 1)
    assert said["train_pairs"] == 8


@pytest.mark.parametrize(
    "changes",
    [
        {"micro_batch_size": 1},
        {"packing": "packed"},
        {"packing": "packed", "micro_batch_size": 1, "gradient_checkpointing": True},
    ],
    ids=str,
)
def test_how_it_is_computed_does_not_change_what_is_learnt(
    again: Callable[..., FineTuneJob], changes: dict[str, Any]
) -> None:
    # The same examples a step: `packed` draws them as `padded` does.
    same: dict[str, Any] = {"dropout": 0.0, "epochs": 1}
    if "packing" in changes:
        same["packing"] = "padded"
    one = again(**same)
    rows: dict[str, list[Any]] = {"one": [], "other": []}
    finetune(one, rows["one"].append)
    finetune(change_job(one, folder=one.folder.with_name("other"), **changes), rows["other"].append)
    for row, other in zip(rows["one"], rows["other"], strict=True):
        assert other["eval_loss"] == pytest.approx(row["eval_loss"], abs=2e-3)
        assert other["loss"] == (row["loss"] and pytest.approx(row["loss"], abs=2e-3))
        assert (row["steps"], row["tokens"]) == (other["steps"], other["tokens"])


def test_a_plateau_ends_it_where_that_is_asked(again: Callable[..., FineTuneJob]) -> None:
    rows: list[Any] = []
    finetune(again(patience=1, min_delta=100.0), rows.append)
    assert [row["epoch"] for row in rows] == [0, 1]


def test_what_on_epoch_raises_stops_it(again: Callable[..., FineTuneJob]) -> None:
    def stop(row: Any) -> None:
        if row["epoch"] == 1:
            raise LookupError("hopeless")

    job = again()
    with pytest.raises(LookupError, match="hopeless"):
        finetune(job, stop)
    assert not job.folder.exists()


def test_out_of_memory_says_what_would_fit(
    again: Callable[..., FineTuneJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A machine with 1 GiB, and a batch that takes more: what the allocator then raises.
    monkeypatch.setattr(session, "memory_here", lambda _: 2**30)

    def learn(*_: Any, **__: Any) -> float:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(Ddp, "learn", learn)
    job = again(micro_batch_size=512, batch_size=512)
    with pytest.raises(StageError) as stopped:
        finetune(job, ignore)
    text = str(stopped.value)
    assert "out of memory in epoch 1 (rows of up to 512 tokens)" in text
    fits = r"this would fit \(\d\.\d of 1\.0 GiB\): finetune\.micro_batch_size: \d+$"
    assert re.search(fits, text)


def test_other_faults_are_not_called_memory(
    again: Callable[..., FineTuneJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    def learn(*_: Any, **__: Any) -> float:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(Ddp, "learn", learn)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        finetune(again(), ignore)


def test_a_wrong_target_stops(again: Callable[..., FineTuneJob]) -> None:
    job = again(targets=["c_attn"])
    with pytest.raises(StageError, match="no module is called c_attn"):
        finetune(job, ignore)
    assert not job.folder.exists()


def test_the_loss_does_not_depend_on_the_batches(fine_tuned: Any) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = fetch_weights(fine_tuned.job.weights)
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    template = TEMPLATES["llama-3"]
    asked = [encode(pair, template, tokenizer, 512) for pair in fine_tuned.job.split.evaluation]
    together = answer_loss(model, asked, tokenizer.pad_token_id, tokens=10_000)
    one_by_one = answer_loss(model, asked, tokenizer.pad_token_id, tokens=1)
    assert together == pytest.approx(one_by_one, rel=1e-4)
    assert together == pytest.approx(fine_tuned.rows[0]["eval_loss"], rel=1e-4)
    # A pair cut before its answer adds nothing.
    no_room = encode(fine_tuned.job.split.evaluation[0], template, tokenizer, 5)
    with_it = answer_loss(model, [*asked, no_room], tokenizer.pad_token_id, tokens=1)
    assert with_it == pytest.approx(one_by_one)


def test_grade_is_one_for_the_references(fine_tuned: Any) -> None:
    pairs = fine_tuned.job.split.evaluation
    perfect = grade(pairs, [Answer(pair.answer, "stop") for pair in pairs], seed=1)
    assert (perfect["exact_match"], perfect["token_f1"]) == (1.0, 1.0)
    assert perfect["corpus_bleu"] == pytest.approx(1.0)
    assert (perfect["token_f1_empty"], perfect["truncated_share"]) == (0.0, 0.0)
    assert "token_f1_ceiling" not in perfect  # the longest answer is not known


def test_grade_knows_what_the_longest_answer_allows(fine_tuned: Any) -> None:
    pairs = fine_tuned.job.split.evaluation
    halves = [
        Answer(" ".join(pair.answer.split()[: len(pair.answer.split()) // 2]), "length")
        for pair in pairs
    ]

    def cut(text: str) -> tuple[str, bool]:
        words = text.split()
        return " ".join(words[: len(words) // 2]), True

    half = grade(pairs, halves, seed=1, cut=cut)
    assert half["token_f1"] == pytest.approx(half["token_f1_ceiling"])
    assert 0 < half["token_f1_floor"] < half["token_f1_ceiling"] < 0.8  # type: ignore[operator]
    assert (half["truncated_share"], half["long_references_share"]) == (1.0, 1.0)


def test_each_epoch_has_its_ceiling_and_its_truncated_answers(fine_tuned: Any) -> None:
    for row in fine_tuned.rows:
        assert row["token_f1_empty"] == 0
        assert row["token_f1_floor"] < row["token_f1_ceiling"] <= 1
        assert 0 <= row["truncated_share"] <= 1


def test_weights_are_safetensors(fine_tuned: Any) -> None:
    from safetensors import safe_open

    with safe_open(fine_tuned.job.folder / WEIGHTS_FILE, "pt") as weights:
        shapes = [weights.get_slice(key).get_shape() for key in weights.keys()]  # noqa: SIM118
    assert len(shapes) == 2 * 7 * 2
    assert {min(shape) for shape in shapes} == {8}
