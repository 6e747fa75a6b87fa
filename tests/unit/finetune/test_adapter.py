import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from medsweep.errors import StageError
from medsweep.finetune.adapter import WEIGHTS_FILE, Adapter, epoch_row, read_adapter, save_adapter
from medsweep.finetune.loop import EpochStats
from medsweep.metrics.quality import QualitySummary
from medsweep.models.weights import file_sha256

CARD = {
    "model": "standin-llama-3-8b",
    "base": "/cache/models/standin",
    "template": "llama-3",
    "stop_tokens": ("<|eot_id|>",),
}
EPOCHS = [{"epoch": 0, "loss": None, "eval_loss": 6.9}, {"epoch": 1, "loss": 2.5, "eval_loss": 3.0}]


class FakeModel:
    """Saves as PEFT does; may stop half-way."""

    def __init__(self, fails: bool = False) -> None:
        self.fails = fails
        self.folder = Path()

    def save_pretrained(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        (folder / WEIGHTS_FILE).write_bytes(b"weights")
        if self.fails:
            raise OSError(28, "No space left on device")


def save(folder: Path, model: Any = None) -> None:
    save_adapter(folder, model or FakeModel(), card=CARD, epochs=EPOCHS, provenance={"seed": 3})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(tmp_path / "adapters" / "one")
    return tmp_path / "adapters" / "one"


def test_round_trip(folder: Path) -> None:
    assert read_adapter(folder) == Adapter(
        folder=folder,
        model="standin-llama-3-8b",
        base=Path("/cache/models/standin"),
        template="llama-3",
        stop_tokens=("<|eot_id|>",),
        sha256=file_sha256(folder / WEIGHTS_FILE),
    )
    assert pq.read_table(folder / "training.parquet").to_pylist() == EPOCHS
    assert json.loads((folder / "provenance.json").read_text()) == {"seed": 3}


def test_nothing_is_left_beside_it(folder: Path) -> None:
    assert list(folder.parent.iterdir()) == [folder]


def test_changed_weights_are_refused(folder: Path) -> None:
    (folder / WEIGHTS_FILE).write_bytes(b"weightz")
    with pytest.raises(StageError, match="the weights are not those that were saved") as refused:
        read_adapter(folder)
    assert "delete the folder and run again" in str(refused.value)


@pytest.mark.parametrize("missing", ["adapter.json", WEIGHTS_FILE])
def test_a_folder_that_is_not_whole_is_refused(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(StageError, match="not a whole adapter"):
        read_adapter(folder)


@pytest.mark.parametrize("card", ["{", "[]", "{}", json.dumps({**CARD, "stop_tokens": None})])
def test_a_card_that_is_not_one_is_refused(folder: Path, card: str) -> None:
    (folder / "adapter.json").write_text(card)
    with pytest.raises(StageError, match="not a whole adapter"):
        read_adapter(folder)


def test_half_an_adapter_is_never_seen(tmp_path: Path) -> None:
    folder, model = tmp_path / "adapters" / "one", FakeModel(fails=True)
    with pytest.raises(OSError, match="No space left"):
        save(folder, model)
    assert model.folder != folder
    assert list(folder.parent.iterdir()) == []


def test_it_appears_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "one"
    seen: list[set[str]] = []
    rename = Path.rename

    def spy(path: Path, target: Path) -> Path:
        assert not folder.exists()
        seen.append({entry.name for entry in path.iterdir()})
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", spy)
    save(folder)
    assert seen == [{WEIGHTS_FILE, "training.parquet", "provenance.json", "adapter.json"}]


def test_epoch_row() -> None:
    stats = EpochStats(epoch=2, loss=1.5, steps=8, tokens=640, seconds=3.5)
    quality = {
        "token_f1": QualitySummary(0.3, 0.2, 0.4, 0.9),
        "corpus_bleu": QualitySummary(0.1, None, None, None),
    }
    assert epoch_row(stats, 2.5, quality) == {
        "epoch": 2,
        "loss": 1.5,
        "steps": 8,
        "tokens": 640,
        "seconds": 3.5,
        "eval_loss": 2.5,
        "token_f1": 0.3,
        "token_f1_low": 0.2,
        "token_f1_high": 0.4,
        "corpus_bleu": 0.1,
        "corpus_bleu_low": None,
        "corpus_bleu_high": None,
    }
