"""Show the state and logs of a sweep in a cluster, and delete it; objects are found by label."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from medsweep.errors import EnvironmentFault, InputError
from medsweep.k8s.client import Absent, Api, Object, Request
from medsweep.k8s.conventions import FIND_OPERATOR, QUEUE, ROLE, SWEEP
from medsweep.k8s.diagnose import without_controls
from medsweep.k8s.resources import (
    PODS,
    RAY_CLUSTERS,
    RAY_JOBS,
    WORKLOADS,
)
from medsweep.k8s.state import OWNERS, JobState, Phase, SweepObjects, phase_of

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

_LOG_SILENCE_S = 3600.0

STALLED_S = 15.0
"""A healthy operator removes some finalizer within this time."""

_POLL_S = 0.5


def selector_of(sweep: str) -> str:
    """Return the label selector of a sweep's objects."""
    return f"{SWEEP}={sweep}"


def sweep_states(api: Api, namespace: str, sweep: str) -> list[JobState]:
    """Return the state of every job and served model of a sweep.

    Args:
        api: the API server.
        namespace: of the sweep.
        sweep: name of the sweep.
    """
    objects, is_queued = SweepObjects(), False
    for resource in (*OWNERS, RAY_CLUSTERS, PODS):
        for value in api.objects(resource, namespace, selector_of(sweep)):
            objects.put(resource, value["metadata"]["name"], value)
            is_queued |= resource is RAY_JOBS and QUEUE in value["metadata"]["labels"]
    if is_queued:
        # Without Kueue, or the right to read its Workloads, the jobs' own state is still known.
        with contextlib.suppress(EnvironmentFault):
            for value in api.objects(WORKLOADS, namespace):
                objects.put(WORKLOADS, value["metadata"]["name"], value)
    return objects.states()


def remove(api: Api, namespace: str, sweep: str, *, keep: tuple[Phase, ...] = ()) -> list[str]:
    """Delete a sweep's objects; return their names as `rayjobs/NAME`.

    Args:
        api: the API server.
        namespace: of the sweep.
        sweep: name of the sweep.
        keep: phases of jobs that are not deleted.
    """
    removed = []
    for resource in OWNERS:
        for value in api.objects(resource, namespace, selector_of(sweep)):
            if resource is RAY_JOBS and phase_of(value) in keep:
                continue
            name = value["metadata"]["name"]
            api.delete(resource, namespace, name)
            removed.append(f"{resource.plural}/{name}")
    # No object owns the pod of a fetch; it stays if the fetch was killed.
    for value in api.objects(PODS, namespace, f"{selector_of(sweep)},{ROLE}=fetch"):
        api.delete(PODS, namespace, value["metadata"]["name"])
        removed.append(f"pods/{value['metadata']['name']}")
    return removed


def wait_deleted(
    api: Api, namespace: str, sweep: str, *, pause: Callable[[float], object] = time.sleep
) -> None:
    """Wait until the objects of a sweep that are being deleted no longer exist.

    Args:
        api: the API server.
        namespace: of the sweep.
        sweep: name of the sweep.
        pause: sleeps for a number of seconds.

    Raises:
        EnvironmentFault: no finalizer was removed for some time, so KubeRay's operator seems down.
    """
    waited, before = 0.0, 0
    while remaining := _being_deleted(api, namespace, sweep):
        waited = waited + _POLL_S if len(remaining) == before else 0.0
        before = len(remaining)
        if waited >= STALLED_S:
            names = "\n  ".join(f"{name}: {finalizers}" for name, finalizers in remaining.items())
            raise EnvironmentFault(
                f"{len(remaining)} objects are marked for deletion but still exist, because nobody "
                f"removes their finalizers:\n  {names}\nKubeRay's operator does that and seems not "
                f"to run; start it ({FIND_OPERATOR}), and the objects will be deleted"
            )
        pause(_POLL_S)


def _being_deleted(api: Api, namespace: str, sweep: str) -> dict[str, str]:
    """Return the finalizers of the objects that are being deleted, by `rayjobs/NAME`."""
    return {
        f"{resource.plural}/{value['metadata']['name']}": ", ".join(value["metadata"]["finalizers"])
        for resource in OWNERS
        for value in api.objects(resource, namespace, selector_of(sweep))
        if value["metadata"].get("deletionTimestamp") and value["metadata"].get("finalizers")
    }


def log_lines(api: Api, namespace: str, sweep: str, job: str, *, follow: bool) -> Iterator[str]:
    """Yield the lines of a job's driver log.

    Args:
        api: the API server.
        namespace: of the sweep.
        sweep: name of the sweep.
        job: name of the RayJob or the beginning of its name, or the key of its cell or adapter.
        follow: wait for further lines until the job ends.

    Raises:
        InputError: there is no such job, or it has no pods (any more).
    """
    states = sweep_states(api, namespace, sweep)
    matches = [each for each in states if each.key == job or each.name.startswith(job)]
    if len(matches) != 1:
        names = "\n  ".join(each.name for each in matches or states)
        raise InputError(
            f"{job}: {'more than one job' if matches else 'no job'} of sweep {sweep} "
            f"in {namespace} has this name; jobs:\n  {names or '(none)'}"
        )
    state = matches[0]
    pods = [
        pod
        for pod in api.objects(PODS, namespace, selector_of(sweep))
        if state.key in pod["metadata"]["labels"].values()
    ]
    # The submitter prints the driver's output; without a submitter, read the head's own log.
    pods.sort(key=lambda pod: ("submitter", "head").index(_role(pod)) if _role(pod) else 2)
    for pod in (each for each in pods if _role(each)):
        request = Request(
            "GET",
            "get",
            PODS,
            namespace,
            pod["metadata"]["name"],
            "log",
            {"follow": "true"} if follow else {},
        )
        try:
            response = api.stream(request, _LOG_SILENCE_S)
        except Absent:
            continue
        yield from _lines(response)
        return
    raise InputError(
        f"{state.name}: {state.phase}, and it has no pods"
        + (f": {state.reason}" if state.reason else "; those of a finished job are deleted")
    )


def _lines(response: BaseHTTPResponse) -> Iterator[str]:
    import urllib3

    rest = b""
    try:
        for chunk in response.stream(65536):
            *lines, rest = (rest + chunk).split(b"\n")
            yield from map(_plain, lines)
    except urllib3.exceptions.HTTPError as error:
        raise EnvironmentFault(
            f"the connection to the log ended ({error}); the job continues"
        ) from None
    if rest:
        yield _plain(rest)


def _plain(line: bytes) -> str:
    """Return a line without control characters: a log must not steer the terminal.

    Of what a progress bar wrote over and over, the last state stays.
    """
    text = line.decode(errors="replace").rstrip("\r").rpartition("\r")[2]
    return without_controls(text)


def _role(pod: Object) -> str | None:
    role: str | None = pod["metadata"]["labels"].get(ROLE)
    return role if role in ("submitter", "head") else None
