"""The label of nodes that stand in for other hardware."""

from __future__ import annotations

EMULATED = "medsweep.io/emulated"
"""Label of nodes that may have other hardware than their profile."""


def on_emulated_node() -> bool:
    """Return whether this Ray worker's node may have other hardware than its profile."""
    import ray

    return ray.is_initialized() and EMULATED in ray.get_runtime_context().get_node_labels()
