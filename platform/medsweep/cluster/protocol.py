"""What a sweep needs of the Ray cluster that it runs on."""

from __future__ import annotations

import contextlib
import random
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, Self, TypeVar

from medsweep.hardware.profile import HardwareProfile

T = TypeVar("T")

# Above the ports of Ray's workers, below those that Kubernetes and Linux give away.
_PORTS = range(20_000, 30_000)


class Cluster(Protocol):
    """A context manager around a Ray cluster, with one node for each hardware profile in use.

    `LocalCluster` starts a cluster on this machine; `JoinedCluster` uses the one that this process
    already runs in.

    Attributes:
        port: TCP port on the loopback address for Ray Serve's proxy.
        emulates: whether a node may have other hardware than its profile; its rows then say so.
    """

    port: int
    emulates: bool

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def ensure_nodes(self, profiles: Sequence[HardwareProfile]) -> None:
        """Return once there is a live node for each profile.

        Raises:
            EnvironmentFault: a node did not start in time.
        """
        ...

    def ensure_cpus(self, labels: Mapping[str, str], count: int) -> None:
        """Return once the live nodes with some labels have that many CPUs together.

        Raises:
            EnvironmentFault: they did not in time.
        """
        ...

    def call_on_node(
        self,
        profile: HardwareProfile,
        function: Callable[..., T],
        *arguments: object,
        gpus: int = 0,
    ) -> T:
        """Call a function on the machine of a profile's node, and return its result.

        Args:
            profile: the profile.
            function: importable on the node.
            arguments: of the function.
            gpus: of the node that it may use.

        Raises:
            MedSweepError: the function raised it.
        """
        ...


def free_port() -> int:
    """Return a TCP port of the loopback address that is not in use.

    Nobody takes it by chance before it is bound: it is none that the system gives to connections or
    to those who take any port, unless all of those that were tried are in use.
    """
    with socket.socket() as probe:
        for port in random.SystemRandom().choices(_PORTS, k=50):
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
        probe.bind(("127.0.0.1", 0))
        found: int = probe.getsockname()[1]
        return found
