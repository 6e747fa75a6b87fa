import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from medsweep.errors import StageError
from medsweep.finetune.adapter import (
    WEIGHTS_FILE,
    Adapter,
    check_base,
    epoch_row,
    read_adapter,
    read_provenance,
    save_adapter,
)
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


def save(folder: Path, model: Any = None, **card: Any) -> None:
    made = {**CARD, **card}
    save_adapter(folder, model or FakeModel(), card=made, epochs=EPOCHS, provenance={"seed": 3})


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
    record = read_provenance(folder)
    assert record["seed"] == 3
    assert {name: len(value) for name, value in record.items() if name.endswith("_sha256")} == {
        "code_sha256": 64,
        "recipe_sha256": 64,
    }


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
    [names] = seen
    assert {WEIGHTS_FILE, "training.parquet", "provenance.json", "adapter.json"} < names
    assert {"README.md", "chat_template.jinja"} < names


def weights(folder: Path, content: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "model.safetensors").write_bytes(content)
    return folder


def test_another_base_model_is_named(tmp_path: Path) -> None:
    base = weights(tmp_path / "base", b"a" * 3_000_000)
    save(tmp_path / "one", base=str(base))
    adapter = read_adapter(tmp_path / "one")
    check_base(adapter, weights(tmp_path / "copy", b"a" * 3_000_000))
    for other in (b"b" + b"a" * 2_999_999, b"a" * 2_999_999 + b"b", b"a" * 2_999_999):
        with pytest.raises(StageError, match=r"trained on standin-llama-3-8b .* another one"):
            check_base(adapter, weights(tmp_path / "copy", other))
    (tmp_path / "copy" / "model.safetensors").unlink()
    with pytest.raises(StageError, match="there is none"):
        check_base(adapter, tmp_path / "copy")
    # Also where it was: somebody put other weights there.
    weights(base, b"c" * 3_000_000)
    with pytest.raises(StageError, match="on other weights its answers mean nothing"):
        read_adapter(tmp_path / "one")


def test_peft_s_configuration_names_the_hub_where_the_weights_are_the_hub_s(tmp_path: Path) -> None:
    class Configured(FakeModel):
        def save_pretrained(self, folder: Path) -> None:
            super().save_pretrained(folder)
            (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "/cache"}')

    commit = "0" * 40
    for revision, named in ((commit, "me/model"), ("wheel==1.0", "/cache")):
        folder = tmp_path / revision
        record = {"revision": revision, "model": {"hub_id": "me/model", "revision": commit}}
        save_adapter(folder, Configured(), card=CARD, epochs=EPOCHS, provenance=record)
        config = json.loads((folder / "adapter_config.json").read_text())
        assert config["base_model_name_or_path"] == named


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
