"""A Ray cluster on this machine: a head without CPUs, and one node per hardware profile in use."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

from medsweep.cluster.cleanup import watch
from medsweep.cluster.emulation import EMULATED
from medsweep.cluster.interrupts import interrupts_wait, sigterm_interrupts
from medsweep.cluster.isolation import LOOPBACK, environment, isolated, without_secrets
from medsweep.cluster.protocol import free_port
from medsweep.errors import EnvironmentFault
from medsweep.hardware.profile import HardwareProfile

T = TypeVar("T")

OBJECT_STORE_BYTES = 100 * 2**20
"""Nothing large goes through the object store; Ray's default would take a third of memory."""

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # At Ray's default niceness of 15, workers would lose every core to other processes.
    "RAY_worker_niceness": "0",
    # A node would start one idle worker per CPU; each stage here starts the one process it needs.
    "RAY_enable_worker_prestart": "0",
    "RAY_prestart_worker_first_driver": "0",
    "TOKENIZERS_PARALLELISM": "false",
    # By default each node's agent looks at every process every 5 s.
    "REPORTER_UPDATE_INTERVAL_MS": "60000",
    # Threads that wait must sleep: spinning threads take cores from those that have work.
    "OMP_WAIT_POLICY": "PASSIVE",
}


class LocalCluster:
    """A context manager around one private Ray cluster.

    It has a folder of its own (`RAY_TMPDIR`), so that other Ray sessions on the machine are not
    touched. It listens only on the loopback address and refuses every call without its token (see
    `medsweep.cluster.isolation`). All of its processes end with this one, even if this one is
    killed. Environment variables and the handler of SIGTERM are as before after leaving it.

    Args:
        kept_by: the cluster runs until this ends, and may be entered several times until then:
            starting one takes ten seconds of two cores. None ends it on leaving.
    """

    emulates = True

    def __init__(self, kept_by: ExitStack | None = None) -> None:
        self.port = free_port()
        self._kept_by = kept_by
        self._running: ExitStack | None = None
        self._nodes: dict[str, Any] = {}
        self._cpus: tuple[dict[str, str], int] | None = None

    def __enter__(self) -> Self:
        if self._running is not None:
            return self
        with ExitStack() as stack:
            stack.enter_context(sigterm_interrupts())
            # Short, because the path of a Unix socket below it may have at most 107 characters.
            folder = Path(tempfile.mkdtemp(prefix=f"ms-{os.getpid()}-", dir="/tmp"))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            with without_secrets():
                stack.callback(watch(folder).communicate)
            # Nodes here are never preempted, and the watcher costs one process per fine-tune.
            no_preemption = {"RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0"}
            stack.enter_context(
                environment({"RAY_TMPDIR": str(folder), **ENVIRONMENT, **no_preemption})
            )
            stack.enter_context(isolated(folder))
            self._cluster = stack.enter_context(_ray_cluster())
            self._running = stack.pop_all()
        if self._kept_by is not None:
            self._kept_by.callback(self._end)
        return self

    def __exit__(self, *_: object) -> None:
        if self._kept_by is None:
            self._end()

    def _end(self) -> None:
        running, self._running = self._running, None
        self._nodes, self._cpus = {}, None
        if running is not None:
            running.close()

    def ensure_nodes(self, profiles: Sequence[HardwareProfile]) -> None:
        """Run one node for each profile, with its labels, CPUs and (as a number) GPUs.

        A node takes seconds to start. Nodes of other profiles are stopped, and a node that has died
        is replaced.
        """
        needed = {profile.name: profile for profile in profiles}
        for name, node in list(self._nodes.items()):
            if name not in needed or not node.remaining_processes_alive():
                self._cluster.remove_node(self._nodes.pop(name), allow_graceful=True)
        for name, profile in needed.items():
            if name not in self._nodes:
                self._nodes[name] = self._add(profile)
        self._cluster.wait_for_nodes()

    def ensure_cpus(self, labels: Mapping[str, str], count: int) -> None:
        """Run a node with these labels and that many CPUs beside those of the profiles."""
        if self._cpus != (dict(labels), count):
            self._start_node(count, 0, labels)
            self._cluster.wait_for_nodes()
            self._cpus = dict(labels), count

    def call_on_node(
        self,
        profile: HardwareProfile,
        function: Callable[..., T],
        *arguments: object,
        gpus: int = 0,
    ) -> T:
        """Call a function in this process: every node is on this machine."""
        del profile, gpus
        return function(*arguments)

    def _add(self, profile: HardwareProfile) -> Any:
        return self._start_node(profile.cpus, profile.gpus, profile.labels)

    def _start_node(self, cpus: int, gpus: int, labels: Mapping[str, str]) -> Any:
        with interrupts_wait(), without_secrets():
            return self._cluster.add_node(
                num_cpus=cpus,
                num_gpus=gpus,
                labels={**labels, EMULATED: "true"},
                wait=False,
                node_ip_address=LOOPBACK,
                object_store_memory=OBJECT_STORE_BYTES,
            )


@contextmanager
def _ray_cluster() -> Iterator[Any]:
    """Start a head node and connect to it."""
    import ray
    from ray.cluster_utils import Cluster

    with ExitStack() as stack:
        try:
            with interrupts_wait():
                with without_secrets():
                    cluster = Cluster(
                        initialize_head=True,
                        head_node_args={
                            "num_cpus": 0,
                            "include_dashboard": False,
                            "include_log_monitor": False,  # no driver reads the workers' logs
                            "node_ip_address": LOOPBACK,
                            "object_store_memory": OBJECT_STORE_BYTES,
                        },
                    )
                stack.callback(cluster.shutdown)
                ray.init(
                    address=cluster.address,
                    log_to_driver=False,
                    logging_level="ERROR",
                    namespace="medsweep",
                )
                stack.callback(ray.shutdown)
        except Exception as error:
            raise EnvironmentFault(f"Ray did not start on this machine: {error}") from error
        yield cluster
