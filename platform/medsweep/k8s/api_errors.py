"""What an API server refuses, in a sentence that says what to do."""

from __future__ import annotations

import json
from typing import Any

from medsweep.errors import EnvironmentFault, InputError, MedSweepError
from medsweep.k8s.resources import Resource

_DOCTOR = "`medsweep k8s doctor` lists what is missing"
_INSTALLED_BY = {
    "ray.io": "install KubeRay's operator 1.7 with its CRDs",
    "kueue.x-k8s.io": "install Kueue, or leave `queue` out of the cluster settings",
}


def fault(status: int, body: bytes, verb: str, resource: Resource, where: str) -> MedSweepError:
    """Return the error for an answer that is no success.

    Args:
        status: HTTP status.
        body: of the answer; a `Status` object, or plain text.
        verb: what was asked for ("create", "list").
        resource: of what.
        where: namespace and name, as far as the request named them.
    """
    answer = parse_status(body)
    said = str(answer.get("message") or body.decode(errors="replace").strip())[:400]
    causes = answer.get("details", {}).get("causes") or []
    of = f"{resource.title} {where}".strip()
    if status == 401:
        return EnvironmentFault(
            "the cluster does not accept the login: the token of the kubeconfig's context has "
            "expired or was revoked; log in again and run the same command"
        )
    if any(cause.get("reason") == "NamespaceTerminating" for cause in causes):
        return EnvironmentFault(
            f"{of}: the namespace is being deleted; wait until it is gone, create it again "
            "(kubectl apply -k k8s/base) and run the same command"
        )
    if status == 403 and "exceeded quota" in said:
        return EnvironmentFault(
            f"{of}: {said}; ask for more quota, or give a smaller --max-at-once"
        )
    if status == 403:
        return EnvironmentFault(
            f"{of}: not allowed to {verb}: {said}; ask for the role medsweep-controller of "
            f"k8s/base; {_DOCTOR}"
        )
    if status == 404 and answer.get("details", {}).get("kind") == "namespaces":
        return EnvironmentFault(
            f"{of}: there is no such namespace; create it (kubectl apply -k k8s/base) or name "
            "another with --namespace"
        )
    if status == 404 and not answer.get("details", {}).get("name"):
        advice = _INSTALLED_BY.get(resource.group, "update the cluster")
        return EnvironmentFault(
            f"the cluster does not know {resource.title} {resource.version}: {advice}; {_DOCTOR}"
        )
    if status == 409 and any(cause.get("reason") == "FieldManagerConflict" for cause in causes):
        theirs = "; ".join(f"{cause['field']}: {cause['message']}" for cause in causes)
        return EnvironmentFault(
            f"{of}: someone else set fields of it ({theirs}); undo that, or delete the object "
            "(medsweep k8s delete) and submit again"
        )
    if status in (400, 422):
        return InputError(f"{of}: the cluster takes no such object: {said}")
    return EnvironmentFault(f"{of}: could not {verb}: HTTP {status}: {said}")


def parse_status(body: bytes) -> dict[str, Any]:
    """Return the `Status` object of an answer; empty if it is none."""
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
