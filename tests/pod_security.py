"""The `restricted` Pod Security Standard, control by control, as Kubernetes documents it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Manifest = dict[str, Any]

_VOLUMES = {
    *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim"),
    *("projected", "secret"),
}
_HOST = ("hostNetwork", "hostPID", "hostIPC")


def violations(spec: Manifest) -> Iterator[str]:
    """Yield what a pod's spec does that the standard forbids."""
    pod = spec.get("securityContext", {})
    for field in _HOST:
        if spec.get(field):
            yield field
    for volume in spec.get("volumes", []):
        for kind in volume.keys() - {"name"} - _VOLUMES:
            yield f"volume {volume['name']}: {kind}"
    if pod.get("sysctls"):
        yield "sysctls"
    if pod.get("runAsUser") == 0:
        yield "runAsUser 0"
    for container in [*spec["containers"], *spec.get("initContainers", [])]:
        own = container.get("securityContext", {})
        name = container["name"]
        if own.get("privileged"):
            yield f"{name}: privileged"
        if own.get("allowPrivilegeEscalation") is not False:
            yield f"{name}: allowPrivilegeEscalation"
        if own.get("capabilities", {}).get("drop") != ["ALL"]:
            yield f"{name}: capabilities are not dropped"
        if set(own.get("capabilities", {}).get("add", [])) - {"NET_BIND_SERVICE"}:
            yield f"{name}: capabilities are added"
        if not own.get("runAsNonRoot", pod.get("runAsNonRoot")) or own.get("runAsUser") == 0:
            yield f"{name}: may run as root"
        profile = own.get("seccompProfile", pod.get("seccompProfile", {})).get("type")
        if profile not in ("RuntimeDefault", "Localhost"):
            yield f"{name}: seccomp profile {profile}"
        for port in container.get("ports", []):
            if port.get("hostPort"):
                yield f"{name}: hostPort"
