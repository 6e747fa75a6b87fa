"""A job's own Ray cluster, seen from its driver: its nodes are pods that KubeRay started."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from medsweep.cluster.local import LocalCluster, free_port
from medsweep.errors import EnvironmentFault
from medsweep.hardware.profile import HardwareProfile

T = TypeVar("T")

PATIENCE_S = 600.0
"""KubeRay hands the entrypoint over as soon as the head answers; workers may still be starting."""

POLL_S = 1.0


class JoinedCluster(LocalCluster):
    """The Ray cluster that this process runs in; nothing of it is started or ended here.

    Args:
        patience_s: how long to wait for a node that is not there yet, in seconds.
    """

    # The nodes were chosen for their hardware: on other hardware than that, nothing is measured.
    emulates = False

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        self._patience_s = patience_s

    def __enter__(self) -> Self:
        import ray

        try:
            ray.init(
                address="auto", log_to_driver=False, logging_level="ERROR", namespace="medsweep"
            )
        except ConnectionError as error:
            raise EnvironmentFault(
                f"no Ray cluster runs here, and this is a job for one ({error}); "
                "`medsweep run` needs none"
            ) from None
        self.port = free_port()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        import ray
        from ray import serve

        serve.shutdown()  # does nothing where Ray Serve does not run
        ray.shutdown()

    def bring_nodes(self, profiles: Sequence[HardwareProfile]) -> None:
        """Wait until there is a node for each profile.

        Raises:
            EnvironmentFault: one does not come.
        """
        deadline = time.monotonic() + self._patience_s
        while absent := [profile for profile in profiles if not _is_there(profile)]:
            if time.monotonic() > deadline:
                names = ", ".join(profile.name for profile in absent)
                raise EnvironmentFault(
                    f"no Ray node of {names} came within {self._patience_s:.0f} s; look at the "
                    "worker's pod, and at its labels in the Ray cluster's worker group"
                )
            time.sleep(POLL_S)


def on_node(profile: HardwareProfile, do: Callable[..., T], *arguments: object) -> T:
    """Call a function on the node of a hardware profile, and return what it returns.

    Raises:
        MedSweepError: what the function raised of that kind, as it was raised there.
    """
    import ray
    from ray.exceptions import RayTaskError

    remote = ray.remote(do).options(num_cpus=0, label_selector=profile.labels, max_retries=0)
    try:
        result: T = ray.get(remote.remote(*arguments))
    except RayTaskError as error:
        raise error.cause or error from None
    return result


def _is_there(profile: HardwareProfile) -> bool:
    import ray

    nodes: list[dict[str, Any]] = ray.nodes()
    return any(node["Alive"] and node["Labels"].items() >= profile.labels.items() for node in nodes)
