from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from apiserver.server import ApiServer, Failure
from medsweep.k8s.client import Api, connect
from medsweep.k8s.resources import NAMESPACES, PODS
from medsweep.k8s.watch import Change, Watch


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    with ApiServer() as running:
        monkeypatch.setenv("KUBECONFIG", str(running.kubeconfig(tmp_path / "kubeconfig")))
        yield running


@pytest.fixture
def api(server: ApiServer) -> Api:
    api = Api(connect().client, wait=lambda _: None)
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}}
    api.create(NAMESPACES, "", namespace)
    put(api, "one")
    return api


def put(api: Api, name: str, **spec: Any) -> None:
    metadata = {"name": name, "namespace": "n", "labels": {"a": "b"}}
    api.apply(PODS, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})


def names(watch: Watch) -> list[str]:
    return [each["metadata"]["name"] for each in watch.objects()]


def told(change: Change) -> tuple[str, bool]:
    return change.name, change.value is not None


def test_changes_come_after_the_list_and_cost_no_further_requests(
    api: Api, server: ApiServer
) -> None:
    watch = Watch(api, PODS, "n", "a=b", pause_s=0)
    assert names(watch) == ["one"]
    changes = watch.changes()
    put(api, "two")
    server.requests.clear()
    assert told(next(changes)) == ("two", True)
    for number in range(20):
        server.store.patch(("", "pods"), "n", "two", {"spec": {"number": number}}, "", "me")
    put(api, "three")
    result = [next(changes) for _ in range(21)]
    assert told(result[-1]) == ("three", True)
    assert (server.count("watch"), server.count("list")) == (1, 0)
    api.delete(PODS, "n", "two")
    assert told(next(changes)) == ("two", False)
    changes.close()


@pytest.mark.parametrize("status", [429, 500, 0])
def test_a_watch_that_is_cut_goes_on_from_where_it_was(
    api: Api, server: ApiServer, status: int
) -> None:
    watch = Watch(api, PODS, "n", "a=b", pause_s=0)
    watch.objects()
    changes = watch.changes()
    put(api, "two")
    assert told(next(changes)) == ("two", True)
    server.failures = [Failure(status, 2, "watch")]
    server.drop_watches()
    put(api, "three")
    assert told(next(changes)) == ("three", True)
    assert server.count("list") == 1
    changes.close()


def test_what_was_forgotten_is_listed_again_with_what_is_gone(api: Api, server: ApiServer) -> None:
    watch = Watch(api, PODS, "n", "a=b", pause_s=0)
    watch.objects()
    changes = watch.changes()
    put(api, "two")
    assert told(next(changes)) == ("two", True)
    server.drop_watches()
    api.delete(PODS, "n", "one")
    put(api, "three")
    server.forget()
    assert [told(next(changes)) for _ in range(3)] == [
        ("one", False),
        ("three", True),
        ("two", True),
    ]
    changes.close()


class Encrypted:
    """The response of a TLS connection that is shut down while a thread reads it."""

    def __init__(self, watch: Watch | None) -> None:
        self.watch = watch

    def stream(self, size: int) -> Iterator[bytes]:
        if self.watch is not None:
            self.watch.close()
        yield b"\x17\x03\x03\xc0\n"

    def shutdown(self) -> None:
        """What makes the rest unreadable."""

    def close(self) -> None:
        """Nothing is open."""


def test_what_is_read_of_a_connection_that_is_being_closed_is_not_looked_at(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch(api, PODS, "n", "a=b", pause_s=0)
    watch.objects()
    monkeypatch.setattr(api, "stream", lambda *_: Encrypted(None))
    with pytest.raises(UnicodeDecodeError):
        next(watch.changes())
    monkeypatch.setattr(api, "stream", lambda *_: Encrypted(watch))
    assert list(watch.changes()) == []
