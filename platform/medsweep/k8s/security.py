"""What a pod may do: the least that a job needs. It fits the `restricted` Pod Security Standard."""

from __future__ import annotations

from typing import Any

USER_ID = 10001
"""User and group of the images; see k8s/images."""

POD_SECURITY: dict[str, Any] = {
    "runAsNonRoot": True,
    "runAsUser": USER_ID,
    "runAsGroup": USER_ID,
    "fsGroup": USER_ID,
    # A claim with many files would be walked through at each start otherwise.
    "fsGroupChangePolicy": "OnRootMismatch",
    "seccompProfile": {"type": "RuntimeDefault"},
}

CONTAINER_SECURITY: dict[str, Any] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
