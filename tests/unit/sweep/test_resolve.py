"""Words of data that is not public stay out of what is passed on."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from medsweep.datasets.load import embedded_answers
from medsweep.errors import InputError
from medsweep.models.weights import fetch_weights
from medsweep.serving.engines import compatibility
from medsweep.sweep import resolve as module
from medsweep.sweep.resolve import Resolved, resolve
from medsweep.sweep.spec import SweepSpec
from support import SWEEP, make_spec

STANDIN = "standin-distilgpt2"
SURNAME = "Kowalczykiewicz"


@pytest.fixture
def ward(tmp_path: Path) -> Path:
    """A ward's own data, in which a patient's name is frequent."""
    rows = [
        {"question": f"What does case {n} need?", "answer": f"{SURNAME} needs rest for {n} days."}
        for n in range(60)
    ]
    path = tmp_path / "ward.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def sweep(dataset: dict[str, Any], *, keep_text: bool = False) -> Resolved:
    changes = {"dataset": dataset, "keep_text": keep_text}
    return resolve(SweepSpec.model_validate(yaml.safe_load(SWEEP) | changes))


def texts(resolved: Resolved) -> tuple[str, ...]:
    return resolved.weights[STANDIN].texts


@pytest.mark.slow
def test_a_stand_in_learns_no_word_of_data_that_is_not_public(
    ward: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDSWEEP_CACHE", str(tmp_path / "cache"))
    resolved = sweep({"name": "local", "path": str(ward)})
    assert texts(resolved) == tuple(embedded_answers())
    base = fetch_weights(resolved.weights[STANDIN])
    assert SURNAME[:5] not in (base / "tokenizer.json").read_text()


@pytest.mark.parametrize(("public", "keep_text"), [(True, False), (False, True)])
def test_it_learns_words_of_texts_that_may_be_stored(
    ward: Path, public: bool, keep_text: bool
) -> None:
    dataset = {"name": "local", "path": str(ward), "public": public}
    resolved = sweep(dataset, keep_text=keep_text)
    assert texts(resolved) == tuple(pair.answer for pair in resolved.split.train)


def test_it_learns_no_embedded_answer_that_is_a_reference(ward: Path) -> None:
    parts = [{"name": "embedded"}, {"name": "local", "path": str(ward)}]
    resolved = sweep({"mix": parts})
    held_out = {pair.answer for pair in resolved.split.evaluation}
    assert held_out & set(embedded_answers())
    assert texts(resolved)
    assert not held_out & set(texts(resolved))


@pytest.mark.parametrize("laptop", [None, "nothing is installed here"])
def test_in_a_cluster_auto_takes_the_engines_of_the_images(
    laptop: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compatibility, "VLLM_HEAD_DIMS", (16,))
    monkeypatch.setattr(module, "missing_here", lambda engine, profile: laptop)
    clinic = {"name": "clinic", "cpus": 2, "gpus": 0, "host_memory_gib": 16}
    profiles = ["1xa100-1cpu", "1xrtx8000-1cpu", "1xv100-2cpu", "clinic"]
    spec = make_spec(
        own_profiles=[clinic],
        cells=[f"llama-3-8b@{name}" for name in profiles],
        serve={"adapters": "auto"},
    )
    cells = {cell.profile.name: cell for cell in resolve(spec, here=False).plan.cells}
    assert {name: cell.serving.engine for name, cell in cells.items()} == {
        "1xa100-1cpu": "vllm",
        "1xrtx8000-1cpu": "vllm",
        "1xv100-2cpu": "continuous",
        "clinic": "continuous",
    }
    assert all(cell.refused is None for cell in cells.values())
    assert "engine vllm is not in the image for clinic" in cells["clinic"].serving.engine_reason


def test_a_model_that_cannot_judge_is_refused_before_anything_runs() -> None:
    with pytest.raises(InputError, match="no such folder"):
        resolve(make_spec(quality={"entailment": {"model": "/no/such/folder"}}))
