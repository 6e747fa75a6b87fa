"""What an API server refuses of an object, whoever defined its kind."""

from __future__ import annotations

from typing import Any

from core_objects import MODELS, core_faults
from crds import faults


def object_faults(value: dict[str, Any], part: str = "") -> list[str]:
    """Return what is wrong with an object, or with one part of it that is written alone."""
    if value["apiVersion"] in MODELS:
        return core_faults(value)
    if value["apiVersion"].startswith(("apiextensions.", "storage.")):
        return []  # the tests' own, cut down
    if value["kind"] == "Workload":
        return []  # Kueue's own; its CRD is not among those at hand
    return faults(value, part)
