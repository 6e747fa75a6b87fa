"""Engines of other packages: entry points of the group `medsweep.engines`."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from medsweep.errors import EnvironmentFault
from medsweep.hardware.profile import HardwareProfile
from medsweep.models.spec import ModelSpec

GROUP = "medsweep.engines"


@functools.cache
def plugins() -> Mapping[str, EntryPoint]:
    """Return the entry point of each engine by its name; nothing is imported."""
    return {each.name: each for each in entry_points(group=GROUP)}


def plugin_fault(engine: str) -> str | None:
    """Return why a plugin cannot be imported, in a sentence; None if it can, or is no plugin."""
    try:
        if engine in plugins():
            plugin_class(engine)
    except EnvironmentFault as fault:
        return str(fault)
    return None


def plugin_class(engine: str) -> Any:
    """Import a plugin's class.

    Raises:
        EnvironmentFault: it cannot be imported.
    """
    entry = plugins()[engine]
    package = entry.dist.name if entry.dist else entry.value
    try:
        return entry.load()
    except Exception as error:
        raise EnvironmentFault(
            f"engine {engine} of the package {package} cannot be imported: "
            f"{type(error).__name__}: {error}"
        ) from error


def plugin_refusal(engine: str, profile: HardwareProfile, model: ModelSpec) -> str | None:
    """Return why a plugin cannot serve a model on a profile, by the plugin's own word; else None.

    Args:
        engine: its name, or that of an engine that is no plugin.
        profile: the hardware.
        model: the model.
    """
    if engine not in plugins():
        return None
    fault = plugin_fault(engine)
    if fault is not None:
        return fault
    unsupported = getattr(plugin_class(engine), "unsupported", None)
    reason: str | None = unsupported(profile, model) if unsupported else None
    return reason


def plugin_quantizations(engine: str) -> tuple[str, ...] | None:
    """Return what the weights may be in a plugin; None if the engine is no plugin."""
    if engine not in plugins():
        return None
    return tuple(getattr(plugin_class(engine), "quantizations", ("none",)))
