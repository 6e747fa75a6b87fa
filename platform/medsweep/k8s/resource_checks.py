"""Check the resources that a sweep needs of a cluster: node pools, claims, secrets and images."""

from __future__ import annotations

from collections.abc import Iterator

from medsweep.errors import EnvironmentFault
from medsweep.hardware.catalog import PROFILES
from medsweep.k8s.capacity import is_open, pool_gpus, pool_of
from medsweep.k8s.check import ClusterCheck, look_up
from medsweep.k8s.client import Api
from medsweep.k8s.conventions import GPU, NO_GPU
from medsweep.k8s.resources import CLAIMS, NODES, SECRETS, STORAGE_CLASSES
from medsweep.k8s.settings import ClusterSettings


def check_resources(api: Api, settings: ClusterSettings) -> Iterator[ClusterCheck]:
    """Check what jobs run on, and what they mount and pull.

    Args:
        api: the API server.
        settings: of the cluster.
    """
    yield from _pools(api)
    yield from _storage(api, settings)
    yield from _secrets(api, settings)
    yield _images(api, settings)


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
    for name in (settings.results_claim, settings.model_cache_claim):
        if name is not None:
            yield _claim(api, settings.namespace, name)


def _claim(api: Api, namespace: str, name: str) -> ClusterCheck:
    what = f"claim {name}"
    missing = ClusterCheck(what, "failed", "does not exist", "kubectl apply -k k8s/base")
    claim = look_up(api, CLAIMS, namespace, name, missing)
    if isinstance(claim, ClusterCheck):
        return claim
    modes = claim["spec"].get("accessModes", [])
    phase = claim.get("status", {}).get("phase", "Pending")
    storage_class = claim["spec"].get("storageClassName")
    if "ReadWriteMany" not in modes:
        advice = "head and worker run on different nodes: make it ReadWriteMany"
        return ClusterCheck(what, "failed", f"access modes: {', '.join(modes)}", advice)
    if phase == "Bound":
        return ClusterCheck(what, "ok", f"bound, storage class {storage_class or 'of the cluster'}")
    if storage_class:
        advice = "choose one (kubectl get storageclass) that offers ReadWriteMany"
        missing = ClusterCheck(what, "failed", f"no storage class {storage_class}", advice)
        if look_up(api, STORAGE_CLASSES, "", storage_class, missing) is missing:
            return missing
    advice = (
        f"kubectl -n {namespace} describe pvc {name}; some classes bind when the first job starts"
    )
    return ClusterCheck(what, "unknown", f"not bound yet ({phase})", advice)


def _secrets(api: Api, settings: ClusterSettings) -> Iterator[ClusterCheck]:
    create = f"kubectl -n {settings.namespace} create secret generic {settings.hf_secret}"
    needed = {settings.hf_secret: f"gated models need it: {create} --from-file=token=FILE"}
    if settings.results_secret:
        needed[settings.results_secret] = "jobs cannot reach the object store without it"
    for name, advice in needed.items():
        what = f"secret {name}"
        missing = ClusterCheck(what, "failed", "does not exist", advice)
        secret = look_up(api, SECRETS, settings.namespace, name, missing)
        yield secret if isinstance(secret, ClusterCheck) else ClusterCheck(what, "ok", "exists")


def _images(api: Api, settings: ClusterSettings) -> ClusterCheck:
    what, tag = "images", f"{settings.image}:{settings.image_tag}-..."
    if "/" not in settings.image:
        advice = "give `image` with its registry in the cluster settings (--cluster FILE)"
        return ClusterCheck(what, "failed", f"{tag} names no registry", advice)
    name = settings.image_pull_secret
    if name is None:
        finding = f"{tag}: only a node can tell whether it can pull it"
        advice = "if the registry requires a login, set `image_pull_secret`"
        return ClusterCheck(what, "unknown", finding, advice)
    finding = f"no pull secret {name} of type dockerconfigjson"
    advice = f"kubectl -n {settings.namespace} create secret docker-registry {name} ..."
    unfit = ClusterCheck(what, "failed", finding, advice)
    secret = look_up(api, SECRETS, settings.namespace, name, unfit)
    if isinstance(secret, ClusterCheck):
        return secret
    if secret.get("type") != "kubernetes.io/dockerconfigjson":
        return unfit
    return ClusterCheck(what, "ok", f"{tag} with pull secret {name}")
