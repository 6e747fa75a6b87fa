"""Results in a real S3 server, in this process."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from medsweep.errors import EnvironmentFault, InputError
from medsweep.k8s.client import Api
from medsweep.k8s.fetch import fetch_cells
from medsweep.k8s.settings import ClusterSettings
from medsweep.results.cells import CellFolder
from medsweep.results.object_store import MANIFEST, RemoteStore, working_folder
from medsweep.sweep.collect import FILES


@pytest.fixture
def place(bucket: str, request: pytest.FixtureRequest) -> str:
    """A prefix of this test alone."""
    return f"{bucket}/{request.node.name}"


def cell(folder: Path, answer: str = "42") -> Path:
    """A finished cell with a measurement's files joined."""
    folder.mkdir(parents=True)
    (folder / "requests.parquet").write_bytes(answer.encode() * 1000)
    CellFolder(folder).finish("ok", None, [{"cell": answer}])
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_folder_comes_back_as_it_was_and_is_replaced_as_a_whole(
    place: str, tmp_path: Path
) -> None:
    store = RemoteStore(place)
    assert not store.fetch("cells/k", tmp_path / "none")
    first, second = cell(tmp_path / "first", "one"), cell(tmp_path / "second", "two")
    store.push(first, "cells/k")
    assert store.fetch("cells/k", tmp_path / "got")
    assert contents(tmp_path / "got") == contents(first)
    store.push(second, "cells/k")
    assert store.fetch("cells/k", tmp_path / "got")
    assert contents(tmp_path / "got") == contents(second)


