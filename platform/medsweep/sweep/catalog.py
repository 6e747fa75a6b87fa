"""The models and hardware profiles that one sweep can name: those that ship, and its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from medsweep.hardware.catalog import PROFILES
from medsweep.hardware.own import OwnProfileSpec
from medsweep.hardware.profile import HardwareProfile
from medsweep.models.catalog import MODELS
from medsweep.models.own import OwnModelSpec
from medsweep.models.spec import ModelSpec
from medsweep.table import NamedTable


@dataclass(frozen=True)
class Catalog:
    """The models and hardware profiles that one sweep can name.

    Each sweep has a catalogue of its own, so that sweeps in one process may give one name to
    different models or machines.

    Attributes:
        models: by name.
        profiles: by name; `host` is among them once it was observed.
    """

    models: NamedTable[ModelSpec]
    profiles: NamedTable[HardwareProfile]

    @classmethod
    def of(
        cls, own_models: Sequence[OwnModelSpec] = (), own_profiles: Sequence[OwnProfileSpec] = ()
    ) -> Catalog:
        """Return what ships together with a sweep's own entries."""
        return cls(
            MODELS.extended(own.model() for own in own_models),
            PROFILES.extended(own.profile() for own in own_profiles),
        )

    def with_host(self, host: HardwareProfile) -> Catalog:
        """Return this catalogue with the profile `host`, which is whatever this machine is."""
        return replace(self, profiles=self.profiles.extended([host]))
