"""What a cluster holds of a sweep, found by labels alone: its state, its logs, its end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from medsweep.errors import EnvironmentFault, InputError
from medsweep.k8s.client import Absent, Api, Object, Request
from medsweep.k8s.conventions import ROLE, SWEEP
from medsweep.k8s.resources import (
    PODS,
    RAY_CLUSTERS,
    RAY_JOBS,
    RAY_SERVICES,
    WORKLOADS,
    Resource,
)
from medsweep.k8s.state import JobState, Phase, Seen, phase_of

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

# What a sweep is made of; Ray clusters, submitters and pods belong to these and go with them.
_MADE: tuple[Resource, ...] = (RAY_JOBS, RAY_SERVICES)
_LOG_SILENCE_S = 3600.0


def selector_of(sweep: str) -> str:
    """Return the label selector of a sweep's objects."""
    return f"{SWEEP}={sweep}"


def sweep_states(api: Api, namespace: str, sweep: str, *, queued: bool) -> list[JobState]:
    """Return where every job of a sweep is.

    Args:
        api: the API server.
        namespace: where.
        sweep: name of the sweep.
        queued: also ask Kueue why a job waits.
    """
    seen = Seen()
    for resource in (RAY_JOBS, RAY_CLUSTERS, PODS):
        for value in api.objects(resource, namespace, selector_of(sweep)):
            seen.put(resource, value["metadata"]["name"], value)
    if queued:
        for value in api.objects(WORKLOADS, namespace):
            seen.put(WORKLOADS, value["metadata"]["name"], value)
    return seen.states()


def remove(api: Api, namespace: str, sweep: str, *, keep: tuple[Phase, ...] = ()) -> list[str]:
    """Delete what was made for a sweep; return what, as `rayjobs/NAME`.

    Args:
        api: the API server.
        namespace: where.
        sweep: name of the sweep.
        keep: phases of jobs that stay.
    """
    removed = []
    for resource in _MADE:
        for value in api.objects(resource, namespace, selector_of(sweep)):
            if resource is RAY_JOBS and phase_of(value) in keep:
                continue
            name = value["metadata"]["name"]
            api.delete(resource, namespace, name)
            removed.append(f"{resource.plural}/{name}")
    # Of a fetch that was killed: nothing owns its pod.
    for value in api.objects(PODS, namespace, f"{selector_of(sweep)},{ROLE}=fetch"):
        api.delete(PODS, namespace, value["metadata"]["name"])
        removed.append(f"pods/{value['metadata']['name']}")
    return removed


def log_lines(api: Api, namespace: str, sweep: str, job: str, *, follow: bool) -> Iterator[str]:
    """Yield the lines that a job's driver wrote.

    Args:
        api: the API server.
        namespace: where.
        sweep: name of the sweep.
        job: name of the RayJob, or the beginning of one, or the key that it carries.
        follow: wait for more until the job ends.

    Raises:
        InputError: there is no such job, or it has no pods (any more).
    """
    states = sweep_states(api, namespace, sweep, queued=False)
    found = [each for each in states if each.key == job or each.name.startswith(job)]
    if len(found) != 1:
        names = "\n  ".join(each.name for each in found or states)
        raise InputError(
            f"{job}: {'more than one job' if found else 'no job'} of sweep {sweep} in {namespace} "
            f"is called so; there are:\n  {names or '(none)'}"
        )
    pods = [
        pod
        for pod in api.objects(PODS, namespace, selector_of(sweep))
        if found[0].key in pod["metadata"]["labels"].values()
    ]
    # The submitter prints what the driver writes; without it the head still has its own log.
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
            answer = api.stream(request, _LOG_SILENCE_S)
        except Absent:
            continue
        yield from _lines(answer)
        return
    raise InputError(
        f"{found[0].name}: {found[0].phase}, and its pods are not there"
        + (f": {found[0].reason}" if found[0].reason else "; a finished job's go after a while")
    )


def _lines(answer: BaseHTTPResponse) -> Iterator[str]:
    import urllib3

    rest = b""
    try:
        for chunk in answer.stream(65536):
            *lines, rest = (rest + chunk).split(b"\n")
            yield from (line.decode(errors="replace") for line in lines)
    except urllib3.exceptions.HTTPError as error:
        raise EnvironmentFault(
            f"the log ends here, because the connection does ({error}); the job goes on"
        ) from None
    if rest:
        yield rest.decode(errors="replace")


def _role(pod: Object) -> str | None:
    role: str | None = pod["metadata"]["labels"].get(ROLE)
    return role if role in ("submitter", "head") else None
