"""Follow the objects of a label selector: a list, then a watch from there, for as long as it takes.

A watch ends all the time: the server closes it after minutes, a proxy cuts it, the version it began
at is forgotten (410), the server is restarted. None of this is the caller's business.
"""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

from medsweep.errors import MedSweepError
from medsweep.k8s.client import Api, Gone, Object, Request
from medsweep.k8s.resources import PODS, RAY_CLUSTERS, RAY_JOBS, WORKLOADS, Resource

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

# The server ends the watch before a silent line would be taken for dead.
_SERVER_ENDS_AFTER_S = 240
_SILENCE_S = 300.0
# A server that ends every watch at once is not asked again at once.
_PAUSE_S = 1.0
_JOIN_S = 2.0


@dataclass(frozen=True)
class Change:
    """One object as it is now.

    Attributes:
        resource: its kind.
        name: of the object.
        value: the object; None when it is gone.
    """

    resource: Resource
    name: str
    value: Object | None


class Watch:
    """Yields every object that there is, then each change, until it is closed.

    Args:
        api: the API server.
        resource: what to follow.
        namespace: where.
        selector: of labels.
        pause_s: between the end of one connection and the next.
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
        self._answer: BaseHTTPResponse | None = None

    def close(self) -> None:
        """End it, from whichever thread."""
        self._closed.set()
        if self._answer is not None:
            try:
                self._answer.shutdown()
            except (OSError, ValueError, RuntimeError):  # it has ended by itself
                return

    def objects(self) -> list[Object]:
        """List: return every object, and go on from there."""
        while True:
            try:
                pages = list(self._api.pages(self._resource, self._namespace, self._selector))
            except Gone:
                continue
            # The version of the first page: what changed since is watched, so nothing is missed.
            self._version = pages[0]["metadata"]["resourceVersion"]
            items = [each for page in pages for each in page["items"]]
            self._known = {each["metadata"]["name"] for each in items}
            return items

    def changes(self) -> Iterator[Change]:
        """Yield each change since the list; list again where the server has forgotten."""
        while not self._closed.is_set():
            try:
                yield from self._watch_once()
            except Gone:
                before = self._known
                items = self.objects()
                for name in sorted(before - self._known):
                    yield Change(self._resource, name, None)
                for each in items:
                    yield Change(self._resource, each["metadata"]["name"], each)
            self._closed.wait(self._pause_s)

    def _watch_once(self) -> Iterator[Change]:
        """Yield changes until the connection ends, for whatever reason."""
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
        self._answer = self._api.stream(request, _SILENCE_S)
        try:
            if self._closed.is_set():  # while the connection was being made
                return
            for event in _events(self._answer):
                if self._closed.is_set():
                    return
                change = self._read(event)
                if change is not None:
                    yield change
        except (urllib3.exceptions.HTTPError, OSError):
            return
        finally:
            self._answer.close()

    def _read(self, event: dict[str, Any]) -> Change | None:
        """Return what an event says, or None for a mere bookmark."""
        value = event["object"]
        if event["type"] == "ERROR":
            # Whatever it is: a fresh list answers it, or says in a sentence why not.
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


def _events(answer: BaseHTTPResponse) -> Iterator[dict[str, Any]]:
    """Yield the events of a watch: one JSON object a line; a cut line is dropped."""
    buffer = b""
    for chunk in answer.stream(65536):
        *lines, buffer = (buffer + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                yield json.loads(line)


class Feed:
    """What happens to a sweep's objects; as a context, it ends its threads.

    Args:
        api: the API server.
        namespace: where.
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
        # The jobs come last: by then it is known how their pods are.
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
        for thread in self._threads:
            thread.join(_JOIN_S)

    def ready(self) -> list[Change]:
        """Return the changes that have come, without waiting."""
        changes = []
        while (change := self._get(0)) is not None:
            changes.append(change)
        return changes

    def wait(self, seconds: float | None) -> list[Change]:
        """Wait for a change; return it and what came with it, or nothing after a while.

        Args:
            seconds: longest wait; None waits as long as it takes.
        """
        first = self._get(seconds)
        return [] if first is None else [first, *self.ready()]

    def _get(self, seconds: float | None) -> Change | None:
        try:
            found = self._queue.get(timeout=seconds) if seconds != 0 else self._queue.get_nowait()
        except queue.Empty:
            return None
        if isinstance(found, Exception):
            raise found
        return found

    def _follow(self, watch: Watch) -> None:
        try:
            for change in watch.changes():
                self._queue.put(change)
        except MedSweepError as error:
            self._queue.put(error)


def sweep_feed(api: Api, namespace: str, selector: str, *, queued: bool) -> Feed:
    """Return what happens to a sweep's jobs, their Ray clusters and pods.

    Args:
        api: the API server.
        namespace: where.
        selector: labels of the sweep.
        queued: also what Kueue says; its workloads do not carry the sweep's labels.
    """
    resources: Sequence[Resource] = (RAY_JOBS, RAY_CLUSTERS, PODS)
    selectors = dict.fromkeys(resources, selector)
    if queued:
        selectors[WORKLOADS] = ""
    return Feed(api, namespace, selectors)
