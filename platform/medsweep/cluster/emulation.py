"""Nodes that stand in for other hardware."""

from __future__ import annotations

from medsweep.hardware.profile import HardwareProfile

EMULATED = "medsweep.io/emulated"
"""Label of nodes that may have other hardware than their profile."""


def on_emulated_node() -> bool:
    """Return whether this Ray worker's node may have other hardware than its profile."""
    import ray

    return ray.is_initialized() and EMULATED in ray.get_runtime_context().get_node_labels()


def has_gpus(profile: HardwareProfile) -> bool:
    """Return whether the profile's nodes should have real GPUs.

    Nodes that may emulate them have real ones if Ray found their type. All other nodes should have
    them, those too that an autoscaler may start yet: a worker without one fails.
    """
    import ray

    if not profile.gpus or not ray.is_initialized():
        return profile.gpus > 0
    nodes = [
        node
        for node in ray.nodes()
        if node["Alive"] and profile.labels.items() <= node["Labels"].items()
    ]
    if any(EMULATED not in node["Labels"] for node in nodes) or not nodes:
        return True
    return any(name.startswith("accelerator_type:") for node in nodes for name in node["Resources"])
