"""Check the software that a sweep needs of a cluster: permissions, CRDs, operator and network."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from medsweep.errors import EnvironmentFault
from medsweep.k8s.check import ClusterCheck, look_up
from medsweep.k8s.client import Api, Object
from medsweep.k8s.conventions import FIND_OPERATOR, NAMESPACE_NAME, OPERATOR, POLICY_LABEL
from medsweep.k8s.diagnose import conditions_of
from medsweep.k8s.resources import (
    ACCESS_REVIEWS,
    CRDS,
    LOCAL_QUEUES,
    NAMESPACES,
    NETWORK_POLICIES,
    PODS,
    RAY_CLUSTERS,
    RAY_JOBS,
    RAY_SERVICES,
    SERVICE_ACCOUNTS,
    WORKLOADS,
    Resource,
)
from medsweep.k8s.settings import ClusterSettings
from medsweep.k8s.state import is_answered

KUBERAY = "1.7"
_STUCK = timedelta(minutes=1)
_RBAC = "ask for the role medsweep-controller (kubectl apply -k k8s/base)"
_FETCH = "bind the role medsweep-fetch of k8s/base, or keep results in an object store"


def check_software(api: Api, settings: ClusterSettings) -> Iterator[ClusterCheck]:
    """Check the namespace and what runs or is allowed in it.

    Args:
        api: the API server.
        settings: of the cluster.
    """
    yield from _namespace(api, settings)
    yield from _permissions(api, settings)
    yield from _definitions(api, settings)
    yield from _operator(api, settings)
    yield _network(api, settings)


def _namespace(api: Api, settings: ClusterSettings) -> Iterator[ClusterCheck]:
    what, name, apply = "namespace", settings.namespace, "kubectl apply -k k8s/base"
    advice = f"{apply}, or another --namespace"
    missing = ClusterCheck(what, "failed", f"{name} does not exist", advice)
    namespace = look_up(api, NAMESPACES, "", name, missing)
    if isinstance(namespace, ClusterCheck):
        yield namespace
    elif namespace["metadata"].get("deletionTimestamp"):
        yield ClusterCheck(what, "failed", f"{name} is being deleted", f"wait, then {advice}")
    else:
        yield ClusterCheck(what, "ok", name)
    what, name = "service account", settings.service_account
    missing = ClusterCheck(what, "failed", f"{name} does not exist", apply)
    account = look_up(api, SERVICE_ACCOUNTS, settings.namespace, name, missing)
    yield account if isinstance(account, ClusterCheck) else ClusterCheck(what, "ok", name)


def _permissions(api: Api, settings: ClusterSettings) -> Iterator[ClusterCheck]:
    needed: list[tuple[Resource, str, tuple[str, ...], str]] = [
        (RAY_JOBS, "", ("get", "list", "watch", "create", "patch", "delete"), _RBAC),
        (RAY_SERVICES, "", ("list", "delete"), _RBAC),
        (RAY_CLUSTERS, "", ("list", "watch"), _RBAC),
        (PODS, "", ("list", "watch"), _RBAC),
        (PODS, "log", ("get",), _RBAC),
    ]
    if settings.queue is not None:
        needed.append((WORKLOADS, "", ("list", "watch"), _RBAC))
    if settings.results_claim is not None:
        needed.append((PODS, "", ("create", "delete"), _FETCH))
        needed.append((PODS, "exec", ("get", "create"), _FETCH))
    for resource, part, verbs, advice in needed:
        denied = [verb for verb in verbs if not _may(api, settings, resource, part, verb)]
        what = f"{', '.join(verbs)} {resource.title}" + (f"/{part}" if part else "")
        if denied:
            yield ClusterCheck(what, "failed", f"not allowed: {', '.join(denied)}", advice)
        else:
            yield ClusterCheck(what, "ok", "allowed")


def _may(api: Api, settings: ClusterSettings, resource: Resource, part: str, verb: str) -> bool:
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {
            "resourceAttributes": {
                "namespace": settings.namespace,
                "group": resource.group,
                "resource": resource.plural,
                "subresource": part,
                "verb": verb,
            }
        },
    }
    answer = api.create(ACCESS_REVIEWS, "", review)
    return bool(answer["status"]["allowed"])


def _definitions(api: Api, settings: ClusterSettings) -> Iterator[ClusterCheck]:
    """Check that the kinds are served; if CRDs may be read, also in which versions."""
    kuberay = f"install KubeRay's operator {KUBERAY} with its CRDs"
    needed = [(resource, kuberay) for resource in (RAY_JOBS, RAY_CLUSTERS, RAY_SERVICES)]
    if settings.queue is not None:
        kueue = "install Kueue, or leave `queue` out of the cluster settings"
        needed.append((LOCAL_QUEUES, kueue))
    for resource, advice in needed:
        name = resource.title
        what = f"CRD {name}"
        crd = look_up(api, CRDS, "", name, ClusterCheck(what, "failed", "not installed", advice))
        if isinstance(crd, ClusterCheck):
            yield crd
            continue
        served = [each["name"] for each in crd["spec"]["versions"] if each["served"]]
        finding = f"serves {', '.join(served)}"
        if resource.version in served:
            yield ClusterCheck(what, "ok", finding)
        else:
            needs = f"{resource.version} is needed: {advice}"
            yield ClusterCheck(what, "failed", finding, needs)
    if settings.queue is not None:
        yield _queue(api, settings.namespace, settings.queue)


def _queue(api: Api, namespace: str, name: str) -> ClusterCheck:
    """Check that a team's queue admits jobs."""
    what = "queue"
    try:
        queue = api.get(LOCAL_QUEUES, namespace, name)
    except EnvironmentFault as error:
        return ClusterCheck(what, "unknown", str(error))
    if queue is None:
        advice = "kubectl apply -k k8s/overlays/kueue; for a team's own namespace overlays/team"
        return ClusterCheck(what, "failed", f"no LocalQueue {name} in {namespace}", advice)
    active = conditions_of(queue).get("Active") or {}
    if active.get("status") == "False":
        finding = f"{name} admits nothing: {active.get('message')}"
        advice = "correct its ClusterQueue, or the ResourceFlavors that this names"
        return ClusterCheck(what, "failed", finding, advice)
    return ClusterCheck(what, "ok", name)


