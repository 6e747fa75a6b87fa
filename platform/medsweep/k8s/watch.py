"""Follow the objects that a label selector matches: list them, then watch them from that version.

Watches end often: the server closes them after minutes, a proxy cuts them, the server no longer
holds the version (410) or is restarted. Callers do not notice any of this.
"""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

from medsweep.errors import MedSweepError
from medsweep.k8s.client import Api, Gone, Object, Request
from medsweep.k8s.resources import PODS, RAY_CLUSTERS, RAY_JOBS, WORKLOADS, Resource

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

# The server ends the watch before the client would take a silent connection for dead.
_SERVER_ENDS_AFTER_S = 240
_SILENCE_S = 300.0
# Do not hammer a server that ends every watch immediately.
_PAUSE_S = 1.0
_JOIN_S = 2.0


@dataclass(frozen=True)
class Change:
    """The new state of one object.

    Attributes:
        resource: its kind.
        name: of the object.
        value: the object; None if it was deleted.
    """

    resource: Resource
    name: str
    value: Object | None


class Watch:
    """Lists the objects, then yields each change until it is closed.

    Args:
        api: the API server.
        resource: kind of object.
        namespace: of the objects.
        selector: label selector.
        pause_s: pause between two connections, in seconds.
    """

    def __init__(
        self,
        api: Api,
        resource: Resource,
        namespace: str,
        selector: str,
        pause_s: float = _PAUSE_S,
    ) -> None:
        self._api, self._resource = api, resource
        self._namespace, self._selector, self._pause_s = namespace, selector, pause_s
        self._known: set[str] = set()
        self._version = ""
        self._closed = threading.Event()
        self._response: BaseHTTPResponse | None = None

    def close(self) -> None:
        """End the watch; safe to call from any thread."""
        self._closed.set()
        if self._response is not None:
            try:
                self._response.shutdown()
            except (OSError, ValueError, RuntimeError):  # the connection has already ended
                return

    def objects(self) -> list[Object]:
        """Return every object; `changes` continues from this version."""
        while True:
            try:
                pages = list(self._api.pages(self._resource, self._namespace, self._selector))
            except Gone:
                continue
            # Changes since the first page may be missing from later ones, so watch from the first.
            self._version = pages[0]["metadata"]["resourceVersion"]
            items = [value for page in pages for value in page["items"]]
            self._known = {value["metadata"]["name"] for value in items}
            return items

    def changes(self) -> Iterator[Change]:
        """Yield each change since the list; list again if the server has dropped the version."""
        while not self._closed.is_set():
            try:
                yield from self._watch_once()
            except Gone:
                before = self._known
                items = self.objects()
                for name in sorted(before - self._known):
                    yield Change(self._resource, name, None)
                for value in items:
                    yield Change(self._resource, value["metadata"]["name"], value)
            self._closed.wait(self._pause_s)

    def _watch_once(self) -> Iterator[Change]:
        """Yield changes until the connection ends for any reason."""
        import urllib3

        request = Request(
            "GET",
            "watch",
            self._resource,
            self._namespace,
            query={
                "watch": "1",
                "labelSelector": self._selector,
                "resourceVersion": self._version,
                "allowWatchBookmarks": "true",
                "timeoutSeconds": str(_SERVER_ENDS_AFTER_S),
            },
        )
        self._response = self._api.stream(request, _SILENCE_S)
        try:
            if self._closed.is_set():  # while connecting
                return
            for event in _events(self._response):
                if self._closed.is_set():
                    return
                change = self._read(event)
                if change is not None:
                    yield change
        except (urllib3.exceptions.HTTPError, OSError):
            return
        except ValueError:
            # A TLS connection that is shut down while it is read hands over encrypted bytes.
            if not self._closed.is_set():
                raise
        finally:
            self._response.close()

    def _read(self, event: dict[str, Any]) -> Change | None:
        """Return the change that an event reports, or None for a bookmark."""
        value = event["object"]
        if event["type"] == "ERROR":
            # A fresh list resolves any error, or raises one that explains it.
            raise Gone
        self._version = value["metadata"]["resourceVersion"]
        if event["type"] == "BOOKMARK":
            return None
        name = value["metadata"]["name"]
        if event["type"] == "DELETED":
            self._known.discard(name)
            return Change(self._resource, name, None)
        self._known.add(name)
        return Change(self._resource, name, value)


def _events(response: BaseHTTPResponse) -> Iterator[dict[str, Any]]:
    """Yield the events of a watch, one JSON object per line; drop an incomplete last line."""
    buffer = b""
    for chunk in response.stream(65536):
        *lines, buffer = (buffer + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                yield json.loads(line)


class Feed:
    """Merges several watches into one stream; as a context manager, it ends their threads.

    Args:
        api: the API server.
        namespace: of the objects.
        selectors: label selector by kind.
    """

    def __init__(self, api: Api, namespace: str, selectors: dict[Resource, str]) -> None:
        self._watches = [
            (resource, Watch(api, resource, namespace, selector))
            for resource, selector in selectors.items()
        ]
        self._queue: queue.SimpleQueue[Change | Exception] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Feed:
        # Jobs come last, when the state of their pods is known.
        for resource, watch in reversed(self._watches):
            for value in watch.objects():
                self._queue.put(Change(resource, value["metadata"]["name"], value))
        for _, watch in self._watches:
            thread = threading.Thread(target=self._follow, args=(watch,), daemon=True)
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for _, watch in self._watches:
            watch.close()
        deadline = time.monotonic() + _JOIN_S
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0))

    def ready(self) -> list[Change]:
        """Return the changes that have arrived, without waiting."""
        changes = []
        while (change := self._get(0)) is not None:
            changes.append(change)
        return changes

    def wait(self, seconds: float | None) -> list[Change]:
        """Wait for a change; return all that have arrived by then, or none after a timeout.

        Args:
            seconds: timeout; None means no timeout.
        """
        first = self._get(seconds)
        return [] if first is None else [first, *self.ready()]

    def _get(self, seconds: float | None) -> Change | None:
        try:
            item = self._queue.get(timeout=seconds) if seconds != 0 else self._queue.get_nowait()
        except queue.Empty:
            return None
        if isinstance(item, Exception):
            raise item
        return item

    def _follow(self, watch: Watch) -> None:
        try:
            for change in watch.changes():
                self._queue.put(change)
        except MedSweepError as error:
            self._queue.put(error)


def sweep_feed(api: Api, namespace: str, selector: str, *, queued: bool) -> Feed:
    """Return the changes of a sweep's jobs and of their Ray clusters and pods.

    Args:
        api: the API server.
        namespace: of the sweep.
        selector: label selector of the sweep.
        queued: also follow Kueue's workloads, which do not carry the sweep's labels.
    """
    resources: Sequence[Resource] = (RAY_JOBS, RAY_CLUSTERS, PODS)
    selectors = dict.fromkeys(resources, selector)
    if queued:
        selectors[WORKLOADS] = ""
    return Feed(api, namespace, selectors)
