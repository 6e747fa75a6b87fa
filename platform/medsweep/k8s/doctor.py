"""Check whether a cluster can run sweeps: every requirement, and what to do if one is not met."""

from __future__ import annotations

from collections.abc import Iterator

from medsweep.k8s.check import ClusterCheck
from medsweep.k8s.client import Api
from medsweep.k8s.resource_checks import check_resources
from medsweep.k8s.settings import ClusterSettings
from medsweep.k8s.software_checks import check_software


def examine(api: Api, settings: ClusterSettings) -> Iterator[ClusterCheck]:
    """Check everything that a sweep needs of a cluster.

    Args:
        api: the API server.
        settings: of the cluster.

    Raises:
        EnvironmentFault: the cluster does not answer.
    """
    yield ClusterCheck("API server", "ok", f"{api.server}, {api.version()}")
    yield from check_software(api, settings)
    yield from check_resources(api, settings)