def _operator(api: Api, settings: ClusterSettings) -> Iterator[ClusterCheck]:
    """Check that KubeRay's operator runs, and that it reacts to this namespace's jobs."""
    what, namespace = "KubeRay operator", settings.operator_namespace
    selector = ",".join(f"{key}={value}" for key, value in OPERATOR.items())
    try:
        pods = api.objects(PODS, namespace, selector)
    except EnvironmentFault:
        advice = f"ask someone who may: {FIND_OPERATOR}"
        yield ClusterCheck(what, "unknown", f"pods of {namespace} may not be listed", advice)
    else:
        if ready := sum(map(_is_ready, pods)):
            yield ClusterCheck(what, "ok", f"{ready} pods in {namespace}")
        else:
            finding = f"{len(pods)} pods in {namespace}, none of them ready"
            setting = "set `operator_namespace` in the cluster settings"
            advice = f"start it, or {setting} ({FIND_OPERATOR})"
            yield ClusterCheck(what, "failed", finding, advice)
    try:
        jobs = api.objects(RAY_JOBS, settings.namespace)
    except EnvironmentFault:
        return  # the permissions say so
    if stuck := sorted(job["metadata"]["name"] for job in jobs if _is_stuck(job)):
        finding = f"{len(stuck)} have waited for it for over a minute"
        advice = f"start KubeRay's operator ({FIND_OPERATOR}): {', '.join(stuck[:3])}"
        yield ClusterCheck("RayJobs", "failed", finding, advice)


def _is_ready(pod: Object) -> bool:
    return (conditions_of(pod).get("Ready") or {}).get("status") == "True"


def _is_stuck(job: Object) -> bool:
    """Whether a job has waited for the operator for more than a minute."""
    metadata = job["metadata"]
    since = metadata.get("deletionTimestamp")
    if since is None and not is_answered(job):
        since = metadata.get("creationTimestamp")
    return since is not None and datetime.now(UTC) - datetime.fromisoformat(since) > _STUCK


def _network(api: Api, settings: ClusterSettings) -> ClusterCheck:
    """Check that a network policy protects the jobs' pods and admits the operator."""
    what, namespace = "network policy", settings.operator_namespace
    try:
        policies = api.objects(NETWORK_POLICIES, settings.namespace)
    except EnvironmentFault:
        return ClusterCheck(what, "unknown", "may not be listed", _RBAC)
    specs = [policy["spec"] for policy in policies]
    rules = [
        rule
        for spec in specs
        if spec["podSelector"].get("matchLabels") == POLICY_LABEL
        for rule in spec.get("ingress", [])
    ]
    if not rules:
        finding = f"none selects the jobs' pods in {settings.namespace}"
        return ClusterCheck(
            what, "failed", finding, "Ray's dashboard is open: kubectl apply -k k8s/base"
        )
    admitted = {
        peer.get("namespaceSelector", {}).get("matchLabels", {}).get(NAMESPACE_NAME)
        for rule in rules
        for peer in rule.get("from", [])
        if peer.get("podSelector", {}).get("matchLabels") == OPERATOR
    }
    if namespace in admitted:
        return ClusterCheck(what, "ok", f"admits the operator of {namespace}")
    advice = "jobs would never start: name its namespace in k8s/base/network.yaml"
    return ClusterCheck(what, "failed", f"does not admit the operator of {namespace}", advice)
