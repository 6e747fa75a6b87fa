"""Check whether a cluster can run sweeps: every requirement, and what to do if one is not met."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from medsweep.errors import EnvironmentFault
from medsweep.hardware.catalog import PROFILES
from medsweep.k8s.capacity import is_open, pool_gpus, pool_of
from medsweep.k8s.client import Api, Object
from medsweep.k8s.conventions import (
    FIND_OPERATOR,
    GPU,
    NAMESPACE_NAME,
    NO_GPU,
    OPERATOR,
    POLICY_LABEL,
)
from medsweep.k8s.diagnose import conditions_of
from medsweep.k8s.resources import (
    ACCESS_REVIEWS,
    CLAIMS,
    CRDS,
    LOCAL_QUEUES,
    NAMESPACES,
    NETWORK_POLICIES,
    NODES,
    PODS,
    RAY_CLUSTERS,
    RAY_JOBS,
    RAY_SERVICES,
    SECRETS,
    SERVICE_ACCOUNTS,
    STORAGE_CLASSES,
    WORKLOADS,
    Resource,
)
from medsweep.k8s.settings import ClusterSettings
from medsweep.k8s.state import is_answered

KUBERAY = "1.7"
_STUCK = timedelta(minutes=1)
_FIND = FIND_OPERATOR
_RBAC = "ask for the role medsweep-controller (kubectl apply -k k8s/base)"
_FETCH = "bind the role medsweep-fetch of k8s/base, or keep results in an object store"


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


def examine(api: Api, settings: ClusterSettings) -> Iterator[ClusterCheck]:
    """Check everything that a sweep needs of a cluster.

    Args:
        api: the API server.
        settings: of the cluster.

    Raises:
        EnvironmentFault: the cluster does not answer.
    """
    yield ClusterCheck("API server", "ok", f"{api.server}, {api.version()}")
    yield from _namespace(api, settings)
    yield from _permissions(api, settings)
    yield from _definitions(api, settings)
    yield from _operator(api, settings)
    yield _network(api, settings)
    yield from _pools(api)
    yield from _storage(api, settings)
    yield from _secrets(api, settings)
    yield from _images(api, settings)


def _namespace(api: Api, settings: ClusterSettings) -> Iterator[ClusterCheck]:
    name, advice = settings.namespace, "kubectl apply -k k8s/base, or another --namespace"
    namespace = _look(api, NAMESPACES, "", name)
    if isinstance(namespace, ClusterCheck):
        yield namespace
    elif namespace is None:
        yield ClusterCheck("namespace", "failed", f"{name} does not exist", advice)
    elif namespace["metadata"].get("deletionTimestamp"):
        yield ClusterCheck(
            "namespace", "failed", f"{name} is being deleted", f"wait, then {advice}"
        )
    else:
        yield ClusterCheck("namespace", "ok", name)
    account = _look(api, SERVICE_ACCOUNTS, settings.namespace, settings.service_account)
    if account is None:
        finding = f"{settings.service_account} does not exist"
        yield ClusterCheck("service account", "failed", finding, "kubectl apply -k k8s/base")
    elif isinstance(account, ClusterCheck):
        yield account
    else:
        yield ClusterCheck("service account", "ok", settings.service_account)


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
        name = f"{resource.plural}.{resource.group}"
        crd = _look(api, CRDS, "", name)
        if isinstance(crd, ClusterCheck):
            yield crd
        elif crd is None:
            yield ClusterCheck(f"CRD {name}", "failed", "not installed", advice)
        else:
            served = [each["name"] for each in crd["spec"]["versions"] if each["served"]]
            good = resource.version in served
            yield ClusterCheck(
                f"CRD {name}",
                "ok" if good else "failed",
                f"serves {', '.join(served)}",
                "" if good else f"{resource.version} is needed: {advice}",
            )
    if settings.queue is not None:
        try:
            queue = api.get(LOCAL_QUEUES, settings.namespace, settings.queue)
        except EnvironmentFault as error:
            yield ClusterCheck("queue", "unknown", str(error))
            return
        if queue is None:
            finding = f"no LocalQueue {settings.queue} in {settings.namespace}"
            advice = "kubectl apply -k k8s/overlays/kueue; for a team's own namespace overlays/team"
            yield ClusterCheck("queue", "failed", finding, advice)
            return
        active = conditions_of(queue).get("Active") or {}
        if active.get("status") == "False":
            finding = f"{settings.queue} admits nothing: {active.get('message')}"
            advice = "correct its ClusterQueue, or the ResourceFlavors that this names"
            yield ClusterCheck("queue", "failed", finding, advice)
        else:
            yield ClusterCheck("queue", "ok", settings.queue)


def _operator(api: Api, settings: ClusterSettings) -> Iterator[ClusterCheck]:
    """Check that KubeRay's operator runs, and that it reacts to this namespace's jobs."""
    what, namespace = "KubeRay operator", settings.operator_namespace
    selector = ",".join(f"{key}={value}" for key, value in OPERATOR.items())
    try:
        pods = api.objects(PODS, namespace, selector)
    except EnvironmentFault:
        finding, advice = f"pods of {namespace} may not be listed", f"ask someone who may: {_FIND}"
        yield ClusterCheck(what, "unknown", finding, advice)
    else:
        ready = sum(map(_is_ready, pods))
        if ready:
            yield ClusterCheck(what, "ok", f"{ready} pods in {namespace}")
        else:
            finding = f"{len(pods)} pods in {namespace}, none of them ready"
            advice = f"start it, or set `operator_namespace` in the cluster settings ({_FIND})"
            yield ClusterCheck(what, "failed", finding, advice)
    try:
        jobs = api.objects(RAY_JOBS, settings.namespace)
    except EnvironmentFault:
        return  # the permissions say so
    stuck = [job for job in jobs if _is_stuck(job)]
    if stuck:
        finding = f"{len(stuck)} have waited for it for over a minute"
        names = ", ".join(sorted(job["metadata"]["name"] for job in stuck)[:3])
        yield ClusterCheck(
            "RayJobs", "failed", finding, f"start KubeRay's operator ({_FIND}): {names}"
        )


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


def _pools(api: Api) -> Iterator[ClusterCheck]:
    try:
        nodes = api.objects(NODES, "")
    except EnvironmentFault:
        yield ClusterCheck(
            "node pools",
            "unknown",
            "nodes may not be listed",
            "give the number of jobs that the pools hold with --max-at-once, or use a queue",
        )
        return
    gpus = pool_gpus(nodes)
    heads = sum(is_open(node) and pool_of(node) == NO_GPU for node in nodes)
    if heads:
        yield ClusterCheck("CPU pool", "ok", f"{heads} nodes")
    else:
        yield ClusterCheck(
            "CPU pool",
            "failed",
            f"no node has {GPU}={NO_GPU}",
            f"the load generator runs there: kubectl label node NODE {GPU}={NO_GPU}",
        )
    needed: dict[str, int] = {}
    for profile in PROFILES.values():
        pool = profile.labels[GPU]
        needed[pool] = max(needed.get(pool, 0), profile.gpus)
    for pool, most in needed.items():
        if pool not in gpus:
            advice = f"its profiles cannot run; kubectl label node NODE {GPU}={pool}"
            yield ClusterCheck(f"pool {pool}", "failed", f"no node has {GPU}={pool}", advice)
        elif gpus[pool] < most:
            advice = "check that the GPU operator or device plugin runs on its nodes"
            yield ClusterCheck(f"pool {pool}", "failed", f"{gpus[pool]} allocatable GPUs", advice)
        else:
            yield ClusterCheck(f"pool {pool}", "ok", f"{gpus[pool]} allocatable GPUs")


def _storage(api: Api, settings: ClusterSettings) -> Iterator[ClusterCheck]:
    for claim in (settings.results_claim, settings.model_cache_claim):
        if claim is None:
            continue
        value = _look(api, CLAIMS, settings.namespace, claim)
        if isinstance(value, ClusterCheck):
            yield value
        elif value is None:
            yield ClusterCheck(
                f"claim {claim}", "failed", "does not exist", "kubectl apply -k k8s/base"
            )
        else:
            yield _claim(api, settings.namespace, claim, value)


def _claim(api: Api, namespace: str, claim: str, value: Object) -> ClusterCheck:
    modes = value["spec"].get("accessModes", [])
    phase = value.get("status", {}).get("phase", "Pending")
    class_ = value["spec"].get("storageClassName")
    what = f"claim {claim}"
    if "ReadWriteMany" not in modes:
        advice = "head and worker run on different nodes: make it ReadWriteMany"
        return ClusterCheck(what, "failed", f"access modes: {', '.join(modes)}", advice)
    if phase == "Bound":
        return ClusterCheck(what, "ok", f"bound, storage class {class_ or 'of the cluster'}")
    if class_:
        storage = _look(api, STORAGE_CLASSES, "", class_)
        if storage is None:
            advice = "choose one (kubectl get storageclass) that offers ReadWriteMany"
            return ClusterCheck(what, "failed", f"no storage class {class_}", advice)
    advice = (
        f"kubectl -n {namespace} describe pvc {claim}; some classes bind when the first job starts"
    )
    return ClusterCheck(what, "unknown", f"not bound yet ({phase})", advice)


def _secrets(api: Api, settings: ClusterSettings) -> Iterator[ClusterCheck]:
    create = f"kubectl -n {settings.namespace} create secret generic {settings.hf_secret}"
    needed = {settings.hf_secret: f"gated models need it: {create} --from-file=token=FILE"}
    if settings.results_secret:
        needed[settings.results_secret] = "jobs cannot reach the object store without it"
    for name, advice in needed.items():
        secret = _look(api, SECRETS, settings.namespace, name)
        if isinstance(secret, ClusterCheck):
            yield secret
        elif secret is None:
            yield ClusterCheck(f"secret {name}", "failed", "does not exist", advice)
        else:
            yield ClusterCheck(f"secret {name}", "ok", "exists")


def _images(api: Api, settings: ClusterSettings) -> Iterator[ClusterCheck]:
    what, tag = "images", f"{settings.image}:{settings.image_tag}-..."
    if "/" not in settings.image:
        advice = "give `image` with its registry in the cluster settings (--cluster FILE)"
        yield ClusterCheck(what, "failed", f"{tag} names no registry", advice)
        return
    name = settings.image_pull_secret
    if name is None:
        advice = "if the registry requires a login, set `image_pull_secret`"
        yield ClusterCheck(
            what, "unknown", f"{tag}: only a node can tell whether it can pull it", advice
        )
        return
    secret = _look(api, SECRETS, settings.namespace, name)
    if isinstance(secret, ClusterCheck):
        yield secret
    elif secret is None or secret.get("type") != "kubernetes.io/dockerconfigjson":
        advice = f"kubectl -n {settings.namespace} create secret docker-registry {name} ..."
        yield ClusterCheck(
            what, "failed", f"no pull secret {name} of type dockerconfigjson", advice
        )
    else:
        yield ClusterCheck(what, "ok", f"{tag} with pull secret {name}")


def _look(api: Api, resource: Resource, namespace: str, name: str) -> Object | ClusterCheck | None:
    """Return an object, None if it does not exist, or a check that says that it cannot be read."""
    try:
        return api.get(resource, namespace, name)
    except EnvironmentFault:
        what = f"{resource.kind} {name}"
        option = f"-n {namespace} " if resource.namespaced else ""
        advice = f"ask someone who may read it: kubectl {option}get {resource.plural} {name}"
        return ClusterCheck(what, "unknown", "may not be read", advice)
