"""What all that MedSweep creates in a cluster shares: names, labels, images, security settings.

Every pod meets the `restricted` Pod Security Standard.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, Literal

from medsweep.hardware.profile import HardwareProfile
from medsweep.k8s.settings import ClusterSettings, ImageFamily

Stage = Literal["finetune", "benchmark", "serve"]

LONGEST_NAME = 47
"""KubeRay appends to the names of RayJobs and RayServices; a Service has at most 63 characters."""

SWEEP = "medsweep.io/sweep"
STAGE = "medsweep.io/stage"
CELL = "medsweep.io/cell"
ADAPTER = "medsweep.io/adapter"
GPU = "medsweep.io/gpu"
PROFILE = "medsweep.io/profile"
ROLE = "medsweep.io/role"
RESULTS = "medsweep.io/results"
QUEUE = "kueue.x-k8s.io/queue-name"

NO_GPU = "none"
"""Value of the label `GPU` on nodes of the CPU pool."""

APPLICATION = {
    "app.kubernetes.io/name": "medsweep",
    "app.kubernetes.io/part-of": "medsweep",
    "app.kubernetes.io/managed-by": "medsweep",
}

USER_ID = 10001
"""User and group of the images; see k8s/images."""

POD_SECURITY: dict[str, Any] = {
    "runAsNonRoot": True,
    "runAsUser": USER_ID,
    "runAsGroup": USER_ID,
    "fsGroup": USER_ID,
    # Otherwise every start changes the owner of each file on the claim.
    "fsGroupChangePolicy": "OnRootMismatch",
    "seccompProfile": {"type": "RuntimeDefault"},
}

CONTAINER_SECURITY: dict[str, Any] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}

POLICY_LABEL = {"app.kubernetes.io/part-of": "medsweep"}
"""Label of every pod, by which network policies select them."""

NAMESPACE_NAME = "kubernetes.io/metadata.name"
"""Label that the API server gives to each namespace, with its name."""

OPERATOR = {"app.kubernetes.io/name": "kuberay-operator"}
"""Labels of the pods of KubeRay's operator."""

FIND_OPERATOR = "kubectl get pods -A -l app.kubernetes.io/name=kuberay-operator"

_PREFIXES: dict[Stage, str] = {"finetune": "ft", "benchmark": "bm", "serve": "sv"}
# Of 16 hexadecimal digits: 10,000 keys share their first 11 with a probability of 3 in a million.
_KEY_DIGITS = 11
_SWEEP_DIGITS = 4
_PROFILE_CHARACTERS = 20

# PyTorch's wheels for CUDA 13 begin at compute capability 7.5; those for 12.6 still hold 7.0.
_FIRST_CUDA_13 = (7, 5)


def object_name(stage: Stage, sweep: str, model: str, profile: str, key: str) -> str:
    """Return the name of a stage's object, which is unique for its key and sweep.

    The sweep is part of the name because each sweep has results of its own: the same cell of two
    sweeps is two objects.

    Args:
        stage: what the object does.
        sweep: name of the sweep.
        model: name of the model; shortened where the full name would be too long.
        profile: name of the hardware profile; shortened in the same case.
        key: of the cell or the adapter.
    """
    sweep_hash = hashlib.sha256(sweep.encode()).hexdigest()[:_SWEEP_DIGITS]
    place = profile[:_PROFILE_CHARACTERS].rstrip("-")
    end = f"-{place}-{key[:_KEY_DIGITS]}-{sweep_hash}"
    start = f"{_PREFIXES[stage]}-{re.sub(r'[^a-z0-9-]', '-', model)}"
    return start[: LONGEST_NAME - len(end)].rstrip("-") + end


def labels(stage: Stage, sweep: str, key: str, profile: str) -> dict[str, str]:
    """Return the labels of a stage's object.

    Args:
        stage: what the object does.
        sweep: name of the sweep.
        key: of the adapter, for a fine-tune; of the cell otherwise.
        profile: name of the hardware profile.
    """
    return {**APPLICATION, **pod_labels(stage, sweep, key, profile)}


def pod_labels(stage: Stage, sweep: str, key: str, profile: str) -> dict[str, str]:
    """Return the labels of a stage's pods.

    They leave out `app.kubernetes.io/name`: KubeRay sets its own value, by which the head Service
    of a job or service selects its pod. Network policies select `app.kubernetes.io/part-of`.
    """
    return {
        **POLICY_LABEL,
        SWEEP: sweep,
        STAGE: stage,
        ADAPTER if stage == "finetune" else CELL: key,
        PROFILE: profile,
    }


def image_family(profile: HardwareProfile) -> ImageFamily:
    """Return the image family that has kernels for a profile's GPUs."""
    if profile.accelerator is None:
        return "cpu"
    return "cu13" if profile.accelerator.compute_capability >= _FIRST_CUDA_13 else "cu126"


def image_reference(settings: ClusterSettings, family: ImageFamily) -> str:
    """Return an image's full name, by digest if the settings give one."""
    digest = settings.image_digests.get(family)
    if digest is not None:
        return f"{settings.image}@{digest}"
    return f"{settings.image}:{settings.image_tag}-{family}"
