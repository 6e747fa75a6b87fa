import json
from pathlib import Path
from typing import Any

import pytest
import torch

from medsweep.errors import StageError
from medsweep.finetune import checkpoint as module
from medsweep.finetune.checkpoint import (
    MANIFEST,
    STATE,
    TENSORS,
    Checkpoint,
    CheckpointFolder,
)
from medsweep.finetune.loop import Position

ROWS = ({"epoch": 0, "loss": None, "eval_loss": 0.1 + 0.2},)


def at(step: int) -> Checkpoint:
    tensors = {"weight.a": torch.full((2, 3), float(step)), "updates": torch.tensor(float(step))}
    return Checkpoint(Position(step, 1.5, 2, 3, 4.25), ROWS, tensors)


@pytest.fixture
def kept(tmp_path: Path) -> CheckpointFolder:
    folder = CheckpointFolder(tmp_path / "run", "the job")
    for step in (10, 20, 30):
        folder.write(at(step))
    return folder


def names(folder: CheckpointFolder) -> list[str]:
    return sorted(path.name for path in folder.folder.iterdir())


def test_the_last_two_are_kept(kept: CheckpointFolder) -> None:
    assert names(kept) == ["step-00000020", "step-00000030"]
    found, said = kept.read()
    assert found is not None
    assert said == []
    assert (found.position, found.rows) == (at(30).position, ROWS)
    assert set(found.tensors) == {"weight.a", "updates"}
    assert torch.equal(found.tensors["weight.a"], at(30).tensors["weight.a"])
    assert not [path for path in kept.folder.rglob("*") if path.suffix in (".pt", ".pkl", ".bin")]


def test_nothing_to_read(tmp_path: Path) -> None:
    assert CheckpointFolder(tmp_path / "none", "job").read() == (None, [])


@pytest.mark.parametrize("name", [TENSORS, STATE, MANIFEST])
@pytest.mark.parametrize("damage", ["changed", "cut", "gone"])
def test_a_corrupt_one_falls_back_to_the_one_before(
    kept: CheckpointFolder, name: str, damage: str
) -> None:
    path = kept.folder / "step-00000030" / name
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-5])
    else:
        path.write_bytes(b"{" + path.read_bytes())
    found, [line] = kept.read()
    assert found is not None
    assert found.position.step == 20
    assert line.startswith(f"checkpoint {path.parent} is corrupt (")
    assert line.endswith("using the one before it")


def test_when_all_are_corrupt_it_says_so(kept: CheckpointFolder) -> None:
    for path in kept.folder.iterdir():
        (path / STATE).write_text("{}")
    found, said = kept.read()
    assert found is None
    assert len(said) == 3
    assert said[-1] == "no intact checkpoint is left: starting at the first step"


def test_those_of_another_job_are_refused(kept: CheckpointFolder) -> None:
    other = CheckpointFolder(kept.folder, "other job")
    with pytest.raises(
        StageError, match=r"of another fine-tune \(job the job, this is other job\)"
    ):
        other.read()


def test_half_of_one_is_never_seen(kept: CheckpointFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> str:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module, "file_sha256", full)
        with pytest.raises(OSError, match="No space left"):
            kept.write(at(40))
    found, said = kept.read()
    assert found is not None
    assert (found.position.step, said) == (30, [])
    # What was left of it is no obstacle later.
    kept.write(at(40))
    assert names(kept) == ["step-00000030", "step-00000040"]


def test_a_step_can_be_written_again(kept: CheckpointFolder) -> None:
    kept.write(at(30))
    assert names(kept) == ["step-00000020", "step-00000030"]


def test_the_manifest_says_whose_it_is(kept: CheckpointFolder) -> None:
    manifest = json.loads((kept.folder / "step-00000030" / MANIFEST).read_text())
    assert manifest["job"] == "the job"
    assert set(manifest["sha256"]) == {TENSORS, STATE}


def test_remove(kept: CheckpointFolder) -> None:
    kept.remove()
    assert not kept.folder.exists()
    kept.remove()
