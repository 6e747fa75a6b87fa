"""A Ray cluster on this machine: a head without CPUs, and a node for each profile in use."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from medsweep.cluster.cleanup import watch
from medsweep.errors import EnvironmentFault
from medsweep.hardware.profile import HardwareProfile

OBJECT_STORE_BYTES = 100 * 2**20
"""Nothing large goes through the object store; Ray's default would take a third of memory."""

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Workers would run at niceness 15, and lose every core to whatever else the machine does.
    "RAY_worker_niceness": "0",
    # A node would start one idle worker a CPU; each stage here starts the one process it needs.
    "RAY_enable_worker_prestart": "0",
    "RAY_prestart_worker_first_driver": "0",
    "TOKENIZERS_PARALLELISM": "false",
    # Each node's agent would look at every process every 5 s.
    "REPORTER_UPDATE_INTERVAL_MS": "60000",
    # Threads that wait sleep: spinning ones take the cores from whoever has work.
    "OMP_WAIT_POLICY": "PASSIVE",
}


class LocalCluster:
    """A context manager around one private Ray cluster.

    Its folder is its own (`RAY_TMPDIR`), so that other Ray sessions of the machine are not touched.
    Everything in it ends with this process, also when this one is killed.

    Attributes:
        port: TCP port on the loopback address for Ray Serve's proxy.
        emulates: whether a node may be other hardware than its profile; its rows then say so.
    """

    emulates = True

    def __enter__(self) -> Self:
        # Short, because a Unix socket's path below it may have 107 characters at most.
        self._folder = Path(tempfile.mkdtemp(prefix=f"ms-{os.getpid()}-", dir="/tmp"))
        self._cleanup = watch(self._folder)
        os.environ |= {"RAY_TMPDIR": str(self._folder), **ENVIRONMENT}
        # No node here is about to be taken away; the watcher is one process more a fine-tune.
        os.environ["RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"] = "0"
        import ray
        from ray.cluster_utils import Cluster

        self.port = free_port()
        try:
            self._cluster = Cluster(
                initialize_head=True,
                head_node_args={
                    "num_cpus": 0,
                    "include_dashboard": False,
                    "object_store_memory": OBJECT_STORE_BYTES,
                },
            )
            ray.init(
                address=self._cluster.address,
                log_to_driver=False,
                logging_level="ERROR",
                namespace="medsweep",
            )
        except Exception as error:
            self._cleanup.communicate()
            raise EnvironmentFault(f"Ray did not start on this machine: {error}") from error
        _take_sigterm()
        self._nodes: dict[str, Any] = {}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        import ray

        ray.shutdown()
        self._cluster.shutdown()
        self._cleanup.communicate()

    def bring_nodes(self, profiles: Sequence[HardwareProfile]) -> None:
        """Run one node for each profile, with its labels, CPUs and (as a number) GPUs.

        A node takes seconds to start. It stays until nodes are asked for that it is not among; one
        that has died is started anew.
        """
        wanted = {profile.name: profile for profile in profiles}
        for name, node in list(self._nodes.items()):
            if name not in wanted or not node.remaining_processes_alive():
                self._cluster.remove_node(self._nodes.pop(name), allow_graceful=True)
        for name, profile in wanted.items():
            if name not in self._nodes:
                self._nodes[name] = self._add(profile)
        self._cluster.wait_for_nodes()
        _take_sigterm()

    def _add(self, profile: HardwareProfile) -> Any:
        return self._cluster.add_node(
            num_cpus=profile.cpus,
            num_gpus=profile.gpus,
            labels=profile.labels,
            wait=False,
            object_store_memory=OBJECT_STORE_BYTES,
        )


def _take_sigterm() -> None:
    """Make SIGTERM, with which Kubernetes stops a pod, an interruption like Ctrl-C.

    Ray sets a handler of its own whenever it starts a node; that one exits with code 1.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)


def free_port() -> int:
    """Return a TCP port of the loopback address that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
