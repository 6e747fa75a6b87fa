"""Names and labels of everything that MedSweep makes in a cluster."""

from __future__ import annotations

import hashlib
import re
from typing import Literal

Stage = Literal["finetune", "benchmark", "serve"]

LONGEST_NAME = 47
"""KubeRay adds to a RayJob's and a RayService's name, and a Service's has 63 characters at most."""

SWEEP = "medsweep.io/sweep"
STAGE = "medsweep.io/stage"
CELL = "medsweep.io/cell"
ADAPTER = "medsweep.io/adapter"
GPU = "medsweep.io/gpu"
PROFILE = "medsweep.io/profile"
ROLE = "medsweep.io/role"
QUEUE = "kueue.x-k8s.io/queue-name"

NO_GPU = "none"
"""Value of `GPU` on nodes of the CPU pool."""

APPLICATION = {
    "app.kubernetes.io/name": "medsweep",
    "app.kubernetes.io/part-of": "medsweep",
    "app.kubernetes.io/managed-by": "medsweep",
}

_PREFIXES: dict[Stage, str] = {"finetune": "ft", "benchmark": "bm", "serve": "sv"}
# Of 16 hexadecimal digits: 10,000 keys share their first 11 with a probability of 3 in a million.
_KEY_DIGITS = 11
_SWEEP_DIGITS = 4
_PROFILE_CHARACTERS = 20


def object_name(stage: Stage, sweep: str, model: str, profile: str, key: str) -> str:
    """Return the name of a stage's object: the same for the same key and sweep, and no other.

    The sweep is part of it because the results are: the same cell of two sweeps is two objects.

    Args:
        stage: what the object does.
        sweep: name of the sweep.
        model: name of the model; cut where the whole would be too long.
        profile: name of the hardware profile; cut likewise.
        key: of the cell or the adapter.
    """
    whose = hashlib.sha256(sweep.encode()).hexdigest()[:_SWEEP_DIGITS]
    where = profile[:_PROFILE_CHARACTERS].rstrip("-")
    end = f"-{where}-{key[:_KEY_DIGITS]}-{whose}"
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

    `app.kubernetes.io/name` is not among them: KubeRay puts its own there, and selects by it the
    head that a job's or service's head Service leads to.
    """
    return {
        "app.kubernetes.io/part-of": "medsweep",
        SWEEP: sweep,
        STAGE: stage,
        ADAPTER if stage == "finetune" else CELL: key,
        PROFILE: profile,
    }
