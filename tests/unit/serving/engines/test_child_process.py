"""A process of an engine that does not start, or that ends by itself."""

import socket
import sys
import threading
from pathlib import Path

import pytest

from medsweep.errors import StageError
from medsweep.serving.engines.child_process import ChildProcess
from medsweep.serving.protocol import EngineDied
from support import wait_until_over


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


@pytest.mark.parametrize("reaped_elsewhere", [False, True])
def test_children_of_a_process_that_has_ended_end_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reaped_elsewhere: bool
) -> None:
    noted = tmp_path / "pid"
    code = (
        "import pathlib, subprocess as s; "
        "child = s.Popen(['sleep', '1000'], stdin=s.DEVNULL); "
        f"pathlib.Path({str(noted)!r}).write_text(str(child.pid))"
    )
    may_watch, ended = threading.Event(), threading.Event()

    class LateThread(threading.Thread):
        def run(self) -> None:
            assert may_watch.wait(60)
            super().run()

    with monkeypatch.context() as patch:
        patch.setattr(threading, "Thread", LateThread)
        process = ChildProcess("one", [sys.executable, "-c", code], on_exit=lambda _: ended.set())
    if reaped_elsewhere:
        with pytest.raises(EngineDied, match="exit code 0"):
            process.receive()
    may_watch.set()
    assert ended.wait(60)
    wait_until_over([int(noted.read_text())])
    process.close()


@pytest.mark.slow
def test_a_process_that_takes_long_to_end_keeps_its_exit_code() -> None:
    # Its end of the connection is its standard input.
    code = "import os, sys, time; os.close(0); time.sleep(6); sys.exit(3)"
    process = ChildProcess("late", [sys.executable, "-c", code], on_exit=lambda _: None)
    with pytest.raises(EngineDied, match="engine late ended with exit code 3"):
        process.receive()
    process.close()
