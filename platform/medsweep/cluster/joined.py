"""A job's own Ray cluster, seen from its driver: its nodes are pods that KubeRay started."""

from __future__ import annotations

import io
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, redirect_stdout
from typing import Any, Self, TypeVar

from medsweep.cluster.interrupts import interrupts_wait, sigterm_interrupts
from medsweep.cluster.protocol import free_port
from medsweep.errors import EnvironmentFault
from medsweep.hardware.profile import HardwareProfile

T = TypeVar("T")

NODE_TIMEOUT_S = 600.0
"""KubeRay starts the driver as soon as the head answers; worker pods may still be starting."""

POLL_S = 1.0

_CONTROLLER_ENDED = re.compile(r"Task ServeController\.\w+ failed\..* killed by `ray\.kill`")
"""Ray prints calls that it cannot repeat because Serve's controller has ended, as it should."""


class JoinedCluster:
    """The Ray cluster that this process runs in; none of its nodes are started or stopped here.

    Args:
        node_timeout_s: how long to wait for a missing node, in seconds.
    """

    # Kubernetes chose each node for its hardware: on any other hardware nothing is measured.
    emulates = False

    def __init__(self, node_timeout_s: float = NODE_TIMEOUT_S) -> None:
        self.port = free_port()
        self._node_timeout_s = node_timeout_s

    def __enter__(self) -> Self:
        import ray

        with ExitStack() as stack:
            stack.enter_context(sigterm_interrupts())
            try:
                with interrupts_wait():
                    ray.init(
                        address="auto",
                        log_to_driver=False,
                        logging_level="ERROR",
                        namespace="medsweep",
                    )
                    stack.callback(_leave)
            except ConnectionError as error:
                raise EnvironmentFault(
                    f"no Ray cluster runs here, and this job needs one ({error}); "
                    "`medsweep run` starts its own"
                ) from None
            self._exit = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    def ensure_nodes(self, profiles: Sequence[HardwareProfile]) -> None:
        """Wait until there is a live node for each profile.

        Raises:
            EnvironmentFault: a node did not come in time.
        """

        def missing() -> str | None:
            names = [profile.name for profile in profiles if not _nodes(profile.labels)]
            return f"no Ray node for {', '.join(names)}" if names else None

        self._wait_while(missing)

    def ensure_cpus(self, labels: Mapping[str, str], count: int) -> None:
        """Wait until the live nodes with these labels have that many CPUs together.

        Raises:
            EnvironmentFault: they did not come in time.
        """

        def missing() -> str | None:
            cpus = sum(node["Resources"].get("CPU", 0) for node in _nodes(labels))
            words = ", ".join(f"{name}={value}" for name, value in labels.items())
            return f"{cpus:.0f} of {count} CPUs on Ray nodes with {words}" if cpus < count else None

        self._wait_while(missing)

    def _wait_while(self, missing: Callable[[], str | None]) -> None:
        """Wait until a function returns None; until then it returns what is missing, in words."""
        deadline = time.monotonic() + self._node_timeout_s
        while (words := missing()) is not None:
            if time.monotonic() > deadline:
                raise EnvironmentFault(
                    f"{words} after {self._node_timeout_s:.0f} s; check the "
                    "worker's pod, and its labels in the worker group of the Ray cluster"
                )
            time.sleep(POLL_S)

    def call_on_node(
        self,
        profile: HardwareProfile,
        function: Callable[..., T],
        *arguments: object,
        gpus: int = 0,
    ) -> T:
        """Call a function in a Ray task on a profile's node, and return its result.

        Raises:
            MedSweepError: the function raised it.
        """
        import ray
        from ray.exceptions import RayTaskError

        options: dict[str, Any] = {"num_cpus": 0, "num_gpus": gpus, "max_retries": 0}
        options["label_selector"] = profile.labels
        try:
            result: T = ray.get(ray.remote(function).options(**options).remote(*arguments))
        except RayTaskError as error:
            raise error.cause or error from None
        return result


def _nodes(labels: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the live nodes with some labels."""
    import ray

    nodes: list[dict[str, Any]] = ray.nodes()
    return [node for node in nodes if node["Alive"] and node["Labels"].items() >= labels.items()]


def _leave() -> None:
    import ray

    printed = io.StringIO()
    try:
        with redirect_stdout(printed):
            if "ray.serve" in sys.modules:
                from ray import serve

                serve.shutdown()  # does nothing where Ray Serve does not run
            ray.shutdown()
    finally:
        lines = printed.getvalue().splitlines(keepends=True)
        sys.stdout.writelines(line for line in lines if not _CONTROLLER_ENDED.search(line))