def test_an_upload_that_was_cut_off_is_not_read(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = RemoteStore(place, wait=lambda _: None)
    folder = cell(tmp_path / "cell")
    send = store._files.put_file

    def cut(source: str, target: str) -> None:
        if source.endswith("requests.parquet"):
            raise ConnectionResetError("cut")
        send(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(store._files, "put_file", cut)
        with pytest.raises(
            EnvironmentFault, match=r"cells/k/requests.parquet: cut; what was pushed"
        ):
            store.push(folder, "cells/k")
    assert store._files.find(store._path("cells/k")), "a part of it was sent"
    assert not store.fetch("cells/k", tmp_path / "got")
    assert not (tmp_path / "got").exists()
    store.push(folder, "cells/k")
    assert store.fetch("cells/k", tmp_path / "got")


def test_a_store_that_is_busy_is_asked_again(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    store = RemoteStore(place, wait=waits.append)
    send, left = store._files.put_file, [TimeoutError("busy"), OSError("slow down")]

    def busy(source: str, target: str) -> None:
        if left:
            raise left.pop()
        send(source, target)

    monkeypatch.setattr(store._files, "put_file", busy)
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter.json").write_text("{}")
    store.push(tmp_path / "adapter", "adapters/a")
    assert waits == [0.5, 1.0]
    assert store.fetch("adapters/a", tmp_path / "got")


def test_writers_at_the_same_time_do_not_mix(place: str, tmp_path: Path) -> None:
    store = RemoteStore(place)
    folders = [cell(tmp_path / str(number), f"writer {number}") for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda folder: store.push(folder, "cells/k"), folders))
    assert store.fetch("cells/k", tmp_path / "got")
    assert contents(tmp_path / "got") in [contents(folder) for folder in folders]


def test_a_file_that_was_changed_in_the_store_is_refused(place: str, tmp_path: Path) -> None:
    store = RemoteStore(place)
    store.push(cell(tmp_path / "cell"), "cells/k")
    (changed,) = [
        path for path in store._files.find(store._path("cells/k")) if path.endswith("parquet")
    ]
    store._files.pipe_file(changed, b"something else")
    with pytest.raises(EnvironmentFault, match=r"requests.parquet: not what was pushed"):
        store.fetch("cells/k", tmp_path / "got")
    assert not (tmp_path / "got").exists()


def test_a_job_works_in_a_folder_of_its_own_and_sends_what_it_made(
    place: str, tmp_path: Path
) -> None:
    names = ["adapters/a", "cells/k"]
    with (  # noqa: PT012 what the job does before it fails
        pytest.raises(KeyError),
        working_folder(place, "small", names) as folder,
    ):
        cell(folder / "cells" / "k")
        (folder / "adapters" / "a").mkdir(parents=True)
        (folder / "adapters" / "a" / "adapter.json").write_text("{}")
        raise KeyError("a later cell failed")
    store = RemoteStore(f"{place}/small")
    before = store._files.find(store._root)
    assert len([path for path in before if path.endswith(MANIFEST)]) == 2
    with working_folder(place, "small", names) as folder:
        assert CellFolder(folder / "cells" / "k").done
        assert (folder / "adapters" / "a" / "adapter.json").is_file()
    assert store._files.find(store._root) == before, "nothing changed, nothing is sent"
    with working_folder(str(tmp_path), "small") as folder:
        assert folder == tmp_path / "small"


def test_a_run_keeps_its_copy_here_and_people_find_its_files_in_the_store(
    place: str, tmp_path: Path
) -> None:
    names, here = ["cells/k", "cells/l"], tmp_path / "here"
    with working_folder(place, "small", names, keep=here, push_files=FILES) as folder:
        cell(folder / "cells" / "k")
        (folder / "benchmark.parquet").write_bytes(b"first")
        (folder / "cells" / "l").mkdir()
        (folder / "cells" / "l" / "visit.json").write_text("{}")
    assert CellFolder(here / "small" / "cells" / "k").done
    store = RemoteStore(f"{place}/small")
    assert store._files.cat_file(store._path("benchmark.parquet")) == b"first"
    assert store.digests("cells/l") == {}, "half of a cell is none"
    with working_folder(place, "small", names, keep=here, push_files=FILES) as folder:
        assert (folder / "cells" / "l" / "visit.json").is_file(), "what was measured stays"
        (folder / "benchmark.parquet").write_bytes(b"second")
    assert store._files.cat_file(store._path("benchmark.parquet")) == b"second"
    elsewhere = tmp_path / "elsewhere"
    with working_folder(place, "small", names, keep=elsewhere, push_files=FILES) as folder:
        assert CellFolder(folder / "cells" / "k").done


def test_fetch_brings_the_cells_that_are_whole(place: str, tmp_path: Path) -> None:
    def nobody() -> Api:
        raise AssertionError("an object store is read without the cluster")

    settings = ClusterSettings(results=place)
    store = RemoteStore(f"{settings.results}/small")
    for key in ("a", "b"):
        store.push(cell(tmp_path / key), f"cells/{key}")
    keys, folder = ["a", "b", "c"], tmp_path / "here"
    assert fetch_cells(nobody, settings, "small", keys, folder) == 2
    assert CellFolder(folder / "cells" / "a").faults() == []
    assert fetch_cells(nobody, settings, "small", keys, folder) == 0


def test_a_store_that_nobody_knows_is_wrong_input() -> None:
    with pytest.raises(InputError, match="^nowhere://x: .*known"):
        RemoteStore("nowhere://x")


def test_an_absent_bucket_is_said(bucket: str, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="s3://absent"):
        RemoteStore("s3://absent", wait=lambda _: None).push(cell(tmp_path / "cell"), "cells/k")


@pytest.mark.slow
def test_a_file_of_many_parts(place: str, tmp_path: Path) -> None:
    folder = tmp_path / "big"
    folder.mkdir()
    with (folder / "responses.parquet").open("wb") as file:
        for number in range(110):
            file.write(bytes([number]) * 2**20)
    store = RemoteStore(place)
    store.push(folder, "cells/k")
    (sent,) = [
        path for path in store._files.find(store._path("cells/k")) if path.endswith("parquet")
    ]
    assert "-" in store._files.info(sent)["ETag"], "it went in parts"
    assert store.fetch("cells/k", tmp_path / "got")
    assert os.path.getsize(tmp_path / "got" / "responses.parquet") == 110 * 2**20
