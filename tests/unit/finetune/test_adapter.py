import json
import os
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from medsweep.errors import StageError
from medsweep.finetune.adapter import (
    WEIGHTS_FILE,
    Adapter,
    check_base,
    read_adapter,
    read_card,
    read_provenance,
    read_training,
)
from medsweep.finetune.adapter_copy import check_files
from medsweep.finetune.save import code_sha256, json_sha256, save_adapter
from medsweep.models.cache import file_sha256

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
        (folder / "adapter_config.json").write_text("{}")
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
    hashes = {
        path.name: file_sha256(path) for path in folder.iterdir() if path.name != "adapter.json"
    }
    assert read_adapter(folder) == read_card(folder)
    assert read_adapter(folder) == Adapter(
        folder=folder,
        model="standin-llama-3-8b",
        base=Path("/cache/models/standin"),
        template="llama-3",
        stop_tokens=("<|eot_id|>",),
        sha256=hashes[WEIGHTS_FILE],
        base_sha256=None,
        files=hashes,
    )
    assert len(hashes) == 6
    assert check_files(read_card(folder)) == [*sorted(hashes), "adapter.json"]
    assert pq.read_table(folder / "training.parquet").to_pylist() == EPOCHS
    assert read_training(folder) == EPOCHS
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
def test_an_incomplete_folder_is_refused(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(StageError, match=rf"not a complete adapter \(.*{missing}"):
        read_adapter(folder)


def card(**changes: Any) -> str:
    return json.dumps({**CARD, "sha256": "0" * 64, **changes})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "Expecting property name"),
        ("[]", "not a mapping"),
        ("7", "not a mapping"),
        ("{}", "model: Field required"),
        ("[" * 100_000, "recursion"),
        (card(stop_tokens=None), "stop_tokens: Input should be a valid tuple"),
        (card(model=["llama"]), "model: Input should be a valid string"),
        (card(template="gemma-9"), "unknown template 'gemma-9'"),
        (card(files={"../../.ssh/id_ed25519": "0" * 64}), "is not the name of a file in it"),
        (card(files={"/etc/passwd": "0" * 64}), "'/etc/passwd' is not the name of a file in it"),
        (card(files={"a\x1b[2J": "0" * 64}), r"'a\\x1b\[2J' is not the name of a file in it"),
        (card(model="x" * 2_000_000), "adapter.json: more than 1048576 bytes"),
    ],
    ids=str,
)
def test_foreign_nonsense_is_one_fault(folder: Path, text: str, reason: str) -> None:
    (folder / "adapter.json").write_text(text)
    for read in (read_card, read_adapter):
        with pytest.raises(StageError, match=rf"one: not a complete adapter \(.*{reason}"):
            read(folder)


def test_other_nonsense_is_a_fault_too(folder: Path) -> None:
    (folder / "provenance.json").write_text("[1]")
    with pytest.raises(StageError, match=r"provenance\.json: not a JSON object"):
        read_provenance(folder)
    (folder / "training.parquet").write_text("PAR1")
    with pytest.raises(StageError, match=r"training\.parquet"):
        read_training(folder)


def test_only_listed_regular_files_are_taken(folder: Path, tmp_path: Path) -> None:
    adapter = read_card(folder)
    check_files(adapter)
    secret = tmp_path / "id_ed25519"
    secret.write_text("a private key")
    # A file that nobody listed, a link, a folder, a pipe.
    (folder / "modeling_evil.py").write_text("raise SystemExit")
    with pytest.raises(StageError, match=r"does not list 'modeling_evil\.py'; remove"):
        check_files(adapter)
    (folder / "modeling_evil.py").unlink()
    readme = folder / "README.md"
    saved = readme.read_bytes()
    readme.unlink()
    readme.symlink_to(secret)
    with pytest.raises(StageError, match=r"not regular files: 'README\.md'"):
        check_files(adapter)
    readme.unlink()
    readme.mkdir()
    with pytest.raises(StageError, match=r"not regular files: 'README\.md'"):
        check_files(adapter)
    readme.rmdir()
    with pytest.raises(StageError, match=r"changed or missing: README\.md"):
        check_files(adapter)
    readme.write_bytes(saved)
    # What the hub's client adds is not read by anything.
    (folder / ".gitattributes").write_text("* -text")
    assert "README.md" in check_files(adapter)
    assert ".gitattributes" not in check_files(adapter)


def test_a_pipe_in_place_of_the_weights_is_not_read(folder: Path) -> None:
    """Opening one waits for a writer that never comes."""
    (folder / WEIGHTS_FILE).unlink()
    os.mkfifo(folder / WEIGHTS_FILE)
    with pytest.raises(StageError, match=r"adapter_model\.safetensors: not a file"):
        read_adapter(folder)


def test_an_adapter_must_list_its_files(folder: Path) -> None:
    content = json.loads((folder / "adapter.json").read_text())
    (folder / "adapter.json").write_text(json.dumps({**content, "files": {}}))
    with pytest.raises(StageError, match="`files` does not list adapter_model.safetensors"):
        check_files(read_card(folder))


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
        with pytest.raises(StageError, match=r"trained on standin-llama-3-8b .* another model"):
            check_base(adapter, weights(tmp_path / "copy", other))
    (tmp_path / "copy" / "model.safetensors").unlink()
    with pytest.raises(StageError, match="holds no model"):
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


def test_an_adapter_that_names_no_base_is_not_used_on_any(tmp_path: Path, folder: Path) -> None:
    base = weights(tmp_path / "base", b"a")
    with pytest.raises(StageError, match="no base_sha256"):
        check_base(read_card(folder), base)


def test_code_sha256_is_that_of_the_files_now() -> None:
    assert code_sha256() == code_sha256()
    assert len(code_sha256()) == 64


def test_json_sha256_does_not_depend_on_the_order() -> None:
    assert json_sha256({"a": 1, "b": (2, 3)}) == json_sha256({"b": [2, 3], "a": 1})
    assert json_sha256({"a": 1}) != json_sha256({"a": 2})


@pytest.mark.parametrize("name", ["model", "base", "sha256", "base_sha256"])
def test_names_that_would_forge_a_line_are_refused(folder: Path, name: str) -> None:
    content = json.loads((folder / "adapter.json").read_text())
    (folder / "adapter.json").write_text(json.dumps({**content, name: "x\nok      forged"}))
    with pytest.raises(StageError, match="control characters in a name or a hash"):
        read_card(folder)
