"""A folder in a store that someone else can write to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from medsweep.errors import EnvironmentFault
from medsweep.results.object_store import MANIFEST, RemoteStore

DIGEST = {"bytes": 4, "sha256": "0" * 64}


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    folder = tmp_path / "bucket"
    (folder / "cells/key/0a1b2c3d").mkdir(parents=True)
    (folder / "cells/key/0a1b2c3d/payload").write_text("evil")
    return folder


def plant(bucket: Path, manifest: Any) -> None:
    (bucket / "cells/key" / MANIFEST).write_text(json.dumps(manifest))


def fetch(bucket: Path, tmp_path: Path) -> None:
    RemoteStore(f"file://{bucket}").fetch("cells/key", tmp_path / "here" / "cells" / "key")


@pytest.mark.parametrize(
    "name",
    [
        "../../../../stolen",
        "/tmp/stolen",
        "a/../../stolen",
        "..",
        ".bashrc",
        "",
        "a//b",
        "C:\\stolen",
        "a\nb",
        "a\x1b[2Jb",
    ],
)
def test_a_manifest_cannot_choose_where_a_file_lands(
    name: str, bucket: Path, tmp_path: Path
) -> None:
    plant(bucket, {"batch": "0a1b2c3d", "files": {name: DIGEST}})
    with pytest.raises(EnvironmentFault, match="nothing was fetched") as fault:
        fetch(bucket, tmp_path)
    assert "\x1b" not in str(fault.value)
    assert not (tmp_path / "here").exists()
    assert not (tmp_path / "stolen").exists()


@pytest.mark.parametrize(
    "manifest",
    [
        [],
        {"files": {}},
        {"batch": "../..", "files": {"payload": DIGEST}},
        {"batch": "0a1b2c3d", "files": ["payload"]},
        {"batch": "0a1b2c3d", "files": {"payload": "0" * 64}},
    ],
)
def test_what_is_no_manifest_is_refused(manifest: Any, bucket: Path, tmp_path: Path) -> None:
    plant(bucket, manifest)
    with pytest.raises(EnvironmentFault, match=MANIFEST):
        fetch(bucket, tmp_path)


def test_a_folder_comes_back_as_it_was_pushed(tmp_path: Path) -> None:
    folder = tmp_path / "cell"
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "b-1.parquet").write_text("text")
    (folder / "cell.json").write_text("{}")
    (tmp_path / "secret").write_text("key")
    (folder / "link").symlink_to(tmp_path / "secret")
    store = RemoteStore("memory://bucket")
    store.push(folder, "cells/key")
    assert store.fetch("cells/key", tmp_path / "copy")
    assert sorted(path.name for path in (tmp_path / "copy").rglob("*")) == [
        "a",
        "b-1.parquet",
        "cell.json",
    ], "the link's target stays here"
