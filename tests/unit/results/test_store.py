import errno
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from medsweep.errors import EnvironmentFault
from medsweep.results.column import Column
from medsweep.results.store import (
    exclusive,
    private,
    read_json,
    read_rows,
    write_json,
    write_rows,
    write_text,
)

COLUMNS = (
    Column("model", "text", "", "name"),
    Column("sent", "integer", "1", "requests"),
    Column("ttft_s", "number", "s", "time"),
    Column("limited", "flag", "", "whether"),
    Column("failed_by_kind", "counts", "1", "failures"),
    Column("gaps_s", "numbers", "s", "gaps"),
    Column("tokens", "integers", "1", "tokens"),
)
ROW = {
    "model": "m",
    "sent": 3,
    "ttft_s": 0.5,
    "limited": False,
    "failed_by_kind": {"timeout": 2, "http": 1},
    "gaps_s": [0.1, 0.2],
    "tokens": [1, 4],
}

TAKE = """
import sys
from pathlib import Path
from medsweep.errors import EnvironmentFault
from medsweep.results.store import exclusive
try:
    with exclusive(Path(sys.argv[1])):
        print("taken")
except EnvironmentFault as fault:
    print(fault)
"""


def disk_full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def half_written(table: Any, path: Path, **_: Any) -> None:
    path.write_bytes(b"PAR1 half of a file")
    disk_full()


def test_rows_come_back_as_they_went(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "rows.parquet"
    write_rows(path, COLUMNS, [ROW, {"model": "n", "failed_by_kind": {}, "gaps_s": []}])
    first, second = read_rows(path)
    assert first == ROW
    # Missing is null, never 0; empty is not missing.
    assert second == {
        "model": "n",
        "sent": None,
        "ttft_s": None,
        "limited": None,
        "failed_by_kind": {},
        "gaps_s": [],
        "tokens": None,
    }


def test_no_rows_keep_the_schema(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.parquet", COLUMNS, [])
    assert read_rows(tmp_path / "rows.parquet") == []
    assert pq.read_schema(tmp_path / "rows.parquet").names == [column.name for column in COLUMNS]


def test_an_unknown_column_is_refused_and_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"rows\.parquet: no such column: itl_s, speed"):
        write_rows(tmp_path / "rows.parquet", COLUMNS, [ROW, {"speed": 1, "itl_s": 2}])
    assert list(tmp_path.iterdir()) == []


def test_a_failing_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows.parquet"
    write_rows(path, COLUMNS, [ROW])
    monkeypatch.setattr(pq, "write_table", half_written)
    with pytest.raises(EnvironmentFault):
        write_rows(path, COLUMNS, [])
    assert read_rows(path) == [ROW]
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "write_text", disk_full)
    with pytest.raises(EnvironmentFault, match="No space left on device; free some space") as fault:
        write_json(tmp_path / "cell.json", {"status": "ok"})
    assert "measurements so far are kept" in str(fault.value)
    assert fault.value.exit_code == 4
    assert str(tmp_path / "cell.json") in str(fault.value)


def test_a_parent_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("in the way")
    with pytest.raises(EnvironmentFault, match="cannot be written") as fault:
        write_text(tmp_path / "out" / "cells" / "page.html", "x")
    assert "free some space" not in str(fault.value)


def test_text_and_json(tmp_path: Path) -> None:
    write_text(tmp_path / "page.html", "caf\u00e9")
    write_text(tmp_path / "page.html", "th\u00e9")
    assert (tmp_path / "page.html").read_bytes() == "th\u00e9".encode()
    write_json(tmp_path / "cell.json", {"b": 1, "a": None})
    assert (tmp_path / "cell.json").read_text() == '{\n  "a": null,\n  "b": 1\n}\n'
    assert read_json(tmp_path / "cell.json") == {"a": None, "b": 1}


@pytest.mark.parametrize("content", [None, b"", b'{"status": "o', b"[1]", b"\xff\xfe\x00"])
def test_half_a_json_file_is_none(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "cell.json").write_bytes(content)
    assert read_json(tmp_path / "cell.json") is None


def second_process(folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", TAKE, str(folder)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_one_run_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / "out" / "sweep"
    with exclusive(folder):
        said = second_process(folder)
    assert "another run of this sweep uses it" in said
    assert str(folder) in said
    assert second_process(folder) == "taken"


def test_the_lock_goes_with_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="stopped"), exclusive(tmp_path):
        raise RuntimeError("stopped")
    with exclusive(tmp_path):
        pass


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("in the way")
    with pytest.raises(EnvironmentFault, match="cannot be written"), exclusive(tmp_path / "out"):
        pass


def test_private_files_are_their_owner_s_alone(tmp_path: Path) -> None:
    folder = tmp_path / "results" / "ward"
    folder.mkdir(parents=True, mode=0o755)
    with private(folder, applies=True):
        write_text(folder / "cells" / "a.txt", "x")
        subprocess.run(["touch", folder / "child.txt"], check=True)
    write_text(folder / "later.txt", "x")
    modes = {
        path.name: path.stat().st_mode & 0o777
        for path in [folder.parent, folder, *folder.rglob("*")]
    }
    later = modes.pop("later.txt")
    assert modes.pop("results") == 0o755
    assert modes == {"ward": 0o700, "cells": 0o700, "a.txt": 0o600, "child.txt": 0o600}
    assert later == 0o644


def test_public_files_keep_their_modes(tmp_path: Path) -> None:
    with private(tmp_path / "demo", applies=False):
        write_text(tmp_path / "demo" / "a.txt", "x")
    assert (tmp_path / "demo").stat().st_mode & 0o777 == 0o755


def test_two_writers_of_one_file_do_not_disturb_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads of one process, or pods that share a volume: either version stays, whole."""
    write, both = Path.write_text, threading.Barrier(2, timeout=60)

    def together(path: Path, *arguments: Any, **options: Any) -> int:
        written = write(path, *arguments, **options)
        both.wait()
        return written

    monkeypatch.setattr(Path, "write_text", together)
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(write_text, tmp_path / "page", text) for text in ("a", "b")]:
            done.result()
    assert (tmp_path / "page").read_text() in ("a", "b")
    assert [path.name for path in tmp_path.iterdir()] == ["page"]
