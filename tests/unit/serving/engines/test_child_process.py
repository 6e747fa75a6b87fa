"""A process of an engine that does not start."""

import socket

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
