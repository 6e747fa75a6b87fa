"""One check of a cluster, and the look-up of an object that must exist."""

from __future__ import annotations

from dataclasses import dataclass

from medsweep.errors import EnvironmentFault
from medsweep.k8s.client import Api, Object
from medsweep.k8s.resources import Resource


@dataclass(frozen=True)
class ClusterCheck:
    """Result of one check.

    Attributes:
        what: subject of the check.
        state: `ok`, `failed`, or `unknown` if the cluster does not let us look.
        finding: what the cluster has.
        advice: what to do; empty if the state is `ok`.
    """

    what: str
    state: str
    finding: str
    advice: str = ""


def look_up(
    api: Api, resource: Resource, namespace: str, name: str, missing: ClusterCheck
) -> Object | ClusterCheck:
    """Return an object, or the check that it fails.

    Args:
        api: the API server.
        resource: kind of object.
        namespace: of the object; empty if its kind has none.
        name: of the object.
        missing: returned if there is no such object.
    """
    try:
        value = api.get(resource, namespace, name)
    except EnvironmentFault:
        what = f"{resource.kind} {name}"
        option = f"-n {namespace} " if resource.namespaced else ""
        advice = f"ask someone who may read it: kubectl {option}get {resource.plural} {name}"
        return ClusterCheck(what, "unknown", "may not be read", advice)
    return missing if value is None else value
