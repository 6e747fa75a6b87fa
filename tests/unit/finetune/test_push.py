import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import ANY

import fsspec
import huggingface_hub
import pytest

from medsweep.errors import EnvironmentFault, InputError, StageError
from medsweep.finetune.adapter import Adapter, read_card
from medsweep.finetune.push import push
from medsweep.models.cache import file_sha256

FILES = ("adapter_model.safetensors", "adapter_config.json", "README.md", "zz.txt")


@pytest.fixture
def adapter(tmp_path: Path) -> Adapter:
    folder = tmp_path / "adapter"
    folder.mkdir()
    for name in FILES:
        (folder / name).write_text(name)
    card = {
        "model": "llama-3-8b",
        "base": str(tmp_path),
        "template": "llama-3",
        "stop_tokens": [],
        "sha256": file_sha256(folder / "adapter_model.safetensors"),
        "files": {name: file_sha256(folder / name) for name in FILES},
    }
    (folder / "adapter.json").write_text(json.dumps(card))
    return read_card(folder)


def names(url: str) -> list[str]:
    files, root = fsspec.core.url_to_fs(url)
    return sorted(Path(name).name for name in files.ls(root, detail=False))


@pytest.mark.parametrize("scheme", ["memory://pushed/one", "file://{}/pushed/one", "{}/pushed/one"])
def test_any_fsspec_url(adapter: Adapter, tmp_path: Path, scheme: str) -> None:
    target = scheme.format(tmp_path)
    assert push(adapter, f"{target}/") == target
    assert names(target) == sorted(path.name for path in adapter.folder.iterdir())
    files, root = fsspec.core.url_to_fs(target)
    assert files.cat_file(f"{root}/zz.txt") == b"zz.txt"
    # The same adapter again changes nothing; another one is not written over it.
    files.pipe_file(f"{root}/zz.txt", b"untouched")
    assert push(adapter, target) == target
    assert files.cat_file(f"{root}/zz.txt") == b"untouched"
    card = json.loads((adapter.folder / "adapter.json").read_text())
    files.pipe_file(f"{root}/adapter.json", json.dumps({**card, "sha256": "def"}).encode())
    with pytest.raises(InputError, match="another adapter is here"):
        push(adapter, target)
    files.pipe_file(f"{root}/adapter.json", b"[]")
    with pytest.raises(InputError, match="another adapter is here"):
        push(adapter, target)


def test_a_push_that_breaks_off_is_no_adapter(
    adapter: Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = fsspec.filesystem("memory")
    pipe = files.pipe_file

    def full(path: str, value: bytes, **options: Any) -> None:
        if path.endswith("zz.txt"):
            raise OSError(28, "No space left on device")
        pipe(path, value, **options)

    with monkeypatch.context() as patch:
        patch.setattr(
            type(files), "pipe_file", lambda _, *given, **options: full(*given, **options)
        )
        with pytest.raises(EnvironmentFault, match="cannot be written: .*No space left"):
            push(adapter, "memory://broken/one")
    assert names("memory://broken/one") == [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    push(adapter, "memory://broken/one")
    assert "adapter.json" in names("memory://broken/one")


def test_an_unknown_scheme(adapter: Adapter) -> None:
    with pytest.raises(EnvironmentFault, match="nosuch"):
        push(adapter, "nosuch://bucket/one")


def test_the_hub_gets_one_commit(adapter: Adapter, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def upload(_: object, **options: Any) -> SimpleNamespace:
        asked.update(options)
        pushed = {name: (options["folder_path"] / name).read_text() for name in FILES}
        assert pushed == {name: name for name in FILES}
        return SimpleNamespace(commit_url="https://hub/me/one/commit/1")

    monkeypatch.setattr(
        huggingface_hub.HfApi, "create_repo", lambda _, repo_id, **options: asked.update(options)
    )
    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", upload)
    assert push(adapter, "hf://me/one", private=True) == "https://hub/me/one/commit/1"
    assert asked == {
        "private": True,
        "exist_ok": True,
        "repo_id": "me/one",
        "folder_path": ANY,
        "allow_patterns": [
            "README.md",
            "adapter_config.json",
            "adapter_model.safetensors",
            "zz.txt",
            "adapter.json",
        ],
        "commit_message": f"Adapter {adapter.sha256[:12]} of llama-3-8b",
    }


def test_a_hub_that_refuses(adapter: Adapter, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ConnectionError("token=secret")

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", refuse)
    with pytest.raises(EnvironmentFault, match=r"\(ConnectionError\); set HF_TOKEN") as fault:
        push(adapter, "hf://me/one")
    assert "secret" not in str(fault.value)


@pytest.mark.parametrize("target", ["memory://leak/one", "hf://me/leak"])
def test_a_link_to_a_private_key_is_not_pushed(
    adapter: Adapter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    def never(*_: object, **__: object) -> None:
        pytest.fail("something was pushed")

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", never)
    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", never)
    key = tmp_path / "id_ed25519"
    key.write_text("a private key")
    (adapter.folder / "zz.txt").unlink()
    (adapter.folder / "zz.txt").symlink_to(key)
    with pytest.raises(StageError, match=r"not regular files: 'zz\.txt'"):
        push(adapter, target)
    (adapter.folder / "zz.txt").unlink()
    (adapter.folder / "zz.txt").write_text("zz.txt")
    (adapter.folder / ".env").write_text("TOKEN=secret")
    with pytest.raises(StageError, match=r"does not list '\.env'"):
        push(adapter, target)
    assert not fsspec.filesystem("memory").exists("/leak")
