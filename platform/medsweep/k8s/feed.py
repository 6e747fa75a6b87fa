"""Several watches as one stream of changes."""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from types import TracebackType

from medsweep.errors import MedSweepError
from medsweep.k8s.client import Api
from medsweep.k8s.resources import PODS, RAY_CLUSTERS, RAY_JOBS, WORKLOADS, Resource
from medsweep.k8s.watch import Change, Watch

_JOIN_S = 2.0


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
