"""What a plan consists of: a cell that MedSweep deploys, a cell of a server, and a fine-tune."""

from __future__ import annotations

from dataclasses import dataclass, field

from medsweep.hardware.profile import HardwareProfile
from medsweep.models.spec import ModelSpec
from medsweep.serving.engines.choice import Choice
from medsweep.sweep.external import ExternalSpec


@dataclass(frozen=True)
class Cell:
    """One model on one hardware profile, served in one way.

    Attributes:
        model: the model, or its stand-in where the sweep has stand-ins.
        profile: the hardware.
        dtype: compute dtype, chosen for the profile.
        adapter: key of the adapter that it serves.
        key: hash of everything that a result depends on.
        refused: why it cannot run, or None.
        serving: the engine that serves it, and how.
        suffix: what tells it from a cell of the same model and profile that is served otherwise.
    """

    model: ModelSpec
    profile: HardwareProfile
    dtype: str
    adapter: str
    key: str
    refused: str | None
    serving: Choice
    suffix: str = ""

    @property
    def place(self) -> str:
        """`model@profile`, as `cells` of a sweep names it."""
        return f"{self.model.name}@{self.profile.name}"

    @property
    def name(self) -> str:
        """`model@profile`, with `+live` or `+merged` in a sweep of both."""
        return f"{self.place}{self.suffix}"


@dataclass(frozen=True)
class ServerCell:
    """One model on an external server.

    Attributes:
        server: the server, as the sweep declares it.
        profile: the hardware that it is said to stand on; None where nobody knows.
        key: hash of everything that a result depends on.
        refused: why it cannot be measured, or None.
    """

    server: ExternalSpec = field(hash=False)
    profile: HardwareProfile | None
    key: str
    refused: str | None

    @property
    def name(self) -> str:
        """`model@server`."""
        return f"{self.server.model}@{self.server.name}"


AnyCell = Cell | ServerCell


@dataclass(frozen=True)
class AdapterPlan:
    """One fine-tune.

    Attributes:
        model: the base model.
        profile: the hardware.
        key: hash of everything that the adapter depends on.
    """

    model: ModelSpec
    profile: HardwareProfile
    key: str

    @property
    def folder_name(self) -> str:
        """Name of the adapter's folder, and of the adapter on the server."""
        return f"{self.model.name}-{self.key}"
