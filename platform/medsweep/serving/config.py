"""What one server serves, and how: the same for a sweep, the command line and a RayService."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, Strict, field_validator

from medsweep.config import Closed
from medsweep.errors import UnknownName
from medsweep.finetune.adapter import Adapter
from medsweep.models.spec import ModelSpec
from medsweep.serving.admission import Limits
from medsweep.serving.engines import ENGINES
from medsweep.serving.protocol import EngineSettings

Folder = Annotated[Path, Strict(False)]


class ServeSpec(Closed):
    """How adapters are served.

    Attributes:
        engine: what turns prompts into tokens.
        dtype: of the weights; `auto` decides from the profile's compute capability.
        quantization: of the base weights; which ones there are depends on the engine.
        max_batch_size: requests that one forward pass may hold.
    """

    engine: str = "generate"
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    quantization: Literal["none", "int8", "int4", "nf4"] = "none"
    max_batch_size: int = Field(default=16, ge=1)

    @field_validator("engine")
    @classmethod
    def _known_engine(cls, name: str) -> str:
        if name not in ENGINES:
            raise ValueError(str(UnknownName("engine", name, ENGINES)))
        return name

    def settings(
        self,
        model: ModelSpec,
        *,
        dtype: str,
        cpus: int | None,
        base: Path | None = None,
        adapters: Mapping[str, Adapter] | None = None,
    ) -> EngineSettings:
        """Return an engine's settings.

        Args:
            model: the base model.
            dtype: to compute in, decided where this says `auto`.
            cpus: threads to compute with.
            base: folder of the base model's weights; None takes the one that the adapters name.
            adapters: by the name that requests use.
        """
        return EngineSettings(
            engine=self.engine,
            model=model,
            dtype=dtype,
            quantization=self.quantization,
            max_batch_size=self.max_batch_size,
            cpus=cpus,
            base=base,
            adapters=adapters or {},
        )


class ServeConfig(ServeSpec):
    """One base model with its adapters.

    Attributes:
        base: base model, by its name in the catalogue; None takes that of `adapters`.
        base_folder: folder of the base model's weights; None takes the one that `adapters` name, or
            fetches the catalogue's.
        adapters: folder by the name that requests use.
        adapter_root: folder whose subfolders are served as adapters by their own names; they come
            and go while the server runs.
        max_loaded: adapters in memory at one time.
        limits: bounds of the server.
    """

    engine: str = "continuous"
    base: str | None = None
    base_folder: Folder | None = None
    adapters: dict[str, Folder] = Field(default_factory=dict)
    adapter_root: Folder | None = None
    max_loaded: int = Field(default=8, ge=1)
    limits: Limits = Limits()
