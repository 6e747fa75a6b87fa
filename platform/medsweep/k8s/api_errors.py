"""What an API server refuses, as a sentence that says what to do."""

from __future__ import annotations

import json
import re
from typing import Any

from medsweep.errors import EnvironmentFault, InputError, MedSweepError
from medsweep.k8s.resources import Resource

_DOCTOR = "`medsweep k8s doctor` lists what is missing"
_INSTALLED_BY = {
    "ray.io": "install KubeRay's operator 1.7 with its CRDs",
    "kueue.x-k8s.io": "install Kueue, or leave `queue` out of the cluster settings",
}

# An account without the right is refused with `User "..." cannot list resource "pods"`.
_ADMISSION = re.compile(r"is forbidden: (?!User )|denied the request")


def api_fault(status: int, body: bytes, verb: str, resource: Resource, where: str) -> MedSweepError:
    """Return the error for a response that is not a success.

    Args:
        status: HTTP status.
        body: of the response; a `Status` object, or plain text.
        verb: of the request ("create", "list").
        resource: kind of object that the request was for.
        where: namespace and name, as far as the request named them.
    """
    answer = parse_status(body)
    message = str(answer.get("message") or body.decode(errors="replace").strip())[:400]
    details = answer.get("details") or {}
    causes = details.get("causes") or []
    subject = f"{resource.title} {where}".strip()
    if status == 401:
        return EnvironmentFault(
            "the cluster does not accept the login: the token of the kubeconfig's context has "
            "expired or was revoked; log in again and run the same command"
        )
    if any(cause.get("reason") == "NamespaceTerminating" for cause in causes):
        return EnvironmentFault(
            f"{subject}: the namespace is being deleted; wait until it is gone, create it again "
            "(kubectl apply -k k8s/base) and run the same command"
        )
    if status == 403 and "exceeded quota" in message:
        return EnvironmentFault(
            f"{subject}: {message}; request more quota, or give a smaller --max-at-once"
        )
    if status == 403 and _ADMISSION.search(message):
        return EnvironmentFault(
            f"{subject}: the account may {verb} it, but a policy of the cluster refuses it: "
            f"{message}; an administrator of the cluster can change that policy"
        )
    if status == 403:
        return EnvironmentFault(
            f"{subject}: not allowed to {verb}: {message}; request the role medsweep-controller "
            f"of k8s/base; {_DOCTOR}"
        )
    if status == 404 and details.get("kind") == "namespaces":
        return EnvironmentFault(
            f"{subject}: there is no such namespace; create it (kubectl apply -k k8s/base) or "
            "name another with --namespace"
        )
    if status == 404 and not details.get("name"):
        advice = _INSTALLED_BY.get(resource.group, "update the cluster")
        return EnvironmentFault(
            f"the cluster does not know {resource.title} {resource.version}: {advice}; {_DOCTOR}"
        )
    if status == 409 and any(cause.get("reason") == "FieldManagerConflict" for cause in causes):
        fields = "; ".join(f"{cause['field']}: {cause['message']}" for cause in causes)
        return EnvironmentFault(
            f"{subject}: another field manager has set fields of it ({fields}); undo that, or "
            "delete the object (medsweep k8s delete) and submit again"
        )
    if status in (400, 422):
        return InputError(f"{subject}: the cluster rejects this object: {message}")
    return EnvironmentFault(f"{subject}: could not {verb}: HTTP {status}: {message}")


def parse_status(body: bytes) -> dict[str, Any]:
    """Return the `Status` object of a response; empty if the response is not one."""
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
