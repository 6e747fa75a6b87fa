"""A process of an engine that does not start, or that ends by itself."""

import socket
import sys
import threading
from pathlib import Path

import psutil
import pytest

from medsweep.errors import StageError
from medsweep.serving.engines.child_process import ChildProcess


def test_a_process_that_cannot_be_started_leaves_nothing_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sockets: list[socket.socket] = []
    make = socket.socketpair

    def noted() -> tuple[socket.socket, socket.socket]:
        sockets.extend(make())
        return sockets[0], sockets[1]

    monkeypatch.setattr(socket, "socketpair", noted)
    with pytest.raises(StageError, match="engine none does not start: /no/such/program: No such"):
        ChildProcess("none", ["/no/such/program"], on_exit=lambda _: None)
    assert [each.fileno() for each in sockets] == [-1, -1]


def test_children_of_a_process_that_has_ended_end_too(tmp_path: Path) -> None:
    noted = tmp_path / "pid"
    code = (
        "import pathlib, subprocess; "
        f"pathlib.Path({str(noted)!r}).write_text(str(subprocess.Popen(['sleep', '600']).pid))"
    )
    ended = threading.Event()
    process = ChildProcess("one", [sys.executable, "-c", code], on_exit=lambda _: ended.set())
    assert ended.wait(60)
    child = int(noted.read_text())
    deadline_s = 60.0
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        ended.clear()
        ended.wait(0.05)
        deadline_s -= 0.05
        assert deadline_s > 0
    process.close()
