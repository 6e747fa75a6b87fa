import socket

import pytest

from medsweep.cluster import protocol
from medsweep.cluster.protocol import free_port


def test_a_free_port_is_none_that_the_system_gives_away() -> None:
    """Ray opens dozens of ports of the system's choice before the one that is served is bound."""
    with socket.create_server(("127.0.0.1", free_port())) as server:
        assert 20_000 <= server.getsockname()[1] < 30_000


def test_a_port_in_use_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(protocol, "_PORTS", range(port, port + 1))
        assert free_port() != port
