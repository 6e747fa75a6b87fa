import socket
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from medsweep.errors import EnvironmentFault
from medsweep.serving.http import MAX_HEAD_BYTES, bound, bounded_protocol


@pytest.fixture
def address(
    serve_app: Callable[..., Any], behind_http: Callable[..., Any]
) -> Iterator[tuple[str, int]]:
    """Where a server listens that waits 0.3 s for a request's head."""
    with behind_http(serve_app(), http=bounded_protocol(0.3)) as url:
        host, port = url.removeprefix("http://").split(":")
        yield host, int(port)


@pytest.fixture
def patient(
    serve_app: Callable[..., Any], behind_http: Callable[..., Any]
) -> Iterator[tuple[str, int]]:
    """Where a server listens that waits 100 s, so that no busy machine is too slow for it."""
    with behind_http(serve_app(), http=bounded_protocol(100.0)) as url:
        host, port = url.removeprefix("http://").split(":")
        yield host, int(port)


def sent(address: tuple[str, int], data: bytes) -> bytes:
    """What comes back until the server closes the connection."""
    with socket.create_connection(address, timeout=30) as connection:
        connection.sendall(data)
        return connection.makefile("rb").read()


@pytest.mark.parametrize("begun", [b"", b"GET /v1/mod", b"GET /v1/models HTTP/1.1\r\nx: 1\r\n"])
def test_a_head_that_never_ends_is_408(address: tuple[str, int], begun: bytes) -> None:
    assert sent(address, begun).startswith(b"HTTP/1.1 408 Request Timeout\r\n")


def test_a_second_head_is_timed_too(address: tuple[str, int]) -> None:
    complete = b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n"
    answers = sent(address, complete + complete + b"GET /v1/mod")
    assert answers.count(b"HTTP/1.1 200 OK") == 2
    assert answers.count(b"HTTP/1.1 408 ") == 1


def test_a_head_without_bound_is_refused(patient: tuple[str, int]) -> None:
    with socket.create_connection(patient, timeout=30) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nhost: " + b"x" * (MAX_HEAD_BYTES - 100))
        connection.sendall(b"x" * 200)
        assert connection.recv(1000).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("data", [b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", b"GET / HTTP/9\r\n\r\n"])
def test_what_is_no_http_is_400_and_the_server_goes_on(
    patient: tuple[str, int], data: bytes
) -> None:
    assert sent(patient, data).startswith(b"HTTP/1.1 400 ")
    assert httpx.get(f"http://{patient[0]}:{patient[1]}/health", timeout=60).status_code == 200


def test_an_address_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(EnvironmentFault, match=f"cannot listen on 127.0.0.1:{port}"),
            bound("127.0.0.1", port),
        ):
            pass


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 70000), ("198.51.100.1", 0)])
def test_an_address_that_is_none_of_ours(host: str, port: int) -> None:
    with (
        pytest.raises(EnvironmentFault, match="give another --host or --port"),
        bound(host, port),
    ):
        pass
